//! Tells the time: the wall clock at the start, carried on by a clock that neither jumps nor sleeps.
//! The only place of the engine that reads a clock for what is written down.

use rollout::names::Millis;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Mutex;

/// A step of the wall clock larger than this is worth an event.
const STEP_MIN_MS: i64 = 1000;

/// Milliseconds since the Unix epoch that only go forward.
#[derive(Debug)]
pub struct Clock {
    wall_at_start: i64,
    boot_at_start: i64,
    /// How far the wall clock has been seen to be off.
    offset: Mutex<i64>,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            wall_at_start: read(ClockId::Realtime),
            boot_at_start: read(ClockId::Boottime),
            offset: Mutex::new(0),
        }
    }

    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.expected()).unwrap_or(0))
    }

    /// Returns by how many milliseconds the wall clock has stepped since this was last asked, if by much.
    pub fn step(&self) -> Option<i64> {
        let off = read(ClockId::Realtime) - self.expected();
        let mut known = self.offset.lock().expect("BUG: nobody panics with this lock");
        let by = off - *known;
        if by.abs() < STEP_MIN_MS {
            return None;
        }
        *known = off;
        Some(by)
    }

    fn expected(&self) -> i64 {
        self.wall_at_start + read(ClockId::Boottime) - self.boot_at_start
    }
}

fn read(id: ClockId) -> i64 {
    let time = clock_gettime(id);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}
