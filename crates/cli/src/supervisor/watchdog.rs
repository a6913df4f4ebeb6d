//! Finds a child that hangs: stopped, or stuck without end. Counts looks and not seconds, so that a supervisor, or a
//! machine, that was asleep itself holds nothing against its children. Kills nobody; see `Supervisor::wake`.

use super::child::{Child, Who};
use super::{ANSWER, answers};
use crate::client::Client;
use crate::process;
use drivers::paths::StatePaths;
use engine::leader::Terms;
use rustix::process::Pid;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Between two looks at the children.
const LOOK: Duration = Duration::from_secs(1);
/// Looks beyond a lease's life that an engine may be silent: one that waits to lead goes first, where there is one.
const ENGINE_MARGIN: u32 = 5;
/// Looks an edge may be silent and still. Nobody is served meanwhile, so no longer; its own waits are shorter.
const EDGE_LOOKS: u32 = 10;
/// Looks a child may be silent while it works: it does something, so it is killed only when that has no end.
const BUSY_LOOKS: u32 = 120;

/// Watches both children.
#[derive(Debug)]
pub struct Watchdog {
    pub due: Instant,
    edge: Silence,
    engine: Silence,
    /// The question the edge was asked last.
    asked: Option<JoinHandle<bool>>,
}

impl Watchdog {
    pub fn new(terms: Terms) -> Self {
        let of_lease = u32::try_from(terms.ttl.0.div_ceil(1000)).unwrap_or(u32::MAX);
        Self {
            due: Instant::now() + LOOK,
            edge: Silence::new(EDGE_LOOKS),
            engine: Silence::new(of_lease.saturating_add(ENGINE_MARGIN)),
            asked: None,
        }
    }

    /// Looks at both children, when that is due. Returns who hangs, and for how many looks it has been silent.
    pub async fn look(&mut self, paths: &StatePaths, edge: &Child, engine: &Child) -> Vec<(Who, u32)> {
        let now = Instant::now();
        if now < self.due {
            return Vec::new();
        }
        self.due = now + LOOK;
        let edge_answers = self.edge_has_answered(paths, edge.pid).await;
        let engine_beats = engine.pulse.as_ref().is_some_and(|pulse| pulse.was_felt());
        let mut hanging = Vec::new();
        for (child, silence, sign) in
            [(edge, &mut self.edge, edge_answers), (engine, &mut self.engine, engine_beats)]
        {
            let Some(pid) = child.pid else { continue };
            if let Some(looks) = silence.look(pid, sign, process::cpu_time_of(pid)) {
                hanging.push((child.who, looks));
            }
        }
        hanging
    }

    /// Whether the edge has answered since the last look; asks it again.
    async fn edge_has_answered(&mut self, paths: &StatePaths, pid: Option<Pid>) -> bool {
        let answered = match self.asked.take() {
            Some(asked) if !asked.is_finished() => {
                self.asked = Some(asked);
                return false;
            }
            // A question that panicked got no answer.
            Some(asked) => asked.await.unwrap_or(false),
            None => false,
        };
        let socket = paths.edge_socket();
        self.asked =
            Some(tokio::spawn(async move { answers(Who::Edge, pid, &Client::new(&socket, ANSWER)).await }));
        answered
    }
}

/// How long one child has given no sign of life.
#[derive(Debug)]
struct Silence {
    /// Looks without a sign and without any work after which it hangs.
    still_max: u32,
    pid: Option<Pid>,
    looks: u32,
    still: u32,
    cpu_time: Option<u64>,
}

impl Silence {
    const fn new(still_max: u32) -> Self {
        Self { still_max, pid: None, looks: 0, still: 0, cpu_time: None }
    }

    /// Takes in whether there was a sign, and the processor time the child has used. Returns for how many looks it has
    /// been silent, when it hangs.
    fn look(&mut self, pid: Pid, sign: bool, cpu_time: Option<u64>) -> Option<u32> {
        if sign || self.pid != Some(pid) {
            *self = Self { pid: Some(pid), cpu_time, ..Self::new(self.still_max) };
            return None;
        }
        self.looks += 1;
        // A stopped process uses no time at all; one that only gets little of it does.
        self.still = if cpu_time == self.cpu_time { self.still + 1 } else { 0 };
        self.cpu_time = cpu_time;
        let hangs = self.still >= self.still_max || self.looks >= BUSY_LOOKS;
        let looks = self.looks;
        if hangs {
            // One that cannot even be killed at once is found again, later.
            (self.looks, self.still) = (0, 0);
        }
        hangs.then_some(looks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    #[test]
    fn a_child_that_is_silent_and_does_nothing_hangs_after_its_looks() {
        let mut silence = Silence::new(3);
        assert_eq!(silence.look(pid(7), true, Some(10)), None);

        assert_eq!(silence.look(pid(7), false, Some(10)), None);
        assert_eq!(silence.look(pid(7), false, Some(10)), None);
        assert_eq!(silence.look(pid(7), false, Some(10)), Some(3));
    }

    #[test]
    fn a_sign_of_life_begins_the_count_again() {
        let mut silence = Silence::new(2);
        silence.look(pid(7), true, Some(10));
        silence.look(pid(7), false, Some(10));
        silence.look(pid(7), true, Some(10));

        assert_eq!(silence.look(pid(7), false, Some(10)), None);
        assert_eq!(silence.look(pid(7), false, Some(10)), Some(2));
    }

    #[test]
    fn a_busy_child_is_not_killed_for_silence_until_that_has_no_end() {
        let mut silence = Silence::new(3);
        silence.look(pid(7), true, Some(0));

        let hangs_at = (1..=u64::from(BUSY_LOOKS) * 2)
            .find(|look| silence.look(pid(7), false, Some(*look)).is_some())
            .unwrap();

        assert_eq!(hangs_at, u64::from(BUSY_LOOKS));
    }

    #[test]
    fn the_next_process_is_not_blamed_for_the_silence_of_the_one_before() {
        let mut silence = Silence::new(2);
        silence.look(pid(7), true, Some(10));
        silence.look(pid(7), false, Some(10));

        assert_eq!(silence.look(pid(8), false, Some(1)), None);
        assert_eq!(silence.look(pid(8), false, Some(1)), None);
        assert_eq!(silence.look(pid(8), false, Some(1)), Some(2));
    }
}
