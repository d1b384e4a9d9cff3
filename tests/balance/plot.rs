//! The figures as a drawing.

use anyhow::Result;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::Outcome;

/// Two panels over the same seconds: the 99th percentile of each way, and each replica's part of the reads.
pub(super) fn draw(outcome: &Outcome) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (800, 560)).into_drawing_area();
        area.fill(&WHITE)?;
        let (times, parts) = area.split_vertically(310);
        let course = outcome.figures.iter().map(|figures| (figures.name, figures.course_ms.as_slice()));
        let caption = "99th percentile of the reads of each second, in milliseconds";
        panel(&times, caption, (1.0..10_000.0).log_scale(), outcome.bad, course)?;
        let course = outcome.parts.iter().map(|(name, parts)| (name.as_str(), parts.as_slice()));
        panel(&parts, "part of each replica, as balanced", 0.0..0.6, outcome.bad, course)?;
        area.present()?;
    }
    Ok(svg)
}

/// One line for each course; the seconds in which two replicas are bad are shaded.
fn panel<'a, Y>(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    caption: &str,
    values: Y,
    bad: (u64, u64),
    courses: impl Iterator<Item = (&'a str, &'a [f64])> + Clone,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let seconds = courses.clone().map(|(_, course)| course.len()).max().unwrap_or(0).max(2);
    let values: Y::CoordDescType = values.into();
    let shade = values.range();
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..(seconds - 1) as f64, values)?;
    chart.draw_series([Rectangle::new(
        [(bad.0 as f64, shade.start), (bad.1 as f64, shade.end)],
        RGBColor(244, 227, 215).filled(),
    )])?;
    chart.configure_mesh().disable_x_mesh().x_desc("seconds").draw()?;
    for (i, (name, course)) in courses.enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let points = course.iter().enumerate().map(|(second, value)| (second as f64, *value));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}
