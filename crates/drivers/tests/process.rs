//! What only real processes can show: survival, adoption, ports, signals, files.

#![allow(clippy::unwrap_used)]

mod support;

use drivers::platform::process::proc::{self, Identity};
use drivers::platform::process::reaped::Notes;
use drivers::platform::process::{Groups, ProcessPlatform};
use drivers::platform::{Platform, PlatformError};
use rollout::change::{Change, Ended, Observed, ObservedReplica, ReplicaState};
use rollout::names::{Millis, ReplicaId, Revision, Target};
use rollout::release::{ReleaseSpec, Resources};
use rustix::process::{Signal, kill_process, test_kill_process_group};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{
    GRACE, PATIENCE, SmallDisk, State, generation, group_is_empty, launch, listening, refusal, remove, see,
    server, shell_task, spec, target, up, wait_until,
};
use tokio::time::timeout;

fn sh(script: &str) -> ReleaseSpec {
    spec(&["/bin/sh", "-c", script])
}

/// A program that writes where it is to be reached and then waits, ended by SIGTERM like most.
fn sleeper() -> ReleaseSpec {
    sh("exec sleep 1000")
}

fn kill(replica: &ObservedReplica, signal: Signal) {
    kill_process(proc::as_pid(replica.pid.unwrap()).unwrap(), signal).unwrap();
}

fn running(observed: &Observed) -> usize {
    observed.replicas.iter().filter(|replica| replica.pid.is_some()).count()
}

async fn launched(platform: &ProcessPlatform, revision: u64, spec: ReleaseSpec) -> ObservedReplica {
    platform.apply(&target(), &launch(revision, 1, spec), generation(1)).await.unwrap();
    let has = |replica: &ObservedReplica| replica.revision == Revision(revision) && replica.pid.is_some();
    let seen = see(platform, |observed| observed.replicas.iter().any(has)).await;
    seen.replicas.into_iter().find(|replica| has(replica)).unwrap()
}

async fn ended(platform: &ProcessPlatform) -> Ended {
    let ended = |observed: &Observed| {
        observed.replicas.iter().find_map(|replica| match replica.state {
            ReplicaState::Exited(ended) => Some(ended),
            ReplicaState::Starting | ReplicaState::Listening => None,
        })
    };
    ended(&see(platform, |observed| ended(observed).is_some()).await).unwrap()
}

/// Returns the last line of the replica's log that begins with `word`, without it.
async fn said(platform: &ProcessPlatform, word: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let logs = platform.logs(&target(), None, None, 100).await.unwrap();
        let mut lines = logs.iter().flat_map(|log| &log.lines);
        if let Some(rest) = lines.find_map(|line| line.strip_prefix(word)) {
            return rest.trim().to_owned();
        }
        assert!(Instant::now() < until, "never said `{word}`: {logs:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn e23_a_killed_replica_is_told_within_100_ms() {
    let state = State::new();
    let platform = state.platform();
    platform.apply(&target(), &launch(1, 5, sleeper()), generation(1)).await.unwrap();
    let replicas = see(&platform, |observed| running(observed) == 5).await.replicas;
    let mut changed = platform.changed();
    let mut took = Vec::new();

    for (at, replica) in replicas.iter().enumerate() {
        kill(replica, Signal::KILL);
        let killed = Instant::now();
        timeout(PATIENCE, changed.changed()).await.unwrap().unwrap();
        let observed = platform.observe(&target()).await.unwrap();
        took.push(killed.elapsed());
        assert_eq!(observed.replicas[at].state, ReplicaState::Exited(Ended::Signal(9)));
    }

    // The middle one of five: a machine that builds something else meanwhile may take its time once.
    took.sort();
    println!("from the kill to the observation: {took:?}");
    assert!(took[2] < Duration::from_millis(100), "took {took:?}");
}

#[tokio::test]
async fn an_exit_code_is_told() {
    let state = State::new();
    let platform = state.platform();

    platform.apply(&target(), &launch(1, 1, sh("exit 7")), generation(1)).await.unwrap();

    assert_eq!(ended(&platform).await, Ended::Code(7));
}

#[tokio::test]
async fn a_later_platform_takes_the_replicas_over_and_sees_them_end() {
    let state = State::new();
    let first = state.platform();
    let before = up(&first, 1, 2, server()).await;
    let adoptable = first.adoptable().await.unwrap();
    drop(first);

    let second = state.platform();
    let after = see(&second, |observed| listening(observed) == 2).await.replicas;

    assert_eq!(after, before);
    assert_eq!(adoptable.into_iter().map(|(_, replica)| replica).collect::<Vec<_>>(), before);
    let mut changed = second.changed();
    kill(&after[0], Signal::KILL);
    timeout(PATIENCE, changed.changed()).await.unwrap().unwrap();
    assert_eq!(ended(&second).await, Ended::Signal(9));
    second.apply(&target(), &remove(1), generation(2)).await.unwrap();
    see(&second, |observed| observed.replicas.is_empty()).await;
}

#[tokio::test]
async fn a_replica_that_ended_while_no_engine_ran_has_an_unknown_status() {
    let state = State::new();
    let first = state.platform();
    let replica = launched(&first, 1, sleeper()).await;
    drop(first);
    kill(&replica, Signal::KILL);
    reap_as_somebody_else(&replica).await;

    let second = state.platform();

    assert_eq!(ended(&second).await, Ended::Unknown);
}

#[tokio::test]
async fn the_supervisors_note_tells_how_an_orphan_ended() {
    let state = State::new();
    let notes = Notes::new(state.path());
    notes.open().unwrap();
    let first = state.platform();
    let replica = launched(&first, 1, sleeper()).await;
    drop(first);
    let identity = Identity::of(replica.pid.unwrap()).unwrap();
    kill(&replica, Signal::TERM);
    reap_as_somebody_else(&replica).await;
    notes.write(identity.pid, identity.start, Ended::Signal(15)).unwrap();

    let second = state.platform();

    assert_eq!(ended(&second).await, Ended::Signal(15));
}

/// Takes the exit status away from the platform, as a parent that is not the engine does.
async fn reap_as_somebody_else(replica: &ObservedReplica) {
    let identity = Identity::of(replica.pid.unwrap()).unwrap();
    wait_until("it is a zombie", || !identity.runs()).await;
    let fd = identity.open().unwrap().unwrap();
    assert!(matches!(proc::reap(std::os::fd::AsFd::as_fd(&fd)), Ok(proc::Reaped::Ended(_))));
}

#[tokio::test]
async fn a_process_that_reuses_the_number_is_not_taken_for_the_replica() {
    let state = State::new();
    let first = state.platform();
    let replica = launched(&first, 1, sleeper()).await;
    drop(first);
    // As after a restart of the machine: the same number, another process.
    let claim = state.path().join("replicas/web@local/web-1-1/claim.json");
    let mut text = support::json(&claim).unwrap();
    text["runs"]["start"] = 1.into();
    fs::write(&claim, text.to_string()).unwrap();

    let second = state.platform();

    assert_eq!(ended(&second).await, Ended::Unknown);
    second.apply(&target(), &remove(1), generation(2)).await.unwrap();
    see(&second, |observed| observed.replicas.is_empty()).await;
    assert!(!group_is_empty(replica.pid.unwrap()), "a stranger was killed");
    kill(&replica, Signal::KILL);
    reap_as_somebody_else(&replica).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_skipped() {
    let mut state = State::new();
    state.ports.1 = state.ports.0 + 2;
    let _taken = TcpListener::bind(("0.0.0.0", state.ports.0)).unwrap();
    let platform = state.platform();

    platform.apply(&target(), &launch(1, 2, sleeper()), generation(1)).await.unwrap();
    let full = platform.apply(&target(), &launch(2, 1, sleeper()), generation(1)).await.unwrap_err();

    let observed = see(&platform, |observed| running(observed) == 2).await;
    let ports: BTreeSet<u16> = observed.replicas.iter().map(|replica| replica.address.port()).collect();
    assert_eq!(ports, BTreeSet::from([state.ports.0 + 1, state.ports.0 + 2]));
    let PlatformError::Retry { what, why } = full else { panic!("{full:?}") };
    assert_eq!(what, "launch revision 2 of web@local");
    assert!(why.starts_with("every port from ") && why.contains("(2 by replicas)"), "{why}");
}

#[tokio::test]
async fn a_port_is_not_given_again_soon_also_not_by_a_later_platform() {
    let state = State::new();
    let first = {
        let platform = state.platform();
        let first = launched(&platform, 1, sleeper()).await;
        platform.stop_all(Millis(0)).await.unwrap();
        first.address
    };

    let later = launched(&state.platform(), 2, sleeper()).await;

    assert_ne!(
        later.address, first,
        "an edge that still knows the old address would find somebody else there"
    );
}

#[tokio::test]
async fn a_replica_whose_port_was_taken_meanwhile_ends_and_the_next_gets_another() {
    let state = State::new();
    let platform = state.platform();
    let gate = state.path().join("go");
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.01; done; exec python3 -m http.server $PORT --bind $HOST",
        gate.display()
    );
    let first = launched(&platform, 1, sh(&script)).await;
    let _thief = TcpListener::bind(first.address).unwrap();

    fs::write(gate, "").unwrap();

    assert_eq!(ended(&platform).await, Ended::Code(1));
    platform.apply(&target(), &launch(1, 1, sh(&script)), generation(2)).await.unwrap();
    let observed = see(&platform, |observed| listening(observed) == 1).await;
    assert_ne!(observed.replicas[1].address, first.address);
    assert!(said(&platform, "OSError").await.contains("in use"));
}

#[tokio::test]
async fn a_foreign_listener_on_the_port_does_not_make_a_replica_listen() {
    let state = State::new();
    let platform = state.platform();
    let replica = launched(&platform, 1, sleeper()).await;

    let foreign = TcpListener::bind(replica.address).unwrap();
    let with = platform.observe(&target()).await.unwrap();
    drop(foreign);

    assert_eq!(with.replicas[0].state, ReplicaState::Starting);
}

#[tokio::test]
async fn a_listener_of_a_child_on_any_address_counts() {
    let state = State::new();
    let platform = state.platform();

    let replicas = up(&platform, 1, 1, sh("python3 -m http.server $PORT & wait")).await;

    assert_eq!(replicas[0].state, ReplicaState::Listening);
}

#[tokio::test]
async fn a_replica_that_stops_listening_is_no_longer_listening() {
    let state = State::new();
    let platform = state.platform();
    let gate = state.path().join("go");
    let script = format!(
        "python3 -m http.server $PORT & while [ ! -e {} ]; do sleep 0.01; done; kill $!; exec sleep 1000",
        gate.display()
    );
    up(&platform, 1, 1, sh(&script)).await;

    fs::write(gate, "").unwrap();

    let observed = see(&platform, |observed| listening(observed) == 0).await;
    assert_eq!(observed.replicas[0].state, ReplicaState::Starting);
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_the_grace() {
    let state = State::new();
    let platform = state.platform();
    let script = "trap '' TERM; echo armed; while :; do sleep 0.05; done";
    let replica = launched(&platform, 1, sh(script)).await;
    said(&platform, "armed").await;
    let asked = Instant::now();

    let change = Change::Remove { revision: Revision(1), grace: Millis(1500) };
    platform.apply(&target(), &change, generation(2)).await.unwrap();
    let answered = asked.elapsed();
    let during = platform.observe(&target()).await.unwrap();
    see(&platform, |observed| observed.replicas.is_empty()).await;
    let took = asked.elapsed();

    assert!(answered < Duration::from_millis(1200), "the asking waited {answered:?}");
    assert_eq!(running(&during), 1, "it is there while it goes");
    assert!(took >= Duration::from_millis(1500), "killed after {took:?}");
    assert!(group_is_empty(replica.pid.unwrap()));
}

#[tokio::test]
async fn what_a_wrapper_started_has_the_same_grace_as_the_wrapper() {
    let state = State::new();
    let platform = state.platform();
    let done = state.path().join("done");
    let script = format!(
        "(trap 'sleep 0.2; echo bye > {}; exit' TERM; echo armed; while :; do sleep 0.01; done) & wait",
        done.display()
    );
    let replica = launched(&platform, 1, sh(&script)).await;
    said(&platform, "armed").await;

    platform.apply(&target(), &remove(1), generation(2)).await.unwrap();
    see(&platform, |observed| observed.replicas.is_empty()).await;

    assert_eq!(fs::read_to_string(done).unwrap(), "bye\n");
    assert!(group_is_empty(replica.pid.unwrap()));
}

#[tokio::test]
async fn what_a_dead_replica_leaves_in_its_group_is_killed() {
    let state = State::new();
    let platform = state.platform();
    let replica = launched(&platform, 1, sh("sleep 1000 & sleep 1000 & echo armed; exec sleep 1000")).await;
    said(&platform, "armed").await;

    kill(&replica, Signal::KILL);
    ended(&platform).await;

    assert!(group_is_empty(replica.pid.unwrap()));
}

#[tokio::test]
async fn a_stop_goes_on_after_a_restart_of_the_engine() {
    let state = State::new();
    let first = state.platform();
    let script = "trap '' TERM; echo armed; while :; do sleep 0.05; done";
    let replica = launched(&first, 1, sh(script)).await;
    said(&first, "armed").await;
    let change = Change::Remove { revision: Revision(1), grace: Millis(400) };
    first.apply(&target(), &change, generation(2)).await.unwrap();
    drop(first);

    let second = state.platform();
    see(&second, |observed| observed.replicas.is_empty()).await;

    assert!(group_is_empty(replica.pid.unwrap()));
    wait_until("its record is gone", || state.identities().is_empty()).await;
}

#[tokio::test]
async fn an_engine_that_was_overtaken_is_refused() {
    let state = State::new();
    let stale = state.platform();
    let replica = launched(&stale, 1, sleeper()).await;
    let fresh = state.platform();
    let newer = rollout::names::Generation { epoch: 2, seq: 1 };
    fresh.apply(&target(), &launch(1, 1, sleeper()), newer).await.unwrap();

    let outcome = stale.apply(&target(), &remove(1), generation(50)).await;

    let Err(PlatformError::Stale { what, newest: seen }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((what.as_str(), seen), ("change web@local as of 1.50", newer));
    assert_eq!(fresh.observe(&target()).await.unwrap().replicas[0].pid, replica.pid);
}

#[tokio::test]
async fn what_another_engine_launched_is_watched_once_it_was_seen() {
    let state = State::new();
    let one = state.platform();
    let other = state.platform();
    let replica = launched(&other, 1, sleeper()).await;
    see(&one, |observed| running(observed) == 1).await;
    let mut changed = one.changed();

    kill(&replica, Signal::KILL);

    timeout(PATIENCE, changed.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_program_starts_in_its_artefact_with_its_own_environment_only() {
    let state = State::new();
    let app = state.path().join("app");
    fs::create_dir(&app).unwrap();
    let script =
        "#!/bin/sh\necho pwd $(pwd)\necho args $*\necho env $(env | sort | tr '\\n' ' ')\nexec sleep 1000\n";
    fs::write(app.join("clinic"), script).unwrap();
    fs::set_permissions(app.join("clinic"), fs::Permissions::from_mode(0o755)).unwrap();
    let stored = state.artifacts().put(&app).unwrap();
    let platform = state.platform();
    let mut spec = spec(&["./clinic", "--listen", "${HOST}:${PORT}", "--root=${ARTIFACT}"]);
    spec.artifact = Some(stored.digest.clone());
    spec.env.insert("PUBLIC_URL".to_owned(), "http://${HOST}:${PORT}/".to_owned());

    let replica = launched(&platform, 3, spec).await;

    let path = state.artifacts().path(&stored.digest).display().to_string();
    let address = replica.address;
    assert_eq!(said(&platform, "pwd").await, path);
    assert_eq!(said(&platform, "args").await, format!("--listen {address} --root={path}"));
    let env = said(&platform, "env").await;
    for expected in [
        format!("PORT={}", address.port()),
        "HOST=127.0.0.1".to_owned(),
        format!("PUBLIC_URL=http://{address}/"),
        "MEDECLIPSE_SERVICE=web".to_owned(),
        "MEDECLIPSE_RELEASE=0123456789abcdef".to_owned(),
        "MEDECLIPSE_REVISION=3".to_owned(),
        "MEDECLIPSE_REPLICA=web-3-1".to_owned(),
    ] {
        assert!(env.split(' ').any(|word| word == expected), "{expected} in {env}");
    }
    assert!(!env.contains("CARGO"), "{env}");
    assert_eq!(replica.replica, ReplicaId::new("web-3-1"));
}

#[tokio::test]
async fn a_command_that_cannot_run_is_refused_before_anything_starts() {
    let state = State::new();
    let platform = state.platform();
    let app = state.path().join("clinic");
    fs::write(&app, "#!/bin/sh\n").unwrap();
    let stored = state.artifacts().put(&app).unwrap();
    let with_artifact =
        |command: &str| ReleaseSpec { artifact: Some(stored.digest.clone()), ..spec(&[command]) };
    let missing = ReleaseSpec { artifact: Some("0".repeat(64)), ..spec(&["./clinic"]) };

    for (spec, expected) in [
        (with_artifact("./clinic"), "`./clinic` is not executable"),
        (with_artifact("./other"), "`./other` is not there"),
        (spec(&["no-such-program"]), "there is no program `no-such-program` on the PATH"),
        (spec(&[]), "its command is empty"),
        (missing, "its artefact 000000000000 is no longer stored"),
    ] {
        let outcome = platform.apply(&target(), &launch(1, 1, spec), generation(1)).await;

        let (what, why, next) = refusal(outcome);
        assert_eq!((what.as_str(), why.as_str()), ("launch revision 1 of web@local", expected));
        assert!(!next.is_empty());
    }
    assert!(platform.observe(&target()).await.unwrap().replicas.is_empty());
}

#[tokio::test]
async fn a_program_that_the_system_does_not_start_says_why() {
    let state = State::new();
    let platform = state.platform();
    let app = state.path().join("clinic");
    fs::write(&app, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&app, fs::Permissions::from_mode(0o755)).unwrap();
    let stored = state.artifacts().put(&app).unwrap();
    let spec = ReleaseSpec { artifact: Some(stored.digest), ..spec(&["./clinic"]) };

    platform.apply(&target(), &launch(1, 1, spec), generation(1)).await.unwrap();

    assert_eq!(ended(&platform).await, Ended::Code(127));
    let why = "`./clinic`: there is no such file, or what it is to be run by is missing";
    assert_eq!(platform.failure(&target(), &ReplicaId::new("web-1-1")).unwrap(), why);
    assert_eq!(said(&platform, "medeclipse: cannot start:").await, why);
}

#[tokio::test]
async fn a_shim_that_does_not_come_up_is_an_ended_replica() {
    let state = State::new();
    let mut config = state.config();
    config.shim = vec!["/bin/false".into()];
    let platform = ProcessPlatform::with_groups(config, Groups::unavailable("not for this test")).unwrap();

    platform.apply(&target(), &launch(1, 1, sleeper()), generation(1)).await.unwrap();

    assert_eq!(ended(&platform).await, Ended::Code(1));
    platform.apply(&target(), &remove(1), generation(2)).await.unwrap();
    see(&platform, |observed| observed.replicas.is_empty()).await;
}

#[tokio::test]
async fn an_intent_nobody_claims_is_withdrawn_after_five_seconds() {
    let state = State::new();
    let mut config = state.config();
    config.shim = vec!["/bin/sh".into(), "-c".into(), "exec sleep 1000".into()];
    let platform = ProcessPlatform::with_groups(config, Groups::unavailable("not for this test")).unwrap();
    platform.apply(&target(), &launch(1, 1, sleeper()), generation(1)).await.unwrap();
    let launched = Instant::now();

    let ended = ended(&platform).await;

    assert_eq!(ended, Ended::Signal(9));
    assert!(launched.elapsed() >= Duration::from_millis(4900));
    let claim = state.path().join("replicas/web@local/web-1-1/claim.json");
    assert_eq!(support::json(&claim).unwrap(), "withdrawn");
    assert!(platform.failure(&target(), &ReplicaId::new("web-1-1")).unwrap().contains("withdrawn"));
}

#[tokio::test]
async fn a_task_is_killed_with_all_it_started_when_its_deadline_passes() {
    let state = State::new();
    let platform = state.platform();
    let script = "echo before; sleep 1000 & echo $! > child; wait";
    let task = shell_task("slow", script, state.path(), Millis(300));

    platform.apply(&target(), &Change::RunTask { task }, generation(1)).await.unwrap();
    let seen = see(&platform, |observed| observed.tasks.iter().any(|task| task.ended.is_some())).await;

    assert_eq!(seen.tasks[0].ended, Some(Ended::TimedOut));
    assert_eq!(seen.tasks[0].output, "before\nmedeclipse: killed: its deadline of 300ms passed\n");
    let child: u32 = fs::read_to_string(state.path().join("child")).unwrap().trim().parse().unwrap();
    assert!(!matches!(proc::stat(child), Ok(Some(stat)) if !stat.zombie));
}

#[tokio::test]
async fn a_task_goes_on_without_an_engine_and_the_next_one_learns_its_end() {
    let state = State::new();
    let gate = state.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done; echo late; exit 4", gate.display());
    let first = state.platform();
    let task = shell_task("expand", &script, state.path(), Millis::seconds(60));
    first.apply(&target(), &Change::RunTask { task }, generation(1)).await.unwrap();
    drop(first);
    fs::write(gate, "").unwrap();

    let second = state.platform();
    let seen = see(&second, |observed| observed.tasks.iter().any(|task| task.ended.is_some())).await;

    assert_eq!(seen.tasks[0].ended, Some(Ended::Code(4)));
    assert_eq!(seen.tasks[0].output, "late\n");
}

#[test]
fn o9_a_task_whose_engine_died_before_it_was_started_is_forgotten_and_can_be_asked_for_again() {
    let state = State::new();
    let folder = state.path().to_owned();
    let run = || Change::RunTask {
        task: shell_task("before_deploy", "echo ran >> runs", &folder, Millis::seconds(60)),
    };
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The engine that dies: its task is recorded, and what should start it never gets there.
    let dying = runtime();
    let mut config = state.config();
    config.shim = vec![
        "/bin/sh".into(),
        "-c".into(),
        format!("echo $$ > {}/shim; exec sleep 1000", folder.display()).into(),
    ];
    let first = {
        let _entered = dying.enter();
        ProcessPlatform::with_groups(config, Groups::unavailable("not for this test")).unwrap()
    };
    dying.block_on(first.apply(&target(), &run(), generation(1))).unwrap();
    dying.block_on(wait_until("it is being started", || {
        fs::read_to_string(folder.join("shim")).is_ok_and(|text| text.ends_with('\n'))
    }));
    drop(first);
    dying.shutdown_background();
    let shim: u32 = fs::read_to_string(folder.join("shim")).unwrap().trim().parse().unwrap();
    kill_process(proc::as_pid(shim).unwrap(), Signal::KILL).unwrap();

    runtime().block_on(async {
        let second = state.platform();
        see(&second, |observed| observed.tasks.iter().any(|task| task.ended.is_none())).await;
        let seen = see(&second, |observed| observed.tasks.iter().all(|task| task.ended.is_some())).await;
        assert_eq!(seen.tasks, [], "it is no failure");

        second.apply(&target(), &run(), generation(2)).await.unwrap();
        let seen = see(&second, |observed| observed.tasks.iter().any(|task| task.ended.is_some())).await;
        assert_eq!(seen.tasks[0].ended, Some(Ended::Code(0)));
    });
    assert_eq!(fs::read_to_string(folder.join("runs")).unwrap(), "ran\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o9_a_task_that_is_over_before_its_starter_looked_at_it_runs_once() {
    let state = State::new();
    let platform = state.platform();
    let apply = async {
        for number in 0..20 {
            let name = format!("expand-{number}");
            let task = shell_task(&name, "echo ran >> runs", state.path(), Millis::seconds(60));
            // Asked for until it is said that it runs, as the engine does.
            while platform
                .apply(&target(), &Change::RunTask { task: task.clone() }, generation(1))
                .await
                .is_err()
            {}
        }
    };
    // Whoever looks meanwhile watches what is being started, and reaps it.
    let look = async {
        loop {
            platform.observe(&target()).await.unwrap();
        }
    };
    tokio::select! {
        () = apply => {}
        () = look => {}
    }

    let seen = see(&platform, |observed| observed.tasks.iter().all(|task| task.ended.is_some())).await;
    assert!(seen.tasks.iter().all(|task| task.ended == Some(Ended::Code(0))), "{seen:?}");
    assert_eq!(fs::read_to_string(state.path().join("runs")).unwrap(), "ran\n".repeat(20));
}

#[tokio::test]
async fn a_task_whose_guard_was_killed_ends_unknown_and_leaves_nothing() {
    let state = State::new();
    let platform = state.platform();
    let task = shell_task("expand", "exec sleep 1000", state.path(), Millis::seconds(60));
    platform.apply(&target(), &Change::RunTask { task }, generation(1)).await.unwrap();
    wait_until("guard and command run", || state.identities().len() == 2).await;
    let identities = state.identities();

    kill_process(proc::as_pid(identities[0].pid).unwrap(), Signal::KILL).unwrap();

    let seen = see(&platform, |observed| observed.tasks[0].ended.is_some()).await;
    assert_eq!(seen.tasks[0].ended, Some(Ended::Unknown));
    assert!(identities.iter().all(|identity| group_is_empty(identity.pid)));
}

#[tokio::test]
async fn a_hook_that_cannot_run_is_refused_with_the_reason() {
    let state = State::new();
    let platform = state.platform();
    let mut task = shell_task("hook", "true", &state.path().join("nowhere"), Millis::seconds(1));
    let (_, why, _) =
        refusal(platform.apply(&target(), &Change::RunTask { task: task.clone() }, generation(1)).await);
    assert!(why.starts_with("there is no folder `"), "{why}");

    task.place = rollout::change::TaskPlace::Folder(state.path().display().to_string());
    task.command = vec!["./hook.sh".to_owned()];
    let (what, why, _) = refusal(platform.apply(&target(), &Change::RunTask { task }, generation(1)).await);

    assert_eq!(what, "run `d-1/hook` of web@local");
    assert_eq!(why, "`./hook.sh` is not there");
}

#[tokio::test]
async fn a_log_is_rotated_under_a_writer_that_never_lets_go_of_it() {
    let state = State::new();
    let platform = state.platform();
    let gate = state.path().join("go");
    let script = format!(
        "yes 0123456789abcdef | head -c 11000003; echo full; \
         while [ ! -e {} ]; do sleep 0.01; done; echo after; exec sleep 1000",
        gate.display()
    );
    launched(&platform, 1, sh(&script)).await;
    said(&platform, "full").await;

    platform.housekeep().await.unwrap();
    fs::write(gate, "").unwrap();
    said(&platform, "after").await;

    let log = state.path().join("logs/web@local/web-1-1.out");
    assert_eq!(fs::read_to_string(&log).unwrap(), "after\n");
    assert_eq!(fs::metadata(state.path().join("logs/web@local/web-1-1.out.1")).unwrap().len(), 11_000_008);
    let tails = platform.logs(&target(), Some(Revision(1)), None, 2).await.unwrap();
    let out = tails.iter().find(|tail| tail.path == log).unwrap();
    assert_eq!(out.lines, ["full", "after"]);
}

#[tokio::test]
async fn logs_outlive_their_replicas_for_five_revisions() {
    let state = State::new();
    let platform = state.platform();
    for revision in 1..=7 {
        let change = launch(revision, 1, sh(&format!("echo revision {revision}")));
        platform.apply(&target(), &change, generation(revision)).await.unwrap();
        let over = |at: &ObservedReplica| {
            at.revision == Revision(revision) && matches!(at.state, ReplicaState::Exited(_))
        };
        see(&platform, |observed| observed.replicas.iter().any(over)).await;
        if revision > 1 {
            platform.apply(&target(), &remove(revision), generation(revision)).await.unwrap();
            let there = |at: &ObservedReplica| at.revision == Revision(revision);
            see(&platform, |observed| !observed.replicas.iter().any(there)).await;
        }
    }

    wait_until("only the first is left", || state.identities().len() == 1).await;
    platform.housekeep().await.unwrap();

    let tails = platform.logs(&target(), None, None, 1).await.unwrap();
    let lines: Vec<&str> = tails.iter().flat_map(|tail| &tail.lines).map(String::as_str).collect();
    // The first still has its replica; the second has neither that nor a place among the last five.
    assert_eq!(lines, ["revision 1", "revision 3", "revision 4", "revision 5", "revision 6", "revision 7"]);
}

#[tokio::test]
async fn stopping_all_ends_every_replica_and_task_of_every_target_and_launches_no_more() {
    let state = State::new();
    let platform = state.platform();
    let other = Target::new("other", "local");
    platform.apply(&target(), &launch(1, 2, sleeper()), generation(1)).await.unwrap();
    platform.apply(&other, &launch(1, 1, sleeper()), generation(1)).await.unwrap();
    let task = shell_task("expand", "exec sleep 1000", state.path(), Millis::seconds(60));
    platform.apply(&target(), &Change::RunTask { task }, generation(1)).await.unwrap();
    wait_until("all run", || state.identities().len() == 5).await;
    let identities = state.identities();

    platform.stop_all(GRACE).await.unwrap();

    assert!(identities.iter().all(|identity| group_is_empty(identity.pid)));
    assert!(platform.adoptable().await.unwrap().is_empty());
    let tasks = platform.observe(&target()).await.unwrap().tasks;
    assert_eq!(tasks[0].ended, Some(Ended::Signal(15)));
    let late = platform.apply(&target(), &launch(2, 1, sleeper()), generation(2)).await;
    assert!(matches!(late, Err(PlatformError::Retry { .. })), "{late:?}");
}

#[tokio::test]
async fn no_zombie_and_no_record_stays_of_a_removed_replica() {
    let state = State::new();
    let platform = state.platform();
    let replica = launched(&platform, 1, sleeper()).await;

    platform.apply(&target(), &remove(1), generation(2)).await.unwrap();

    let group = proc::as_pid(replica.pid.unwrap()).unwrap();
    wait_until("the group is gone, zombies too", || test_kill_process_group(group).is_err()).await;
    wait_until("the record is gone", || state.identities().is_empty()).await;
}

#[tokio::test]
async fn a_memory_limit_ends_the_replica_that_passes_it() {
    let state = State::new();
    let platform = ProcessPlatform::new(state.config()).unwrap();
    if !platform.limits().memory {
        eprintln!("skipped: {}", platform.limits().detail);
        return;
    }
    let mut spec =
        spec(&["python3", "-c", "x = b'x' * (256 << 20); print(len(x)); import time; time.sleep(1000)"]);
    spec.resources = Some(Resources { cpu: Some(1024), memory_bytes: Some(64 << 20) });

    platform.apply(&target(), &launch(1, 1, spec), generation(1)).await.unwrap();

    assert_eq!(ended(&platform).await, Ended::Signal(9));
    platform.apply(&target(), &remove(1), generation(2)).await.unwrap();
    see(&platform, |observed| observed.replicas.is_empty()).await;
}

#[tokio::test]
async fn a_cpu_limit_is_set_and_a_process_that_left_its_group_is_found_all_the_same() {
    let state = State::new();
    let platform = ProcessPlatform::new(state.config()).unwrap();
    if !platform.limits().cpu {
        eprintln!("skipped: {}", platform.limits().detail);
        return;
    }
    let mut spec = sh("cat /proc/self/cgroup; setsid sleep 1000 & echo child $!; exec sleep 1000");
    spec.resources = Some(Resources { cpu: Some(256), memory_bytes: None });
    let replica = launched(&platform, 1, spec).await;
    let child: u32 = said(&platform, "child").await.parse().unwrap();
    let record = support::json(&state.path().join("replicas/web@local/web-1-1/record.json")).unwrap();
    let folders: Vec<&str> =
        record["cgroup"]["folders"].as_array().unwrap().iter().filter_map(|folder| folder.as_str()).collect();
    let quota = folders.iter().find_map(|folder| {
        let read = |file| fs::read_to_string(Path::new(folder).join(file)).ok();
        read("cpu.cfs_quota_us").or_else(|| read("cpu.max"))
    });
    assert!(quota.is_some_and(|quota| quota.starts_with("25000")));
    wait_until(
        "the child has its own group",
        || matches!(proc::stat(child), Ok(Some(stat)) if stat.group == child),
    )
    .await;

    platform.apply(&target(), &remove(1), generation(2)).await.unwrap();
    wait_until("the record is gone", || state.identities().is_empty()).await;

    assert!(group_is_empty(child) && group_is_empty(replica.pid.unwrap()));
    assert!(folders.iter().all(|folder| !Path::new(folder).exists()));
}

#[tokio::test]
async fn many_launches_at_once_get_ports_and_numbers_of_their_own() {
    let state = State::new();
    let (one, other) = (state.platform(), state.platform());
    let (web, api) = (target(), Target::new("api", "local"));
    let changes = [launch(1, 5, sleeper()), launch(2, 5, sleeper())];

    let (first, second) = tokio::join!(
        one.apply(&web, &changes[0], generation(1)),
        other.apply(&api, &changes[1], generation(1)),
    );

    first.unwrap();
    second.unwrap();
    wait_until("all run", || state.identities().len() == 10).await;
    let all = one.adoptable().await.unwrap();
    let ports: BTreeSet<u16> = all.iter().map(|(_, replica)| replica.address.port()).collect();
    assert_eq!(ports.len(), 10);
}

#[tokio::test]
async fn a_shim_whose_launch_was_withdrawn_starts_nothing() {
    let state = State::new();
    let folder = state.path().join("replicas/web@local/web-1-1");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("claim.json"), "\"withdrawn\"").unwrap();
    let proof = state.path().join("started");
    let record = serde_json::json!({
        "replica": "web-1-1", "revision": 1, "address": "127.0.0.1:15000", "launched_at": 0,
        "command": ["/usr/bin/touch", proof],
    });
    fs::write(folder.join("record.json"), record.to_string()).unwrap();

    let status = std::process::Command::new(env!("CARGO_BIN_EXE_replica-shim"))
        .arg("replica")
        .arg(&folder)
        .status()
        .unwrap();

    assert!(status.success());
    assert!(!proof.exists());
}

#[tokio::test]
async fn the_supervisor_reaps_an_orphan_with_its_group_and_spares_its_own_children() {
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes::new(dir.path());
    notes.open().unwrap();
    let mut spared = std::process::Command::new("true").spawn().unwrap();
    let orphan = std::process::Command::new("/bin/sh")
        .args(["-c", "sleep 1000 & exit 5"])
        .process_group(0)
        .spawn()
        .unwrap()
        .id();
    let identity = Identity::of(orphan).unwrap();
    wait_until("both ended", || {
        [orphan, spared.id()].iter().all(|pid| matches!(proc::stat(*pid), Ok(Some(stat)) if stat.zombie))
    })
    .await;

    let reaped = notes.reap_orphans(|pid| pid != orphan).unwrap();

    assert_eq!(reaped, 1);
    assert_eq!(notes.read(&identity), Some(Ended::Code(5)));
    wait_until("its group is empty", || group_is_empty(orphan)).await;
    assert!(spared.wait().unwrap().success());
}

#[tokio::test]
async fn on_a_full_disk_a_launch_says_so_and_an_end_is_seen_all_the_same() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a small disk needs the superuser");
        return;
    };
    let state = State::new();
    let mut config = state.config();
    config.state_dir = disk.path().to_owned();
    let platform = ProcessPlatform::with_groups(config, Groups::unavailable("not for this test")).unwrap();
    let replica = launched(&platform, 1, sleeper()).await;
    disk.fill();

    let outcome = platform.apply(&target(), &launch(1, 2, sleeper()), generation(2)).await;
    kill(&replica, Signal::KILL);

    let Err(PlatformError::Retry { why, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(why.starts_with("the disk is full (") && why.contains("No space left"), "{why}");
    assert_eq!(ended(&platform).await, Ended::Signal(9));
}
