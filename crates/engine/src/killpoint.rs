//! Kills this very process at a place chosen in advance, for the harness that shows that an engine may die anywhere
//! (`crates/cli/tests/killing`). Only this module reads the variable; without it nothing ever happens here.

use drivers::files::{self, Durable};
use rustix::process::{Signal, getpid, kill_process};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

/// Names a JSON file with a list of places, the next one first. An engine that comes to the first of them takes it
/// off the list, adds to `FILE.killed` where it was, and kills itself: the engine after it finds the rest.
const VARIABLE: &str = "MEDECLIPSE_KILL_AT";

static PLAN: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(VARIABLE).map(PathBuf::from));
/// Of two threads that come to the same place, one dies there.
static TURN: Mutex<()> = Mutex::new(());

/// Before or after what the place names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// The engine is about to make the event durable, or just has: `web@local 17 before`, or by its kind.
pub fn journal(target: &impl Display, seq: u64, kind: &str, side: Side) {
    if let Some(plan) = PLAN.as_deref() {
        let names = [place(target, &seq, side), place(target, &kind, side)];
        reached(plan, &names, &format!("{seq} {kind}"));
    }
}

/// Has a change made; the engine is about to, and has had it made: `web@local launch before`.
pub async fn around<T>(target: &impl Display, name: &str, making: impl Future<Output = T>) -> T {
    change(target, name, Side::Before);
    let made = making.await;
    change(target, name, Side::After);
    made
}

fn change(target: &impl Display, name: &str, side: Side) {
    if let Some(plan) = PLAN.as_deref() {
        let what = name.split(' ').next().unwrap_or(name);
        reached(plan, &[place(target, &what, side)], name);
    }
}

fn place(target: &impl Display, what: &impl Display, side: Side) -> String {
    let side = match side {
        Side::Before => "before",
        Side::After => "after",
    };
    format!("{target} {what} {side}")
}

fn reached(plan: &Path, names: &[String], what: &str) {
    let _turn = TURN.lock().expect("BUG: nobody panics with this lock");
    if is_next(plan, names, what) {
        // Nothing of this process runs on: the signal is delivered before the call returns.
        let _dead = kill_process(getpid(), Signal::KILL);
    }
}

/// Returns whether the first place of the plan is one of these; it is then no longer in the plan.
fn is_next(plan: &Path, names: &[String], what: &str) -> bool {
    // No plan, or half of one: no reason to die.
    let places: Vec<String> = files::read(plan).ok().flatten().unwrap_or_default();
    let Some((first, rest)) = places.split_first() else { return false };
    if !names.contains(first) {
        return false;
    }
    let killed = plan.with_extension("killed");
    let mut been: Vec<(String, String)> = files::read(&killed).ok().flatten().unwrap_or_default();
    been.push((first.clone(), what.to_owned()));
    // A place that could not be taken off the list would kill every engine to come.
    files::replace(&killed, &been, Durable::No).is_ok() && files::replace(plan, &rest, Durable::No).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_reached_once_and_in_the_order_of_the_plan() {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("plan.json");
        let names = |text: &str| vec![text.to_owned()];
        assert!(!is_next(&plan, &names("web@local 3 before"), ""), "there is no plan");
        files::replace(&plan, &["web@local 3 before", "web@local drained after"], Durable::No).unwrap();

        assert!(!is_next(&plan, &names("web@local drained after"), "9 drained"), "it is not its turn");
        assert!(is_next(&plan, &names("web@local 3 before"), "3 promoted"));
        assert!(!is_next(&plan, &names("web@local 3 before"), "3 promoted"));
        assert!(is_next(&plan, &names("web@local drained after"), "9 drained"));

        let killed: Option<Vec<(String, String)>> = files::read(&plan.with_extension("killed")).unwrap();
        let what: Vec<String> = killed.unwrap().into_iter().map(|(_, what)| what).collect();
        assert_eq!(what, ["3 promoted", "9 drained"]);
    }
}
