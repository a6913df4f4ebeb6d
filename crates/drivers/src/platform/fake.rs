//! Pretends to be a platform, for tests and the simulation: no process, no clock, no chance. The same calls give
//! the same answers; time is counted in observations of the target. Holds itself to `tests/conformance.rs`.

use super::{Platform, PlatformError};
use rollout::change::{Change, Ended, Observed, ObservedReplica, ObservedTask, ReplicaState, Task, TaskId};
use rollout::names::{Generation, Millis, ReplicaId, Revision, Target};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What replicas of a revision do. The default listens at once, never ends by itself, and goes when asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Script {
    /// For how many observations it is seen starting.
    pub starting: u32,
    /// Ends like this at the observation of this number, counted from 0.
    pub exits: Option<(u32, Ended)>,
    /// For how many observations it is still seen after it was asked to stop.
    pub stopping: u32,
}

/// What a task does. The default has ended well at the first observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskScript {
    /// For how many observations it is seen running. None: for ever.
    pub running: Option<u32>,
    pub ended: Ended,
    pub output: String,
}

impl Default for TaskScript {
    fn default() -> Self {
        Self { running: Some(0), ended: Ended::Code(0), output: String::new() }
    }
}

/// A platform in memory.
#[derive(Debug, Default)]
pub struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    targets: BTreeMap<Target, Stage>,
    scripts: BTreeMap<(Target, Revision), Script>,
    task_scripts: BTreeMap<String, TaskScript>,
    apply_errors: VecDeque<PlatformError>,
    observe_errors: VecDeque<PlatformError>,
    applied: Vec<(Target, Change, Generation)>,
    now: Millis,
    launched: u32,
}

/// What one target has.
#[derive(Debug, Default)]
struct Stage {
    generation: Generation,
    numbers: BTreeMap<Revision, u32>,
    replicas: Vec<FakeReplica>,
    tasks: BTreeMap<TaskId, FakeTask>,
}

#[derive(Debug)]
struct FakeReplica {
    told: ObservedReplica,
    pid: u32,
    script: Script,
    observations: u32,
    /// How many observations it is still seen, once asked to stop.
    leaving: Option<u32>,
}

#[derive(Debug)]
struct FakeTask {
    script: TaskScript,
    observations: u32,
}

impl Fake {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what replicas of the revision do that are launched from now on.
    pub fn script(&self, target: &Target, revision: Revision, script: Script) {
        self.state().scripts.insert((target.clone(), revision), script);
    }

    /// Sets what tasks of this name do that run from now on.
    pub fn script_task(&self, name: &str, script: TaskScript) {
        self.state().task_scripts.insert(name.to_owned(), script);
    }

    /// Lets the next change that is asked for fail like this and change nothing; calls queue up.
    pub fn fail_next_apply(&self, error: PlatformError) {
        self.state().apply_errors.push_back(error);
    }

    /// Lets the next observation fail like this; calls queue up.
    pub fn fail_next_observe(&self, error: PlatformError) {
        self.state().observe_errors.push_back(error);
    }

    /// Ends a replica now. False: there is none of this name that runs.
    pub fn end(&self, target: &Target, replica: &ReplicaId, ended: Ended) -> bool {
        let mut state = self.state();
        let Some(stage) = state.targets.get_mut(target) else { return false };
        let found = stage.replicas.iter_mut().find(|at| at.told.replica == *replica && at.runs());
        found.map(|replica| replica.end(ended)).is_some()
    }

    /// Sets the moment launches are marked with.
    pub fn set_now(&self, now: Millis) {
        self.state().now = now;
    }

    /// Returns every change that was accepted, in order.
    pub fn applied(&self) -> Vec<(Target, Change, Generation)> {
        self.state().applied.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for Fake {
    async fn observe(&self, target: &Target) -> Result<Observed, PlatformError> {
        let mut state = self.state();
        if let Some(error) = state.observe_errors.pop_front() {
            return Err(error);
        }
        Ok(state.targets.get_mut(target).map(Stage::observe).unwrap_or_default())
    }

    async fn fence(&self, target: &Target, at: Generation) -> Result<(), PlatformError> {
        self.state().enter(target, at)
    }

    async fn apply(&self, target: &Target, change: &Change, at: Generation) -> Result<(), PlatformError> {
        let mut state = self.state();
        if let Some(error) = state.apply_errors.pop_front() {
            return Err(error);
        }
        state.enter(target, at)?;
        match change {
            Change::Launch { placed, replicas } => state.launch(target, placed.revision, *replicas),
            Change::Stop { revision, replicas, .. } => {
                state.stop(target, |at| at.revision == *revision && replicas.contains(&at.replica));
            }
            Change::Remove { revision, .. } => state.stop(target, |at| at.revision == *revision),
            Change::RunTask { task } => state.run_task(target, task),
        }
        state.applied.push((target.clone(), change.clone(), at));
        Ok(())
    }
}

impl State {
    fn enter(&mut self, target: &Target, at: Generation) -> Result<(), PlatformError> {
        let stage = self.targets.entry(target.clone()).or_default();
        if at < stage.generation {
            return Err(PlatformError::Stale {
                what: format!("change {target} as of {at}"),
                newest: stage.generation,
            });
        }
        stage.generation = at;
        Ok(())
    }

    fn launch(&mut self, target: &Target, revision: Revision, replicas: u32) {
        let script = self.scripts.get(&(target.clone(), revision)).copied().unwrap_or_default();
        let stage = self.targets.entry(target.clone()).or_default();
        let there = |replica: &&FakeReplica| replica.told.revision == revision && replica.runs();
        let running = stage.replicas.iter().filter(there).filter(|at| at.leaving.is_none()).count();
        for _ in running..replicas as usize {
            let number = stage.numbers.entry(revision).or_insert(0);
            *number += 1;
            self.launched += 1;
            let port = 20_000 + u16::try_from(self.launched % 40_000).unwrap_or_default();
            stage.replicas.push(FakeReplica {
                told: ObservedReplica {
                    replica: ReplicaId::new(format!("{}-{revision}-{number}", target.service)),
                    revision,
                    address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                    pid: None,
                    launched_at: self.now,
                    state: ReplicaState::Starting,
                },
                pid: 1000 + self.launched,
                script,
                observations: 0,
                leaving: None,
            });
        }
    }

    fn stop(&mut self, target: &Target, chosen: impl Fn(&ObservedReplica) -> bool) {
        let Some(stage) = self.targets.get_mut(target) else { return };
        for replica in stage.replicas.iter_mut().filter(|replica| chosen(&replica.told)) {
            replica.leaving.get_or_insert(replica.script.stopping);
        }
        stage.replicas.retain(|replica| !(replica.leaving.is_some() && (!replica.runs() || replica.left())));
    }

    fn run_task(&mut self, target: &Target, task: &Task) {
        let script = self.task_scripts.get(&task.id.name).cloned().unwrap_or_default();
        let stage = self.targets.entry(target.clone()).or_default();
        stage.tasks.entry(task.id.clone()).or_insert(FakeTask { script, observations: 0 });
    }
}

impl Stage {
    /// Tells what there is, and lets a step of time pass.
    fn observe(&mut self) -> Observed {
        self.replicas.iter_mut().for_each(FakeReplica::become_what_it_is);
        self.replicas.retain(|replica| !replica.left() || (replica.leaving.is_none() && !replica.runs()));
        let replicas = self.replicas.iter().map(|replica| replica.told.clone()).collect();
        let tasks = self.tasks.iter_mut().map(|(id, task)| task.observe(id)).collect();
        self.replicas.iter_mut().for_each(FakeReplica::pass);
        Observed { replicas, tasks }
    }
}

impl FakeReplica {
    fn runs(&self) -> bool {
        !matches!(self.told.state, ReplicaState::Exited(_))
    }

    fn left(&self) -> bool {
        self.leaving == Some(0)
    }

    fn end(&mut self, ended: Ended) {
        self.told.state = ReplicaState::Exited(ended);
        self.told.pid = None;
        if self.leaving.is_some() {
            self.leaving = Some(0);
        }
    }

    fn become_what_it_is(&mut self) {
        if !self.runs() {
            return;
        }
        if let Some((at, ended)) = self.script.exits
            && self.observations >= at
        {
            return self.end(ended);
        }
        self.told.pid = Some(self.pid);
        if self.observations >= self.script.starting {
            self.told.state = ReplicaState::Listening;
        }
    }

    fn pass(&mut self) {
        self.observations = self.observations.saturating_add(1);
        self.leaving = self.leaving.map(|left| left.saturating_sub(1));
    }
}

impl FakeTask {
    fn observe(&mut self, id: &TaskId) -> ObservedTask {
        let over = self.script.running.is_some_and(|running| self.observations >= running);
        self.observations = self.observations.saturating_add(1);
        ObservedTask {
            id: id.clone(),
            ended: over.then_some(self.script.ended),
            output: if over { self.script.output.clone() } else { String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::names::Release;
    use rollout::release::{Health, Placed, ReleaseSpec};

    fn target() -> Target {
        Target::new("web", "local")
    }

    fn launch(revision: u64, replicas: u32) -> Change {
        let spec = ReleaseSpec {
            artifact: None,
            command: vec!["serve".to_owned()],
            env: BTreeMap::new(),
            resources: None,
            health: Health::default(),
            expand: Vec::new(),
        };
        let placed = Placed { revision: Revision(revision), release: Release::new("r"), label: None, spec };
        Change::Launch { placed, replicas }
    }

    /// Polls a future that never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => unreachable!("the fake never waits"),
        }
    }

    fn states(fake: &Fake) -> Vec<ReplicaState> {
        now(fake.observe(&target())).unwrap().replicas.into_iter().map(|at| at.state).collect()
    }

    #[test]
    fn a_script_is_played_by_observations() {
        let fake = Fake::new();
        let script = Script { starting: 1, exits: Some((2, Ended::Code(3))), stopping: 0 };
        fake.script(&target(), Revision(1), script);

        now(fake.apply(&target(), &launch(1, 1), Generation::default())).unwrap();

        assert_eq!(states(&fake), [ReplicaState::Starting]);
        assert_eq!(states(&fake), [ReplicaState::Listening]);
        assert_eq!(states(&fake), [ReplicaState::Exited(Ended::Code(3))]);
        assert_eq!(states(&fake), [ReplicaState::Exited(Ended::Code(3))]);
    }

    #[test]
    fn a_replica_that_is_slow_to_go_is_seen_until_it_has_gone() {
        let fake = Fake::new();
        fake.script(&target(), Revision(1), Script { stopping: 1, ..Script::default() });
        now(fake.apply(&target(), &launch(1, 1), Generation::default())).unwrap();

        let remove = Change::Remove { revision: Revision(1), grace: Millis(0) };
        now(fake.apply(&target(), &remove, Generation::default())).unwrap();

        assert_eq!(states(&fake), [ReplicaState::Listening]);
        assert_eq!(states(&fake), []);
    }

    #[test]
    fn an_arranged_refusal_changes_nothing_and_is_not_counted_as_applied() {
        let fake = Fake::new();
        let error = PlatformError::Unreachable { what: "launch".to_owned(), why: "no answer".to_owned() };
        fake.fail_next_apply(error.clone());

        assert_eq!(now(fake.apply(&target(), &launch(1, 1), Generation::default())), Err(error));

        assert_eq!(states(&fake), []);
        assert!(fake.applied().is_empty());
    }

    #[test]
    fn a_task_runs_as_long_as_its_script_says() {
        let fake = Fake::new();
        let script = TaskScript { running: Some(1), ended: Ended::Code(9), output: "no table".to_owned() };
        fake.script_task("expand", script);
        let id = TaskId { deployment: "d-1".into(), name: "expand".to_owned() };
        let task = Task {
            id,
            command: Vec::new(),
            place: rollout::change::TaskPlace::Folder("/".to_owned()),
            env: BTreeMap::new(),
            deadline: Millis(1),
        };
        now(fake.apply(&target(), &Change::RunTask { task }, Generation::default())).unwrap();

        let seen = || now(fake.observe(&target())).unwrap().tasks.remove(0);

        assert_eq!(seen().ended, None);
        assert_eq!((seen().ended, seen().output.as_str()), (Some(Ended::Code(9)), "no table"));
    }
}
