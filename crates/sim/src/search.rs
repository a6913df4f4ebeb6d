//! Lives many seeds, beside each other, and makes a script that breaks a promise as short as it can be.
//! Reads no clock: whoever calls measures.

use crate::checkers::Violation;
use crate::coverage::Coverage;
use crate::world::World;
use crate::world::script::Script;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Seeds a thread takes at a time.
const BATCH: u64 = 16;
/// Violations kept; one is enough to fail.
const VIOLATIONS_MAX: usize = 32;

/// What to live.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub first: u64,
    pub seeds: u64,
    /// Ends when so many deployments have ended, where that comes first; 0: never.
    pub deployments: u64,
    pub threads: usize,
    pub stop_at_first: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub seeds: u64,
    pub coverage: Coverage,
    pub violations: Vec<(u64, Violation)>,
}

/// Lives a script. A panic of the core is a violation like any other.
pub fn live(script: &Script) -> (Option<Violation>, Coverage) {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let world = World::live(script, false);
        (world.violation, world.coverage)
    }));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let what =
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        (Some(Violation { checker: "core_does_not_panic", what }), Coverage::default())
    })
}

/// Lives many seeds.
pub fn many(plan: Plan) -> Found {
    let found = Mutex::new(Found::default());
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let begin = next.fetch_add(BATCH, Ordering::Relaxed);
                    if begin >= plan.seeds {
                        return;
                    }
                    live_batch(plan, begin, &found, &stop);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("BUG: no thread panics with this lock");
    found.violations.sort_by_key(|(seed, _)| *seed);
    found
}

fn live_batch(plan: Plan, begin: u64, found: &Mutex<Found>, stop: &AtomicBool) {
    let end = (begin + BATCH).min(plan.seeds);
    let mut mine = Found::default();
    for seed in (begin..end).map(|number| plan.first.wrapping_add(number)) {
        let (violation, coverage) = live(&Script::draw(seed));
        mine.seeds += 1;
        mine.coverage.add(&coverage);
        if let Some(violation) = violation {
            mine.violations.push((seed, violation));
            if plan.stop_at_first {
                break;
            }
        }
    }
    let mut found = found.lock().expect("BUG: no thread panics with this lock");
    found.seeds += mine.seeds;
    found.coverage.add(&mine.coverage);
    found.violations.extend(mine.violations);
    found.violations.truncate(VIOLATIONS_MAX);
    let enough = plan.deployments > 0 && found.coverage.deployments() >= plan.deployments;
    if enough || (plan.stop_at_first && !found.violations.is_empty()) {
        stop.store(true, Ordering::Relaxed);
    }
}

/// Returns the shortest script found that still breaks the same promise: steps left out, then made shorter.
pub fn minimise(script: &Script, checker: &str) -> Script {
    let breaks = |script: &Script| live(script).0.is_some_and(|violation| violation.checker == checker);
    let mut best = script.clone();
    let mut size = best.steps.len().div_ceil(2).max(1);
    loop {
        let before = best.steps.len();
        let mut from = 0;
        while from < best.steps.len() {
            let mut shorter = best.clone();
            shorter.steps.drain(from..(from + size).min(best.steps.len()));
            if breaks(&shorter) { best = shorter } else { from += size }
        }
        if size == 1 && best.steps.len() == before {
            break;
        }
        size = (size / 2).max(1);
    }
    for place in 0..best.steps.len() {
        for smaller in best.steps[place].smaller() {
            let mut shorter = best.clone();
            shorter.steps[place] = smaller;
            if breaks(&shorter) {
                best = shorter;
                break;
            }
        }
    }
    best
}
