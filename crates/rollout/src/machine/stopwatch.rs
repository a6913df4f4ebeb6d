//! Measures time that can stand still: a bake while it is paused or held.

use crate::names::Millis;
use serde::{Deserialize, Serialize};

/// Time since `started`, less the time it stood still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopwatch {
    started: Millis,
    stopped_at: Option<Millis>,
    stood_still: Millis,
}

impl Stopwatch {
    pub fn start(at: Millis) -> Self {
        Self { started: at, stopped_at: None, stood_still: Millis(0) }
    }

    pub fn started(&self) -> Millis {
        self.started
    }

    /// Stands still from here on; twice is once.
    pub fn stop(&mut self, at: Millis) {
        self.stopped_at.get_or_insert(at);
    }

    /// Runs again from here on.
    pub fn go(&mut self, at: Millis) {
        if let Some(stopped_at) = self.stopped_at.take() {
            self.stood_still = self.stood_still.plus(at.since(stopped_at));
        }
    }

    pub fn elapsed(&self, now: Millis) -> Millis {
        let until = self.stopped_at.unwrap_or(now);
        Millis(until.since(self.started).0.saturating_sub(self.stood_still.0))
    }

    /// Returns when `duration` will have passed; never, while it stands still.
    pub fn reaches(&self, duration: Millis) -> Option<Millis> {
        match self.stopped_at {
            Some(_) => None,
            None => Some(self.started.plus(self.stood_still).plus(duration)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_stood_still_does_not_count() {
        let mut watch = Stopwatch::start(Millis(100));
        watch.stop(Millis(150));
        watch.stop(Millis(170));
        watch.go(Millis(250));

        assert_eq!(watch.elapsed(Millis(300)), Millis(100));
        assert_eq!(watch.reaches(Millis(120)), Some(Millis(320)));
    }

    #[test]
    fn a_stopped_watch_never_reaches_anything() {
        let mut watch = Stopwatch::start(Millis(0));
        watch.stop(Millis(10));

        assert_eq!(watch.reaches(Millis(5)), None);
        assert_eq!(watch.elapsed(Millis(1000)), Millis(10));
    }
}
