//! The figures as a drawing.

use std::fmt::Write as _;

use super::Outcome;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 60.0;
const COLOURS: [&str; 5] = ["#0b6e99", "#c2571a", "#4a7a2c", "#8a3ea0", "#555555"];

/// A panel: its upper edge and height, and what its edges mean.
struct Panel {
    top: f64,
    height: f64,
    lowest: f64,
    highest: f64,
    logarithmic: bool,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(1e-3).ln() } else { value };
        let share = (scale(value) - scale(self.lowest)) / (scale(self.highest) - scale(self.lowest));
        self.top + self.height * (1.0 - share.clamp(0.0, 1.0))
    }
}

/// Two panels over the same seconds: the 99th percentile of each way, and each replica's part of the reads.
pub(super) fn draw(outcome: &Outcome) -> String {
    let seconds = outcome.figures.iter().map(|figures| figures.course_ms.len()).max().unwrap_or(1).max(2);
    let x = |second: usize| LEFT + (WIDTH - LEFT - 20.0) * second as f64 / (seconds - 1) as f64;
    let times = Panel { top: 40.0, height: 200.0, lowest: 1.0, highest: 1000.0, logarithmic: true };
    let parts = Panel { top: 300.0, height: 160.0, lowest: 0.0, highest: 0.6, logarithmic: false };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 500\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"500\" fill=\"white\"/>\n"
    );
    for panel in [&times, &parts] {
        let (from, until) = (x(outcome.bad.0 as usize), x(outcome.bad.1 as usize));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"#f4e3d7\"/>",
            panel.top,
            until - from,
            panel.height
        );
    }
    text(
        &mut svg,
        LEFT,
        24.0,
        "99th percentile of the reads of each second (shaded: one replica 300 ms away, one busy)",
    );
    text(&mut svg, LEFT, 284.0, "part of each replica, as balanced");
    for (value, label) in [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1000.0, "1 s")] {
        line(&mut svg, &times, value, label);
    }
    for (value, label) in [(0.0, "0"), (0.25, "1/4"), (0.5, "1/2")] {
        line(&mut svg, &parts, value, label);
    }
    for (i, figures) in outcome.figures.iter().enumerate() {
        curve(&mut svg, &times, COLOURS[i], figures.course_ms.iter().enumerate().map(|(s, v)| (x(s), *v)));
        legend(&mut svg, 56.0 + 16.0 * i as f64, COLOURS[i], figures.name);
    }
    for (i, (name, course)) in outcome.parts.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        curve(&mut svg, &parts, colour, course.iter().take(seconds).enumerate().map(|(s, v)| (x(s), *v)));
        legend(&mut svg, 316.0 + 16.0 * i as f64, colour, name);
    }
    for second in (0..seconds).step_by(10) {
        text(&mut svg, x(second) - 6.0, 478.0, &format!("{second} s"));
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

fn line(svg: &mut String, panel: &Panel, value: f64, label: &str) {
    let y = panel.y(value);
    let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#cccccc\"/>", WIDTH - 20.0);
    text(svg, 8.0, y + 4.0, label);
}

fn legend(svg: &mut String, y: f64, colour: &str, name: &str) {
    let _ = writeln!(svg, "<path d=\"M630 {:.1}h24\" stroke=\"{colour}\" stroke-width=\"2\"/>", y - 4.0);
    text(svg, 660.0, y, name);
}

fn curve(svg: &mut String, panel: &Panel, colour: &str, points: impl Iterator<Item = (f64, f64)>) {
    let points: Vec<String> = points.map(|(x, value)| format!("{x:.1},{:.1}", panel.y(value))).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
        points.join(" ")
    );
}
