//! Runs many seeded watches of several deciders on the same seconds and counts what each would have cost.
//! Refuses to let threads or deciders change a result: every watch has its own seed and its own place.

use crate::rivals::{Decider, Rival};
use crate::traffic::Traffic;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a decider for the watch of this number.
type Make<'a> = dyn Fn(&Traffic, u64) -> Box<dyn Decider> + Sync + 'a;

/// Something that can be put in front of a watch.
pub struct Contender<'a> {
    pub name: String,
    make: Box<Make<'a>>,
}

impl<'a> Contender<'a> {
    /// `make` gets the traffic and the number of the watch.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn(&Traffic, u64) -> Box<dyn Decider> + Sync + 'a,
    ) -> Self {
        Self { name: name.into(), make: Box::new(make) }
    }

    pub fn rival(rival: Rival) -> Self {
        Self::new(rival.name(), move |traffic, _| rival.decider(traffic))
    }
}

/// Watches of one kind.
#[derive(Debug, Clone)]
pub struct Cell {
    pub traffic: Traffic,
    pub seconds: u64,
    pub watches: u64,
    pub seed: u64,
}

/// What became of one watch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Course {
    /// Seconds from the beginning to the return.
    returned: Option<u64>,
    /// Requests the fault harmed until then.
    harmed: f64,
}

/// What one contender did in all watches of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub name: String,
    /// The second the fault begins; nothing counts as found before.
    onset: u64,
    courses: Vec<Course>,
}

impl Outcome {
    pub fn watches(&self) -> usize {
        self.courses.len()
    }

    /// Returns the number of watches that ended in a return, whenever it was.
    pub fn returns(&self) -> usize {
        self.courses.iter().filter(|course| course.returned.is_some()).count()
    }

    /// Returns the share of watches that ended in a return, whenever it was.
    pub fn returned(&self) -> f64 {
        self.returns() as f64 / self.watches() as f64
    }

    /// Returns the share of watches that returned after the fault began.
    pub fn detected(&self) -> f64 {
        self.delays().filter(|delay| delay.is_finite()).count() as f64 / self.watches() as f64
    }

    /// Returns the seconds from the fault to the return that this share of watches does not exceed; None when they do
    /// not return in time.
    pub fn seconds(&self, share: f64) -> Option<f64> {
        let found = quantile(self.delays().collect(), share);
        found.is_finite().then_some(found)
    }

    fn delays(&self) -> impl Iterator<Item = f64> + '_ {
        self.courses.iter().map(|course| match course.returned {
            Some(second) if second > self.onset => (second - self.onset) as f64,
            _ => f64::INFINITY,
        })
    }

    /// Returns the mean number of requests harmed until the return, or until the end.
    pub fn harmed_mean(&self) -> f64 {
        self.courses.iter().map(|course| course.harmed).sum::<f64>() / self.watches() as f64
    }

    pub fn harmed(&self, share: f64) -> f64 {
        quantile(self.courses.iter().map(|course| course.harmed).collect(), share)
    }
}

/// Returns the value that this share of values does not exceed.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[place - 1]
}

/// Runs the cell with this many threads; the outcomes do not depend on it.
pub fn run(cell: &Cell, contenders: &[Contender], threads: usize) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let watch = next.fetch_add(1, Ordering::Relaxed);
            if watch >= cell.watches {
                return done;
            }
            done.push((watch, run_one(cell, contenders, watch)));
        }
    };
    let mut all: Vec<(u64, Vec<Course>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("BUG: a watch panicked")).collect()
    });
    all.sort_by_key(|(watch, _)| *watch);
    let outcome = |(place, contender): (usize, &Contender)| Outcome {
        name: contender.name.clone(),
        onset: cell.traffic.scene.fault.onset(),
        courses: all.iter().map(|(_, courses)| courses[place]).collect(),
    };
    contenders.iter().enumerate().map(outcome).collect()
}

fn run_one(cell: &Cell, contenders: &[Contender], watch: u64) -> Vec<Course> {
    let mut deciders: Vec<_> =
        contenders.iter().map(|contender| Some((contender.make)(&cell.traffic, watch))).collect();
    let mut courses = vec![Course::default(); contenders.len()];
    let mut stream = cell.traffic.stream(cell.seed, watch);
    for at in 1..=cell.seconds {
        let second = stream.advance();
        let mut watching = false;
        for (slot, course) in deciders.iter_mut().zip(&mut courses) {
            let Some(decider) = slot else { continue };
            course.harmed += second.harmed;
            if decider.rolls_back(second) {
                course.returned = Some(at);
                *slot = None;
            } else {
                watching = true;
            }
        }
        if !watching {
            break;
        }
    }
    courses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Fault, Mode, Scene};

    fn cell(fault: Fault) -> Cell {
        let scene = Scene::steady(100.0, 0.05, 0.001, Mode::Independent).with(fault);
        Cell { traffic: Traffic::new(scene), seconds: 600, watches: 12, seed: 1 }
    }

    fn rivals() -> Vec<Contender<'static>> {
        Rival::ALL.into_iter().map(Contender::rival).collect()
    }

    #[test]
    fn threads_change_nothing() {
        let cell = cell(Fault::Errors(0.05));

        assert_eq!(run(&cell, &rivals(), 1), run(&cell, &rivals(), 3));
    }

    #[test]
    fn a_contender_alone_sees_what_it_sees_among_others() {
        let cell = cell(Fault::Errors(0.05));
        let all = run(&cell, &rivals(), 2);
        let alone = run(&cell, &[Contender::rival(Rival::AlarmTuned)], 2);

        assert_eq!(all[2], alone[0]);
    }

    #[test]
    fn a_crash_is_counted_from_its_second() {
        let outcomes = run(&cell(Fault::Crash { second: 180 }), &[Contender::rival(Rival::ArgoStep)], 2);
        let argo = &outcomes[0];

        assert_eq!((argo.seconds(0.5), argo.detected()), (Some(60.0), 1.0));
        assert!((250.0..350.0).contains(&argo.harmed_mean()), "{}", argo.harmed_mean());
        assert!(argo.harmed(0.95) >= argo.harmed_mean());
    }

    #[test]
    fn what_never_returns_has_no_median() {
        let outcomes = run(&cell(Fault::Errors(0.02)), &[Contender::rival(Rival::ArgoBackground)], 2);

        assert_eq!(
            (outcomes[0].seconds(0.5), outcomes[0].detected(), outcomes[0].returned()),
            (None, 0.0, 0.0)
        );
    }
}
