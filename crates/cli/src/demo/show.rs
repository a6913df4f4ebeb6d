//! Shows the demo as it runs: one line that moves on a terminal, plain lines elsewhere, events as JSON on request.

use crate::load::Snapshot;
use crate::output;
use engine::api::wire::Status;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rollout::event::EventRecord;
use std::time::Duration;

/// Where the demo is shown.
pub struct Show {
    bar: ProgressBar,
    json: bool,
    quiet: bool,
}

impl Show {
    pub fn new(json: bool, quiet: bool) -> Self {
        let bar = ProgressBar::new_spinner();
        if json || quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self { bar, json, quiet }
    }

    /// Says what happens now.
    pub fn say(&self, text: &str) {
        if !self.json && !self.quiet {
            self.bar.suspend(|| output::aside(&format!("== {text}")));
        }
    }

    pub fn event(&self, line: &str, record: &EventRecord) {
        if self.json {
            output::line(line);
        } else if !self.quiet {
            self.bar.suspend(|| output::aside(&format!("   {}", record.event)));
        }
    }

    /// Moves the line: stage, weight, requests, verdict.
    pub fn live(&self, elapsed: Duration, status: Option<&Status>, load: Option<&Snapshot>) {
        let mut parts = vec![format!("{:.1} s", elapsed.as_secs_f64())];
        if let Some(service) = status.and_then(|status| status.services.first()) {
            parts.push(format!("{} {} %", service.phase, service.weight));
            parts.extend(service.waiting_for.as_ref().map(|waiting| format!("waiting for {waiting}")));
            if let Some(verdict) = &service.verdict {
                parts.push(format!(
                    "candidate {}/{} failed: {}",
                    verdict.errors, verdict.requests, verdict.state
                ));
            }
        }
        if let Some(load) = load {
            parts.push(format!("users: {} requests, {} failed", load.requests, load.failed));
        }
        self.bar.set_message(parts.join(" · "));
        self.bar.tick();
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
