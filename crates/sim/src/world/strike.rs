//! Does what scripts say goes wrong: releases, platform, edge, disks, engines, clocks. Every harm ends by itself.

use super::disk::Death;
use super::machines::Fate;
use super::script::{Kind, Step};
use super::{Coming, World};
use rollout::change::Ended;
use rollout::judge::calibration::{Calibration, History};
use rollout::judge::policy_for;
use rollout::machine::Fact;
use rollout::names::Millis;

/// How long the lease of an engine that does not move is left alone.
const SILENT_FOR: Millis = Millis(12_000);

/// How long an engine may act on what it was shown wrongly: a launch under way, and what was late with it.
const MISLED_FOR: Millis = Millis(15_000);
/// How long what was sent before rows were lost may still arrive.
const FORGETFUL_FOR: Millis = Millis(15_000);

impl World {
    pub(super) fn strike(&mut self, step: Step) {
        let (first, second) = (step.first, step.second);
        let until = self.now.plus(Millis(u64::from(first)));
        let fates = |release: u32| release.clamp(1, 9) as u8;
        let faults = &mut self.faults;
        if matches!(step.kind, Kind::DriverStale | Kind::DriverPartial) {
            self.ledger.misled_until = self.ledger.misled_until.max(until.plus(MISLED_FOR));
        }
        match step.kind {
            Kind::DriverTimesOut => faults.times_out += first,
            Kind::DriverLate => faults.late = (second, Millis(u64::from(first))),
            Kind::DriverRepeats => faults.repeats += first,
            Kind::DriverRefuses => faults.refuses += first,
            Kind::DriverThrottles => faults.throttles += first,
            Kind::DriverUnreachable => faults.unreachable_until = until,
            Kind::DriverStale => {
                faults.stale_until = until;
                self.observed = self.machines.observe(self.now);
            }
            Kind::DriverPartial => faults.partial_until = until,
            Kind::EdgeLags => (faults.lag_until, faults.lag) = (until, Millis(u64::from(second))),
            Kind::EdgePartitioned => faults.partitioned_until = until,
            Kind::EdgeRestarts => {
                self.edge.epoch += 1;
                faults.partitioned_until = until;
            }
            Kind::EdgeMute => faults.mute_until = until,
            Kind::EdgeSilent => faults.silent_until = until,
            Kind::SharedFault => (faults.shared_until, faults.shared) = (until, f64::from(second) / 100.0),
            Kind::Unready => faults.unready_until = until,
            Kind::SharedCheckFails => faults.shared_check_until = until,
            Kind::CheckFails => {
                let until = self.now.plus(Millis(u64::from(second)));
                faults.check_fails.insert(fates(first), until);
            }
            Kind::TaskFails => {
                faults.task_fails.insert((first, fates(second)), ());
                self.ledger.odd.insert(fates(second));
            }
            Kind::TaskLate => drop(faults.task_late.insert(first, Millis(u64::from(second)))),
            Kind::DiskFull => {
                faults.full_until = until;
                self.platter.borrow_mut().full = true;
            }
            Kind::DiskReadOnly => {
                faults.read_only_until = until;
                self.platter.borrow_mut().read_only = true;
            }
            Kind::Traffic => self.per_second = u64::from(first),
            _ => return self.strike_harder(step),
        }
        self.plan(Millis(u64::from(first.max(1))), Coming::Poke);
    }

    fn strike_harder(&mut self, step: Step) {
        let (first, second) = (step.first, step.second);
        let release = first.clamp(1, 9) as u8;
        let usual = Fate::default();
        match step.kind {
            Kind::Healthy => self.fare(release, usual, true),
            Kind::Slow => self.fare(release, Fate { ready_after: Some(second), ..usual }, false),
            Kind::NeverReady => self.fare(release, Fate { ready_after: None, ..usual }, false),
            Kind::CrashLater => {
                self.fare(release, Fate { exits_after: Some(second.max(50)), ..usual }, false)
            }
            Kind::Hangs => self.fare(release, Fate { hangs_after: Some(second), ..usual }, false),
            Kind::Flaps => self.fare(release, Fate { flaps_every: Some(second), ..usual }, false),
            Kind::Lies => self.fare(release, Fate { fails: f64::from(second) / 100.0, ..usual }, true),
            Kind::NotFound => self.fare(release, Fate { not_found: 0.5, ..usual }, true),
            Kind::Exit => {
                let count = self.machines.replicas.len().max(1);
                let ended = [Ended::Code(0), Ended::Signal(9), Ended::Unknown][second as usize % 3];
                if let Some(replica) = self.machines.replicas.get_mut(first as usize % count) {
                    replica.exited.get_or_insert(ended);
                }
            }
            Kind::Kill => {
                let mine = self.machines.replicas.iter_mut().filter(|replica| replica.release == release);
                for replica in mine {
                    replica.exited.get_or_insert(Ended::Signal(9));
                }
            }
            Kind::Busy => {
                self.faults.busy_until = self.now.plus(Millis(u64::from(first)));
                self.edge.busy = self.edge.candidate().map(|(revision, _)| (revision, 3));
            }
            Kind::Calibrate => self.calibrate(),
            Kind::DiskTears => self.platter.borrow_mut().death = Some((first, Death::Torn)),
            Kind::KillBefore => self.platter.borrow_mut().death = Some((first, Death::Before)),
            Kind::KillAfter => self.platter.borrow_mut().death = Some((first, Death::After)),
            Kind::KillNow => {
                let back = Millis(50 + self.draw(3000));
                self.owner().into_iter().for_each(|engine| self.die(engine, back));
            }
            Kind::Freeze => self.freeze(Millis(u64::from(first))),
            Kind::PowerCut => self.power_cut(first as usize),
            Kind::BitFlip => self.flip(first as usize),
            Kind::ClockSteps => {
                let by = i64::from(second) * -2 + 1;
                self.clock_steps(by * i64::from(first) * 1000);
            }
            _ => {}
        }
    }

    /// Sets what becomes of replicas of a release; `running`: also of those that run.
    fn fare(&mut self, release: u8, fate: Fate, running: bool) {
        self.fates.insert(release, fate);
        self.ledger.odd.insert(release);
        if running {
            self.ledger.misled_until = self.ledger.misled_until.max(self.now.plus(MISLED_FOR));
        }
        for replica in
            self.machines.replicas.iter_mut().filter(|replica| running && replica.release == release)
        {
            replica.fate = Fate { ready_after: replica.fate.ready_after, ..fate };
        }
    }

    /// Tells the judge what the service's own traffic says.
    fn calibrate(&mut self) {
        let Some(engine) = self.owner() else { return };
        let Some(running) = self.state(engine).and_then(|state| state.deployment.as_ref()) else { return };
        let policy = policy_for(&running.settings.judge);
        let history = History { requests: 5000, errors: 5, errors_once: 5, latencies: &[] };
        let calibration = Calibration { hours: 1.0, ..Calibration::cold(&policy, history) };
        self.step(engine, &Fact::Calibrated(Box::new(calibration)));
    }

    /// The owner stops moving, and does not know it; when its lease has been silent for long enough another takes over.
    fn freeze(&mut self, time: Millis) {
        let Some(engine) = self.owner() else { return };
        let until = self.now.plus(time);
        self.engines[engine].frozen_until = Some(until);
        let life = self.engines[engine].life;
        self.plan(time, Coming::Look { engine, life });
        if time > SILENT_FOR {
            self.plan(SILENT_FOR, Coming::Open { engine: 1 - engine });
        }
    }

    /// The machine of the engines loses power, and the disk has lied about its last rows.
    fn power_cut(&mut self, lost: usize) {
        for engine in 0..super::ENGINES {
            if self.engines[engine].controller.is_some() {
                self.die(engine, Millis(1500));
            }
        }
        let mut platter = self.platter.borrow_mut();
        let keep = platter.rows.len().saturating_sub(lost).max(2);
        if self.faults.flipped.is_none() && self.faults.lost.is_empty() && keep < platter.rows.len() {
            self.faults.lost = platter.rows.split_off(keep);
            self.ledger.forgetful_until = self.now.plus(FORGETFUL_FOR);
        }
        drop(platter);
        self.retell();
    }

    fn flip(&mut self, nth: usize) {
        let mut platter = self.platter.borrow_mut();
        let count = platter.rows.len().max(1);
        let nth = nth % count;
        if self.faults.flipped.is_none()
            && self.faults.lost.is_empty()
            && let Some(row) = platter.rows.get_mut(nth)
        {
            self.faults.flipped = Some((nth, row.clone()));
            row.at ^= 1;
        }
    }

    /// Puts back what the disk has lost or flipped, as an operator does with a copy, and starts an engine if none lives.
    pub(super) fn restore(&mut self) {
        if let Some((nth, row)) = self.faults.flipped.take()
            && let Some(there) = self.platter.borrow_mut().rows.get_mut(nth)
        {
            *there = row;
        }
        let nobody = (0..super::ENGINES).all(|engine| self.engines[engine].controller.is_none());
        if nobody {
            let lost = std::mem::take(&mut self.faults.lost);
            {
                let mut platter = self.platter.borrow_mut();
                let last = platter.rows.last().map_or(0, |row| row.seq);
                // Where the edge has seen more than the disk kept, nobody leads until the copy is put back whole.
                let is_behind = last < self.edge.generation.seq;
                if let Some(first) = lost.first().map(|row| row.seq)
                    && (first == last + 1 || is_behind)
                {
                    platter.rows.retain(|row| row.seq < first);
                    platter.rows.extend(lost);
                }
            }
            self.retell();
            self.open(0);
        }
    }

    /// Ends the harm of disks whose time is over, and the requests that did not end.
    pub(super) fn relent(&mut self) {
        let full = self.is_before(self.faults.full_until);
        let read_only = self.is_before(self.faults.read_only_until);
        {
            let mut platter = self.platter.borrow_mut();
            (platter.full, platter.read_only) = (full, read_only);
        }
        if !self.is_before(self.faults.busy_until) {
            self.edge.busy = None;
        }
    }
}
