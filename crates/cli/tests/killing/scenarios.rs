//! What is done in an environment while its engine is killed, and how each must end. A scenario begins and ends with a
//! target at rest; `prepare` runs before the places are named, so that nothing dies in it.

use crate::harness::{eventually, kill};
use crate::world::{PATIENCE_S, World};
use rollout::event::{Event, Outcome};
use std::time::Duration;

/// One thing to do, and how it must end.
pub struct Scenario {
    pub name: &'static str,
    pub prepare: fn(&World, &mut Script),
    pub act: fn(&World, &mut Script),
    /// How its deployments may end, in order.
    pub outcomes: &'static [&'static [Outcome]],
    /// Whether it is over only when no revision is hot any more.
    pub retires: bool,
    /// Kinds of changes it makes: it is killed before and after them, too.
    pub changes: &'static [&'static str],
    /// Kinds of its events that are left to other scenarios.
    pub elsewhere: &'static [&'static str],
}

/// What a scenario says about itself while it runs.
#[derive(Default)]
pub struct Script {
    /// The version that must answer at the end.
    pub serves: String,
    /// The version whose own errors users see.
    pub bad: Option<String>,
    /// Requests that may fail because a replica was killed by hand.
    pub lost_by_hand: u64,
    /// Requests are kept waiting on purpose: a client may give up before the operator ends that.
    pub held: bool,
}

const PROMOTED: &[Outcome] = &[Outcome::Promoted, Outcome::PromotedUnproven];
const RETURNED: &[Outcome] = &[Outcome::RolledBack];

/// Rules of a rollout that is not looked at.
const QUICK: &str = "bake = \"0s\"\ndrain = \"1s\"\nkeep_hot = \"90s\"";
/// A watched rollout in two steps, with a check, a monitor and hooks: as many kinds of events as may be.
const CANARY: &str = r#"strategy = "canary"
steps = [50, 100]
step_bake = "1s"
bake = "1s"
bake_max = "2s"
drain = "1s"
keep_hot = "1s"
hooks = { before_deploy = ["/bin/true"], after_deploy = ["/bin/true"] }
checks = [ { name = "smoke", url = "/api/health" }, { name = "shell", command = ["/bin/true"], when = "after" } ]
monitor = { every = "1s", checks = [ { name = "api", url = "/api/health" } ] }"#;

/// The same, watched so long that only a verdict or an operator ends it.
fn long() -> String {
    let longer = [
        ("step_bake = \"1s\"", "step_bake = \"60s\""),
        ("bake = \"1s\"", "bake = \"60s\""),
        ("\"2s\"", "\"90s\""),
    ];
    longer.iter().fold(CANARY.to_owned(), |text, (from, to)| text.replace(from, to))
}

pub const FIRST: Scenario = Scenario {
    name: "first",
    prepare: |world, _| world.rules(CANARY),
    act: |world, script| {
        script.serves = world.release();
        code(&world.deploy(&script.serves, &[]), &[0]);
    },
    outcomes: &[PROMOTED],
    retires: true,
    changes: &["launch", "publish", "task"],
    // Nobody asks for anything yet.
    elsewhere: &["evidence_added"],
};

/// Everything that begins with a stable release.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "good",
        prepare: |world, _| {
            world.rules(&format!("{CANARY}\nmirror = {{ share = \"100%\", during = \"1s\" }}"))
        },
        act: |world, script| {
            script.serves = world.release();
            code(&world.deploy(&script.serves, &[]), &[0]);
        },
        outcomes: &[PROMOTED],
        retires: true,
        changes: &["launch", "publish", "task", "removal"],
        elsewhere: &[],
    },
    Scenario {
        name: "bad",
        prepare: |world, script| {
            world.rules(&long());
            script.serves = serving(world);
        },
        act: |world, script| {
            let bad = world.release();
            script.bad = Some(bad.clone());
            code(&world.deploy(&bad, &["--env-var", "CLINIC_FAIL_PERCENT=100"]), &[4]);
        },
        outcomes: &[RETURNED],
        retires: false,
        changes: &["launch", "publish", "removal"],
        elsewhere: &[],
    },
    Scenario {
        name: "rollback",
        prepare: |world, script| {
            world.rules(QUICK);
            script.serves = serving(world);
            code(&world.deploy(&world.release(), &[]), &[0]);
            world.settle(false);
        },
        act: |world, _| {
            // Asked for once more when its answer was lost: 3 says that it has been done.
            world.must(&["rollback"], &[0, 3]);
        },
        outcomes: &[PROMOTED],
        retires: false,
        changes: &["publish"],
        elsewhere: &["evidence_added"],
    },
    Scenario {
        name: "hot return",
        prepare: |world, script| {
            world.rules(QUICK);
            script.serves = serving(world);
            let bad = world.release();
            script.bad = Some(bad.clone());
            let faults = ["--env-var", "CLINIC_FAIL_PERCENT=100", "--env-var", "CLINIC_FAIL_AFTER_MS=5000"];
            code(&world.deploy(&bad, &faults), &[0]);
        },
        act: |world, script| {
            eventually("the hot revision is returned to", PATIENCE_S, || {
                let state = world.state();
                let label = state.stable.and_then(|placed| placed.label)?;
                (label.as_str() == script.serves && state.deployment.is_none()).then_some(())
            });
        },
        outcomes: &[PROMOTED],
        retires: false,
        changes: &["publish", "removal"],
        elsewhere: &[],
    },
    Scenario {
        name: "supersede",
        prepare: |world, _| {
            world.rules(&long());
            begin(world);
            world.rules(CANARY);
        },
        act: |world, script| {
            script.serves = world.release();
            code(&world.deploy(&script.serves, &["--supersede"]), &[0]);
        },
        outcomes: &[&[Outcome::Superseded], PROMOTED],
        retires: true,
        changes: &["publish", "removal"],
        elsewhere: &[
            "release_stored",
            "hook_ran",
            "migration_expanded",
            "check_ran",
            "candidate_ready",
            "candidate_verified",
            "judge_calibrated",
            "bake_extended",
            "bake_passed",
            "promoted",
            "revision_retired",
            "checks_answered",
        ],
    },
    Scenario {
        name: "operator",
        prepare: |world, script| {
            world.rules(&long());
            script.serves = begin(world);
        },
        act: |world, _| {
            // Each is asked for again when its answer was lost; 3 says that it has been done.
            for verb in [["pause", "web"], ["resume", "web"], ["promote", "--now"]] {
                world.must(&verb, &[0, 3]);
            }
        },
        outcomes: &[PROMOTED],
        retires: true,
        changes: &[],
        elsewhere: &[
            "evidence_added",
            "checks_answered",
            "check_ran",
            "hook_ran",
            "drained",
            "revision_retired",
            "deployment_finished",
        ],
    },
    Scenario {
        name: "abort",
        prepare: |world, script| {
            script.serves = serving(world);
            world.rules(&long());
            begin(world);
        },
        act: |world, _| {
            world.must(&["abort"], &[0, 3]);
        },
        outcomes: &[&[Outcome::Aborted]],
        retires: false,
        changes: &["publish", "removal"],
        elsewhere: &["evidence_added", "checks_answered"],
    },
    Scenario {
        name: "scale",
        prepare: |world, script| script.serves = serving(world),
        act: |world, _| {
            world.must(&["scale", "web", "4"], &[0]);
            eventually("four replicas are ready", PATIENCE_S, || {
                let ran = world.ask(&["status", "--json"]);
                let status: serde_json::Value = serde_json::from_str(&ran.out).ok()?;
                (status["services"][0]["stable"]["replicas"]["ready"] == 4).then_some(())
            });
            world.must(&["scale", "web", "--auto"], &[0]);
        },
        outcomes: &[],
        retires: false,
        changes: &["launch", "stop", "publish"],
        elsewhere: &[],
    },
    Scenario {
        name: "maintenance",
        prepare: |world, script| {
            script.serves = serving(world);
            script.held = true;
        },
        act: |world, _| {
            world.must(&["maintenance", "on", "--hold", "60s"], &[0]);
            world.must(&["maintenance", "off"], &[0]);
            world.more(30);
        },
        outcomes: &[],
        retires: false,
        changes: &["publish"],
        elsewhere: &[],
    },
    Scenario {
        name: "replica lost",
        prepare: |world, script| {
            script.serves = serving(world);
            script.lost_by_hand = 6;
        },
        act: |world, script| {
            let version = format!("CLINIC_VERSION={}\0", script.serves);
            let pids = crate::harness::processes_of(world.env.folder.path());
            let serves = |pid: &u32| {
                let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let environ = String::from_utf8_lossy(&environ).into_owned();
                environ.contains(&version) && environ.contains("MEDECLIPSE_REPLICA=")
            };
            kill(pids.into_iter().find(serves).expect("a replica serves"), "KILL");
            eventually("it is replaced", PATIENCE_S, || {
                let replaced = world.records().into_iter().rev().find_map(|record| match record.event {
                    Event::ReplicaReplaced { .. } => Some(true),
                    Event::ReplicaLost { .. } => Some(false),
                    _ => None,
                });
                (replaced == Some(true)).then_some(())
            });
        },
        outcomes: &[],
        retires: false,
        changes: &["launch", "publish"],
        elsewhere: &[],
    },
    Scenario {
        name: "down, up",
        prepare: |world, script| {
            script.serves = serving(world);
            world.rules(&long());
            begin(world);
            world.silence();
        },
        act: |world, _| {
            world.must(&["down"], &[0]);
            world.up();
            eventually("it serves again", PATIENCE_S, || {
                world.env.request("GET", "/api/health", &[], "").ok().filter(|answer| answer.status == 200)
            });
            world.send();
        },
        outcomes: &[RETURNED],
        retires: false,
        changes: &["launch", "publish"],
        elsewhere: &["evidence_added"],
    },
    Scenario {
        name: "crash, up",
        prepare: |world, script| {
            script.serves = serving(world);
            world.rules(&long());
            begin(world);
            world.silence();
            // As when the machine fails: everything at once, and nobody writes a word.
            for _ in 0..2 {
                crate::harness::processes_of(world.env.folder.path())
                    .into_iter()
                    .for_each(|pid| kill(pid, "KILL"));
            }
            eventually("everything is dead", PATIENCE_S, || {
                crate::harness::processes_of(world.env.folder.path()).is_empty().then_some(())
            });
        },
        act: |world, _| {
            world.up();
            eventually("it serves again", PATIENCE_S, || {
                world.env.request("GET", "/api/health", &[], "").ok().filter(|answer| answer.status == 200)
            });
            world.send();
        },
        outcomes: &[RETURNED],
        retires: false,
        changes: &["launch", "publish"],
        elsewhere: &["evidence_added"],
    },
];

/// Begins a deployment that nobody follows to its end, and waits until its candidate is watched.
fn begin(world: &World) -> String {
    let version = world.release();
    let ran = world.deploy(&version, &["--detach"]);
    code(&ran, &[0]);
    eventually("the candidate is watched", PATIENCE_S, || {
        let state = world.state();
        let running = state.deployment.as_ref()?;
        matches!(running.phase, rollout::machine::Phase::Baking { .. }).then_some(())
    });
    version
}

/// Returns the version that is stable.
fn serving(world: &World) -> String {
    world.state().stable.and_then(|placed| placed.label).expect("something is stable").to_string()
}

fn code(ran: &crate::harness::Ran, codes: &[i32]) {
    assert!(
        codes.contains(&ran.code),
        "it ended with {} instead of {codes:?}: {}{}",
        ran.code,
        ran.out,
        ran.err
    );
}

/// Times from the begin of `down` at which its engine is killed from outside: nothing is journalled then.
pub const DOWN_AFTER: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(150),
    Duration::from_millis(500),
];

/// Kills the engine that is stopping everything; `down` must end all the same, and leave nothing.
pub fn killed_while_down(world: &World, after: Duration) -> Vec<String> {
    world.silence();
    let down = world.env.start(&["down"]);
    std::thread::sleep(after);
    world.kill_engine();
    let ran = down.end(PATIENCE_S);
    let mut wrong = Vec::new();
    if ran.code != 0 {
        wrong.push(format!("down ended with {}: {}", ran.code, ran.err));
    }
    let left = crate::harness::processes_of(world.env.folder.path());
    if !left.is_empty() {
        wrong.push(format!("down left {left:?}"));
        world.must(&["down"], &[0]);
    }
    world.up();
    eventually("it serves again", PATIENCE_S, || {
        world.env.request("GET", "/api/health", &[], "").ok().filter(|answer| answer.status == 200)
    });
    world.send();
    wrong
}
