//! Draws the operating curve of a rollout: how often it takes back what is harmless, how soon it finds what is not, and what
//! users get until then. Walks whole rollouts; refuses to know how traffic is named or printed.

use crate::chance::mixed;
use crate::exposure::{Span, span};
use crate::ours::Known;
use crate::traffic::{Fault, Load, Mode, Scene, Traffic};
use crate::walk::{Course, End, Path, Runner, with_look};
use rollout::judge::calibration::Calibration;
use rollout::judge::policy_for;
use rollout::names::Millis;
use rollout::plan::RolloutSettings;

/// Shares of failing requests that are tried.
const FAILING: [f64; 7] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0];
/// One route with so much of the traffic fails whenever it is asked.
const ROUTE: Fault = Fault::Route { traffic: 0.02, errors: 1.0 };
/// A leak fails this share in the end, after so many seconds.
const LEAK: f64 = 0.05;
const LEAK_SECONDS: u64 = 600;
/// Keeps the beginnings in a trace apart from everything else of the same seed.
const PLACE_SALT: u64 = 0x504c_4143_4553;

/// The traffic a rollout is tried on.
#[derive(Debug, Clone)]
pub struct Trial {
    pub load: Load,
    pub error_rate: f64,
    pub mode: Mode,
    /// Hours of stable's traffic the judge knows; 0: it starts cold.
    pub hours: u64,
    pub runs: u64,
    pub seed: u64,
}

/// One kind of release, tried many times.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub name: String,
    pub harmless: bool,
    pub runs: u64,
    /// Runs that ended so.
    pub proven: u64,
    pub unproven: u64,
    pub returned: u64,
    /// From the fault's first second to the return; None where that many do not return.
    pub seconds: Span<Option<f64>>,
    /// Requests the fault harmed: failed ones, or slower ones.
    pub bad: Span<f64>,
    /// Until the promotion, of those that are promoted.
    pub promoted_seconds: Span<f64>,
}

/// Returns what is tried: the harmless first, then the faults a release may have.
pub fn releases(rollout: &RolloutSettings, error_rate: f64) -> Vec<(String, Fault)> {
    let limit = policy_for(&rollout.judge).errors.limit(error_rate);
    let mut all = vec![
        ("the same release".to_owned(), Fault::Nothing),
        ("+10 % errors".to_owned(), Fault::ErrorsTimes(1.1)),
        ("+2 % latency".to_owned(), Fault::AllTimes(1.02)),
    ];
    for failing in FAILING.into_iter().filter(|failing| *failing > limit) {
        all.push((format!("{} % fail", failing * 100.0), Fault::Errors(failing)));
    }
    let crash = crash_second(rollout);
    let after = Millis::seconds(crash);
    all.push((format!("crash after {after}"), Fault::Crash { second: crash }));
    if LEAK > limit {
        let leak = Fault::Leak { from: error_rate, to: LEAK, seconds: LEAK_SECONDS };
        all.push((format!("leak to {} % in {}", LEAK * 100.0, Millis::seconds(LEAK_SECONDS)), leak));
    }
    all.push(("2 % of traffic: a route".to_owned(), ROUTE));
    all.push(("latency × 1.5".to_owned(), Fault::AllTimes(1.5)));
    all.push(("latency × 2".to_owned(), Fault::AllTimes(2.0)));
    all
}

/// Returns the middle of the shortest first bake: then the release is watched, whatever else happens.
fn crash_second(rollout: &RolloutSettings) -> u64 {
    let rollout = with_look(rollout);
    let look = if rollout.judge.first_look.is_some() { rollout.bake_of(0).0 } else { 0 };
    let step = usize::from(look > 0);
    ((look + rollout.bake_min_of(step).0 / 2) / 1000).max(1)
}

impl Trial {
    /// Learns what the judge would know of this traffic: hours of the stable version, drawn with another seed.
    pub fn learn(&self, rollout: &RolloutSettings) -> Calibration {
        let scene = self.scene(rollout, Fault::Nothing, 0);
        if self.hours == 0 {
            return Known::cold(&rollout.judge, &scene, self.seed, 0).calibration;
        }
        Known::calibrated(&rollout.judge, &scene, self.hours, self.seed, 0).calibration
    }

    /// Tries one release as often as was asked.
    pub fn row(
        &self,
        rollout: &RolloutSettings,
        known: &Calibration,
        (name, fault): &(String, Fault),
        runner: &Runner,
    ) -> Row {
        let path = Path::new(rollout, known);
        let steady = Traffic::new(self.scene(rollout, *fault, 0));
        let one = |number: u64| {
            let mut traffic = steady.clone();
            traffic.scene.load = self.load_of(number);
            path.walk(&traffic, self.seed, number)
        };
        let courses = runner.run(self.runs, one);
        self.counted(name, *fault, &courses)
    }

    fn counted(&self, name: &str, fault: Fault, courses: &[Course]) -> Row {
        let count =
            |wanted: fn(&End) -> bool| courses.iter().filter(|course| wanted(&course.end)).count() as u64;
        let onset = fault.onset();
        // What went back before the fault began was no detection.
        let found = |course: &&Course| matches!(course.end, End::Returned(_)) && course.seconds > onset;
        let delay = |course: &Course| match found(&course) {
            true => (course.seconds - onset) as f64,
            false => f64::INFINITY,
        };
        let delays = span(courses.iter().map(delay).collect());
        let finite = |seconds: f64| Some(seconds).filter(|seconds| seconds.is_finite());
        let promoted = courses.iter().filter(|course| matches!(course.end, End::Promoted { .. }));
        Row {
            name: name.to_owned(),
            harmless: fault.is_harmless(),
            runs: courses.len() as u64,
            proven: count(|end| matches!(end, End::Promoted { proven: true })),
            unproven: count(|end| matches!(end, End::Promoted { proven: false })),
            returned: if fault.is_harmless() {
                count(|end| matches!(end, End::Returned(_)))
            } else {
                courses.iter().filter(found).count() as u64
            },
            seconds: Span { usual: finite(delays.usual), worst: finite(delays.worst) },
            bad: span(courses.iter().map(|course| course.harmed).collect()),
            promoted_seconds: span(promoted.map(|course| course.seconds as f64).collect()),
        }
    }

    fn scene(&self, rollout: &RolloutSettings, fault: Fault, number: u64) -> Scene {
        let rollout = with_look(rollout);
        let mut weights: Vec<f64> =
            (0..rollout.steps.len()).map(|step| rollout.weight_of(step).share()).collect();
        let first = weights.remove(0);
        Scene {
            load: self.load_of(number),
            // For the reference: walks take their weights from the state machine.
            later: weights.into_iter().map(|weight| (0, weight)).collect(),
            ..Scene::steady(0.0, first, self.error_rate, self.mode).with(fault)
        }
    }

    /// Every run begins at another place of a recorded load.
    fn load_of(&self, number: u64) -> Load {
        match &self.load {
            Load::Steady(rps) => Load::Steady(*rps),
            Load::Recorded { trace, times, .. } => {
                let from_second = mixed(self.seed ^ PLACE_SALT ^ mixed(number)) % trace.seconds().max(1);
                Load::Recorded { trace: trace.clone(), times: *times, from_second }
            }
        }
    }
}

/// Returns the share of `runs` that `hits` may stand for at most, in 95 of 100 cases (Wilson 1927, one side).
pub fn at_most(hits: u64, runs: u64) -> f64 {
    const Z: f64 = 1.6449;
    let (hits, runs) = (hits as f64, runs.max(1) as f64);
    let share = hits / runs;
    let spread = (share * (1.0 - share) / runs + Z * Z / (4.0 * runs * runs)).sqrt();
    ((share + Z * Z / (2.0 * runs) + Z * spread) / (1.0 + Z * Z / runs)).min(1.0)
}

#[cfg(test)]
mod tests;
