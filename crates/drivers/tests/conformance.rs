//! One suite every platform passes. A platform joins by a `Bench` and one line at the end.

#![allow(clippy::unwrap_used)]

mod support;

use drivers::platform::fake::{Fake, TaskScript};
use drivers::platform::process::ProcessPlatform;
use drivers::platform::{Platform, PlatformError};
use rollout::change::{Change, Ended, ObservedReplica, ReplicaState, Task};
use rollout::names::{Generation, Millis, ReplicaId, Revision};
use rollout::release::ReleaseSpec;
use rustix::process::{Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::{GRACE, State, generation, launch, listening, remove, see, server, shell_task, target, up};

/// What the suite needs of a platform beyond the platform itself.
trait Bench {
    type Under: Platform;

    fn new() -> Self;
    fn platform(&self) -> &Self::Under;
    /// A release whose replicas listen.
    fn serving(&self) -> ReleaseSpec;
    /// A task that writes `said` and ends with `code`.
    fn task(&self, name: &str, code: i32) -> Task;
    /// How often the command of the task was run.
    fn runs_of(&self, task: &Task) -> usize;
    /// Ends a replica behind the platform's back.
    fn kill(&self, replica: &ObservedReplica);
    /// Returns what is left outside the platform's own tale.
    fn remains(&self, of: &[ObservedReplica]) -> usize;
}

async fn launching_twice_is_launching_once<B: Bench>() {
    let bench = B::new();
    let first = up(bench.platform(), 1, 2, bench.serving()).await;

    bench.platform().apply(&target(), &launch(1, 2, bench.serving()), generation(1)).await.unwrap();

    let second = bench.platform().observe(&target()).await.unwrap().replicas;
    assert_eq!(pids(&second), pids(&first));
    assert_eq!(first.len(), 2);
}

async fn launching_fewer_stops_none_and_launching_more_adds<B: Bench>() {
    let bench = B::new();
    let first = up(bench.platform(), 1, 2, bench.serving()).await;

    bench.platform().apply(&target(), &launch(1, 1, bench.serving()), generation(2)).await.unwrap();
    bench.platform().apply(&target(), &launch(1, 3, bench.serving()), generation(3)).await.unwrap();

    let third = see(bench.platform(), |observed| listening(observed) == 3).await.replicas;
    assert!(pids(&third).is_superset(&pids(&first)));
    assert_eq!(names(&third), names_of(&["web-1-1", "web-1-2", "web-1-3"]));
}

async fn each_replica_has_an_address_of_its_own<B: Bench>() {
    let bench = B::new();
    up(bench.platform(), 1, 2, bench.serving()).await;

    bench.platform().apply(&target(), &launch(2, 2, bench.serving()), generation(2)).await.unwrap();

    let replicas = see(bench.platform(), |observed| listening(observed) == 4).await.replicas;
    let addresses: BTreeSet<_> = replicas.iter().map(|replica| replica.address).collect();
    assert_eq!(addresses.len(), 4);
}

async fn stopping_twice_is_stopping_once<B: Bench>() {
    let bench = B::new();
    let replicas = up(bench.platform(), 1, 2, bench.serving()).await;
    let stop =
        Change::Stop { revision: Revision(1), replicas: vec![replicas[0].replica.clone()], grace: GRACE };

    bench.platform().apply(&target(), &stop, generation(2)).await.unwrap();
    bench.platform().apply(&target(), &stop, generation(2)).await.unwrap();
    let left = see(bench.platform(), |observed| observed.replicas.len() == 1).await;
    bench.platform().apply(&target(), &stop, generation(3)).await.unwrap();

    assert_eq!(left.replicas[0].replica, replicas[1].replica);
    assert_eq!(bench.platform().observe(&target()).await.unwrap(), left);
}

async fn stopping_what_is_not_there_does_nothing<B: Bench>() {
    let bench = B::new();
    let stop =
        Change::Stop { revision: Revision(7), replicas: vec![ReplicaId::new("web-7-1")], grace: GRACE };

    bench.platform().apply(&target(), &stop, generation(1)).await.unwrap();
    bench.platform().apply(&target(), &remove(7), generation(1)).await.unwrap();

    assert!(bench.platform().observe(&target()).await.unwrap().replicas.is_empty());
}

async fn a_number_is_never_given_twice<B: Bench>() {
    let bench = B::new();
    up(bench.platform(), 1, 1, bench.serving()).await;
    bench.platform().apply(&target(), &remove(1), generation(2)).await.unwrap();
    see(bench.platform(), |observed| observed.replicas.is_empty()).await;

    bench.platform().apply(&target(), &launch(1, 1, bench.serving()), generation(3)).await.unwrap();

    let replicas = see(bench.platform(), |observed| listening(observed) == 1).await.replicas;
    assert_eq!(replicas[0].replica, ReplicaId::new("web-1-2"));
}

async fn removing_a_revision_leaves_nothing_of_it_and_all_of_the_other<B: Bench>() {
    let bench = B::new();
    let first = up(bench.platform(), 1, 2, bench.serving()).await;
    bench.platform().apply(&target(), &launch(2, 1, bench.serving()), generation(2)).await.unwrap();
    see(bench.platform(), |observed| listening(observed) == 3).await;

    bench.platform().apply(&target(), &remove(1), generation(3)).await.unwrap();

    let left = see(bench.platform(), |observed| observed.replicas.len() == 1).await;
    assert_eq!(left.replicas[0].revision, Revision(2));
    assert_eq!(left.replicas[0].state, ReplicaState::Listening);
    support::wait_until("nothing remains", || bench.remains(&first) == 0).await;
}

async fn a_task_runs_once_however_often_it_is_asked_for<B: Bench>() {
    let bench = B::new();
    let task = bench.task("expand", 0);
    let run = Change::RunTask { task: task.clone() };

    bench.platform().apply(&target(), &run, generation(1)).await.unwrap();
    bench.platform().apply(&target(), &run, generation(1)).await.unwrap();
    see(bench.platform(), |observed| observed.tasks.iter().any(|task| task.ended.is_some())).await;
    bench.platform().apply(&target(), &run, generation(2)).await.unwrap();

    let tasks = bench.platform().observe(&target()).await.unwrap().tasks;
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].id, task.id);
    assert_eq!(bench.runs_of(&task), 1);
}

async fn a_task_tells_how_it_ended_and_what_it_wrote<B: Bench>() {
    let bench = B::new();
    for (name, code) in [("good", 0), ("bad", 3)] {
        let run = Change::RunTask { task: bench.task(name, code) };
        bench.platform().apply(&target(), &run, generation(1)).await.unwrap();
    }

    let tasks =
        see(bench.platform(), |observed| observed.tasks.iter().all(|task| task.ended.is_some())).await.tasks;

    let told: BTreeSet<_> =
        tasks.iter().map(|task| (task.id.name.as_str(), format!("{:?}", task.ended))).collect();
    let code = |code| format!("{:?}", Some(Ended::Code(code)));
    assert_eq!(told, BTreeSet::from([("good", code(0)), ("bad", code(3))]));
    assert!(tasks.iter().all(|task| task.output.trim() == "said"), "{tasks:?}");
}

async fn an_older_generation_is_refused_and_changes_nothing<B: Bench>() {
    let bench = B::new();
    let before = up(bench.platform(), 1, 1, bench.serving()).await;
    let newer = Generation { epoch: 2, seq: 1 };
    bench.platform().apply(&target(), &launch(1, 1, bench.serving()), newer).await.unwrap();

    for older in [generation(1), generation(99), Generation { epoch: 2, seq: 0 }] {
        let outcome = bench.platform().apply(&target(), &remove(1), older).await;
        assert!(matches!(outcome, Err(PlatformError::Stale { .. })), "{older}: {outcome:?}");
    }

    let after = bench.platform().observe(&target()).await.unwrap().replicas;
    assert_eq!(pids(&after), pids(&before));
}

async fn generations_of_one_target_do_not_bind_another<B: Bench>() {
    let bench = B::new();
    bench.platform().apply(&target(), &remove(1), Generation { epoch: 9, seq: 9 }).await.unwrap();

    let other = rollout::names::Target::new("other", "local");

    bench.platform().apply(&other, &remove(1), generation(1)).await.unwrap();
}

async fn observing_changes_nothing<B: Bench>() {
    let bench = B::new();
    assert_eq!(bench.platform().observe(&target()).await.unwrap().replicas, []);
    up(bench.platform(), 1, 2, bench.serving()).await;

    let first = bench.platform().observe(&target()).await.unwrap();
    let second = bench.platform().observe(&target()).await.unwrap();

    assert_eq!(first, second);
}

async fn a_replica_that_ends_is_seen_ended_until_it_is_stopped<B: Bench>() {
    let bench = B::new();
    let replicas = up(bench.platform(), 1, 2, bench.serving()).await;

    bench.kill(&replicas[0]);

    let exited = |replica: &ObservedReplica| replica.state == ReplicaState::Exited(Ended::Signal(9));
    let seen = see(bench.platform(), |observed| observed.replicas.iter().any(exited)).await;
    assert_eq!(seen.replicas.iter().find(|at| exited(at)).unwrap().replica, replicas[0].replica);
    assert_eq!(listening(&seen), 1);
    let stop =
        Change::Stop { revision: Revision(1), replicas: vec![replicas[0].replica.clone()], grace: GRACE };
    bench.platform().apply(&target(), &stop, generation(2)).await.unwrap();
    let left = see(bench.platform(), |observed| observed.replicas.len() == 1).await;
    assert_eq!(left.replicas[0].replica, replicas[1].replica);
}

async fn an_ended_replica_is_replaced_by_the_next_launch<B: Bench>() {
    let bench = B::new();
    let replicas = up(bench.platform(), 1, 1, bench.serving()).await;
    bench.kill(&replicas[0]);
    see(bench.platform(), |observed| listening(observed) == 0).await;
    let ended = |replica: &ObservedReplica| matches!(replica.state, ReplicaState::Exited(_));
    see(bench.platform(), |observed| observed.replicas.iter().any(ended)).await;

    bench.platform().apply(&target(), &launch(1, 1, bench.serving()), generation(2)).await.unwrap();

    let seen = see(bench.platform(), |observed| listening(observed) == 1).await;
    assert_eq!(names(&seen.replicas), names_of(&["web-1-1", "web-1-2"]));
}

fn pids(replicas: &[ObservedReplica]) -> BTreeSet<Option<u32>> {
    replicas.iter().map(|replica| replica.pid).collect()
}

fn names(replicas: &[ObservedReplica]) -> BTreeSet<ReplicaId> {
    replicas.iter().map(|replica| replica.replica.clone()).collect()
}

fn names_of(names: &[&str]) -> BTreeSet<ReplicaId> {
    names.iter().map(|name| ReplicaId::new(*name)).collect()
}

struct Processes {
    platform: ProcessPlatform,
    state: State,
}

impl Bench for Processes {
    type Under = ProcessPlatform;

    fn new() -> Self {
        let state = State::new();
        // With the control groups of this machine, if it has any.
        Self { platform: ProcessPlatform::new(state.config()).unwrap(), state }
    }

    fn platform(&self) -> &ProcessPlatform {
        &self.platform
    }

    fn serving(&self) -> ReleaseSpec {
        server()
    }

    fn task(&self, name: &str, code: i32) -> Task {
        let script = format!("echo run >> runs-{name}; echo said; exit {code}");
        shell_task(name, &script, self.state.path(), Millis::seconds(60))
    }

    fn runs_of(&self, task: &Task) -> usize {
        let text = fs::read_to_string(self.state.path().join(format!("runs-{}", task.id.name))).unwrap();
        text.lines().count()
    }

    fn kill(&self, replica: &ObservedReplica) {
        let pid = drivers::platform::process::proc::as_pid(replica.pid.unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    fn remains(&self, of: &[ObservedReplica]) -> usize {
        let running = of.iter().filter(|replica| !support::group_is_empty(replica.pid.unwrap())).count();
        let folders = of.iter().filter(|replica| self.folder(replica).exists()).count();
        running + folders
    }
}

impl Processes {
    fn folder(&self, replica: &ObservedReplica) -> std::path::PathBuf {
        self.state.path().join("replicas").join(target().to_string()).join(replica.replica.as_str())
    }
}

struct InMemory {
    platform: Fake,
}

impl Bench for InMemory {
    type Under = Fake;

    fn new() -> Self {
        Self { platform: Fake::new() }
    }

    fn platform(&self) -> &Fake {
        &self.platform
    }

    fn serving(&self) -> ReleaseSpec {
        server()
    }

    fn task(&self, name: &str, code: i32) -> Task {
        let script = TaskScript { running: Some(1), ended: Ended::Code(code), output: "said".to_owned() };
        self.platform.script_task(name, script);
        shell_task(name, "", Path::new("/"), Millis(1))
    }

    fn runs_of(&self, _: &Task) -> usize {
        1
    }

    fn kill(&self, replica: &ObservedReplica) {
        assert!(self.platform.end(&target(), &replica.replica, Ended::Signal(9)));
    }

    fn remains(&self, _: &[ObservedReplica]) -> usize {
        0
    }
}

/// Runs every test of the suite on one platform.
macro_rules! conforms {
    ($platform:ident, $bench:ty: $($test:ident)*) => {
        mod $platform {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<$bench>().await;
                }
            )*
        }
    };
    ($platform:ident, $bench:ty) => {
        conforms!($platform, $bench:
            launching_twice_is_launching_once
            launching_fewer_stops_none_and_launching_more_adds
            each_replica_has_an_address_of_its_own
            stopping_twice_is_stopping_once
            stopping_what_is_not_there_does_nothing
            a_number_is_never_given_twice
            removing_a_revision_leaves_nothing_of_it_and_all_of_the_other
            a_task_runs_once_however_often_it_is_asked_for
            a_task_tells_how_it_ended_and_what_it_wrote
            an_older_generation_is_refused_and_changes_nothing
            generations_of_one_target_do_not_bind_another
            observing_changes_nothing
            a_replica_that_ends_is_seen_ended_until_it_is_stopped
            an_ended_replica_is_replaced_by_the_next_launch
        );
    };
}

conforms!(fake, crate::InMemory);
conforms!(process, crate::Processes);
