//! What is shown while migrations run: a line for each that is done, and on a terminal what is under way.

use std::io::stdout;
use std::sync::Arc;

use dbopt_diesel::core::schema::migration::Direction;
use dbopt_diesel::migrate::Event;
use indicatif::ProgressBar;
use owo_colors::OwoColorize;

use crate::term::{self, wants_colour};

#[derive(Clone)]
pub(super) struct Progress(Arc<ProgressBar>);

impl Progress {
    pub(super) fn new(message: &str) -> Progress {
        Progress(Arc::new(term::spinner(message)))
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }

    pub(super) fn watch(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let bar = self.0.clone();
        let (statements, colour) = (std::sync::atomic::AtomicUsize::new(0), wants_colour(&stdout()));
        move |event| match event {
            Event::Waiting { holder } => bar.set_message(format!("another instance is migrating ({holder}); waiting")),
            Event::Begun { name, direction, statements: count } => {
                statements.store(*count, std::sync::atomic::Ordering::Relaxed);
                bar.set_message(format!("{} {name}", direction.name()));
            }
            Event::Statement { nth, summary } => {
                let count = statements.load(std::sync::atomic::Ordering::Relaxed);
                bar.set_message(format!("{nth}/{count} {summary}"));
            }
            Event::NoLock { attempt, pause, message } => {
                bar.suspend(|| {
                    eprintln!("attempt {attempt}: {message}; rolled back, again in {} ms", pause.as_millis())
                });
            }
            Event::Resumed { what } => bar.suspend(|| eprintln!("{what}")),
            Event::Done { name, direction, took } => {
                let arrow = if *direction == Direction::Up { "up  " } else { "down" };
                let arrow = if colour { arrow.green().bold().to_string() } else { arrow.to_owned() };
                let took = format!("{:>8.1} ms", took.as_secs_f64() * 1000.0);
                let took = if colour { took.dimmed().to_string() } else { took };
                bar.suspend(|| println!("{arrow} {took}  {name}"));
            }
            Event::Replicas => bar.set_message("waiting for the replicas"),
            Event::Unproved { name, wrong } => bar.suspend(|| eprintln!("{name}/down.sql:\n  {}", wrong.join("\n  "))),
            Event::Checking { what } => bar.set_message(what.clone()),
            _ => {}
        }
    }
}
