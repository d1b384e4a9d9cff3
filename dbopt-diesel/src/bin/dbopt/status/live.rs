//! The status again and again, on a screen of its own.

use std::io::{Write, stdout};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::style::Print;
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Source;
use super::show::{self, Before};
use super::view::View;

/// Shows it until `q`, escape or Ctrl-C is pressed.
pub(super) async fn run(source: &Source, every: Duration) -> Result<(), Box<dyn std::error::Error>> {
    // The first look before the screen is taken, so that a wrong address is told where it was typed.
    let mut last: View = source.fetch().await?;
    let mut at = Instant::now();
    let _screen = Screen::take()?;
    draw(&(show::everything(source.url(), &last, None) + HINT))?;
    loop {
        if spawn_blocking(move || wait(every)).await?? {
            return Ok(());
        }
        match source.fetch::<View>().await {
            Ok(view) => {
                let before = Before { view: &last, ago: at.elapsed() };
                draw(&(show::everything(source.url(), &view, Some(&before)) + HINT))?;
                (last, at) = (view, Instant::now());
            }
            Err(why) => draw(&format!("{why}\n\nlast seen {:.0} s ago{HINT}", at.elapsed().as_secs_f64()))?,
        }
    }
}

const HINT: &str = "\n\nq quits";

/// Waits for the next look; true when it is to be the end.
fn wait(every: Duration) -> std::io::Result<bool> {
    let until = Instant::now() + every;
    loop {
        if !poll(until.saturating_duration_since(Instant::now()))? {
            return Ok(false);
        }
        match read()? {
            Event::Key(key) if matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) => return Ok(true),
            Event::Key(key) if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Ok(true);
            }
            // Drawn again at once in its new size.
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}

/// Over what stood there, line by line, so that nothing flickers; what does not fit is cut off at the bottom.
fn draw(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    let (_, height) = size()?;
    for (row, line) in (0..height).zip(text.lines()) {
        queue!(out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
    }
    let used = u16::try_from(text.lines().count()).unwrap_or(height);
    if used < height {
        queue!(out, MoveTo(0, used), Clear(ClearType::FromCursorDown))?;
    }
    out.flush()
}

/// The terminal, which is given back as it was.
struct Screen;

impl Screen {
    fn take() -> std::io::Result<Self> {
        enable_raw_mode()?;
        let screen = Screen;
        execute!(stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
