//! Shows how far a deployment is: moving lines on a terminal, one line an event elsewhere, one object an event for
//! programs. Knows only what it is handed; see `follow`.

use crate::context::Context;
use crate::{output, render, units};
use engine::api::wire::ServiceStatus;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rollout::event::EventRecord;
use rollout::names::Target;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a display without moving lines says that it still waits: some CI systems end a silent job.
const REMINDER: Duration = Duration::from_secs(15);

/// One of the ways to show progress.
#[derive(Debug)]
pub enum Progress {
    Terminal(Box<Terminal>),
    Plain { said: Instant, noted: String },
    Json,
    Quiet,
}

/// Lines that are redrawn in place; events scroll by above them.
#[derive(Debug)]
pub struct Terminal {
    lines: MultiProgress,
    stage: ProgressBar,
    weight: ProgressBar,
    verdict: ProgressBar,
    waiting: ProgressBar,
}

impl Progress {
    pub fn new(context: &Context, target: &Target) -> Self {
        if context.json {
            return Self::Json;
        }
        if context.quiet {
            return Self::Quiet;
        }
        if std::io::stderr().is_terminal() && std::io::stdout().is_terminal() {
            return Self::Terminal(Box::new(Terminal::new(target)));
        }
        Self::Plain { said: Instant::now(), noted: String::new() }
    }

    /// Shows an event; `record` is None when its kind is of a newer engine.
    pub fn event(&mut self, record: Option<&EventRecord>, raw: &str) {
        match (self, record) {
            (Self::Json, _) => output::line(raw),
            (Self::Terminal(terminal), Some(record)) => {
                let line = render::text::event(record);
                terminal.lines.suspend(|| output::line(&line));
            }
            (Self::Plain { said, .. }, Some(record)) => {
                *said = Instant::now();
                output::line(&render::text::event(record));
            }
            _ => {}
        }
    }

    /// Shows where the service is now.
    pub fn status(&mut self, service: &ServiceStatus) {
        match self {
            Self::Terminal(terminal) => terminal.status(service),
            Self::Plain { said, noted } => {
                noted.clear();
                if said.elapsed() >= REMINDER {
                    *said = Instant::now();
                    output::line(&format!("{} {}", units::clock(units::now()), render::text::now(service)));
                }
            }
            Self::Json | Self::Quiet => {}
        }
    }

    /// Says something about following itself; repeated, it is said once.
    pub fn note(&mut self, text: &str) {
        match self {
            Self::Terminal(terminal) => terminal.waiting.set_message(text.to_owned()),
            Self::Plain { noted, .. } if noted != text => {
                text.clone_into(noted);
                output::line(&format!("{} {text}", units::clock(units::now())));
            }
            _ => {}
        }
    }

    /// Removes the moving lines. Called before anything else is said.
    pub fn close(&mut self) {
        if let Self::Terminal(terminal) = self {
            for bar in [&terminal.stage, &terminal.weight, &terminal.verdict, &terminal.waiting] {
                bar.finish_and_clear();
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

impl Terminal {
    fn new(target: &Target) -> Self {
        let lines = MultiProgress::new();
        let stage = lines.add(
            ProgressBar::new_spinner().with_style(style("{spinner} {prefix}  {wide_msg} {elapsed_precise}")),
        );
        stage.set_prefix(target.service.to_string());
        stage.set_message("starting");
        stage.enable_steady_tick(Duration::from_millis(120));
        let weight = lines.add(ProgressBar::new(100).with_style(style("  candidate [{bar:30}] {pos} %")));
        let [verdict, waiting] =
            [(); 2].map(|()| lines.add(ProgressBar::new_spinner().with_style(style("  {wide_msg}"))));
        Self { lines, stage, weight, verdict, waiting }
    }

    fn status(&self, service: &ServiceStatus) {
        self.stage.set_message(render::text::stage(service));
        self.weight.set_position(service.weight.into());
        self.verdict.set_message(render::text::verdict(service));
        self.waiting.set_message(render::text::waiting(service));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("BUG: the templates are constants that parse")
}
