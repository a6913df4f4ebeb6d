//! Pretends to be a platform: replicas with fates of their own, tasks, and a fence. Makes a change exactly as it is told.
//! Whether a change arrives, twice or late, is the world's business.

use drivers::platform::PlatformError;
use rollout::change::{Change, Ended, Observed, ObservedReplica, ObservedTask, ReplicaState, TaskId};
use rollout::names::{Generation, Millis, ReplicaId, Revision};
use std::collections::BTreeMap;

/// What becomes of the replicas of a release, from their launch on.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// None: never.
    pub ready_after: Option<u32>,
    pub exits_after: Option<u32>,
    /// Its liveness probe fails from then on, and so does every request.
    pub hangs_after: Option<u32>,
    /// It is ready for so long, then not for so long.
    pub flaps_every: Option<u32>,
    /// Share of its requests that fail while it says that it is well.
    pub fails: f64,
    pub not_found: f64,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            ready_after: Some(300),
            exits_after: None,
            hangs_after: None,
            flaps_every: None,
            fails: 0.0,
            not_found: 0.0,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Replica {
    pub id: ReplicaId,
    pub revision: Revision,
    pub release: u8,
    pub port: u16,
    pub launched_at: Millis,
    pub fate: Fate,
    pub exited: Option<Ended>,
    /// When the healing of the world made it well; probes need a while to say so.
    pub mended_at: Option<Millis>,
}

impl Replica {
    fn age(&self, now: Millis) -> u64 {
        now.since(self.launched_at).0
    }

    pub fn listens(&self, now: Millis) -> bool {
        self.exited.is_none() && self.fate.ready_after.is_some_and(|after| self.age(now) >= u64::from(after))
    }

    /// Tells whether it answers its readiness probe.
    pub fn is_ready(&self, now: Millis) -> bool {
        let flapped =
            self.fate.flaps_every.is_some_and(|every| (self.age(now) / u64::from(every.max(500))) % 2 == 1);
        self.listens(now) && !flapped && self.is_live(now)
    }

    pub fn is_live(&self, now: Millis) -> bool {
        self.exited.is_none() && self.fate.hangs_after.is_none_or(|after| self.age(now) < u64::from(after))
    }
}

/// How a task will end, and after how long.
#[derive(Debug, Clone, Copy)]
pub struct TaskFate {
    pub after: Millis,
    pub ended: Ended,
}

#[derive(Debug, Default)]
pub struct Machines {
    pub replicas: Vec<Replica>,
    pub tasks: BTreeMap<TaskId, (Millis, TaskFate)>,
    pub fence: Generation,
    launched: u16,
}

impl Machines {
    /// Refuses everything older from now on.
    pub fn fenced(&self, at: Generation) -> Result<(), PlatformError> {
        if at >= self.fence {
            return Ok(());
        }
        Err(PlatformError::Stale { what: "change".to_owned(), newest: self.fence })
    }

    pub fn launch(&mut self, revision: Revision, release: u8, until: u32, fate: Fate, now: Millis) -> usize {
        let running = self.running(revision).count() as u32;
        let missing = until.saturating_sub(running);
        for _ in 0..missing {
            self.launched += 1;
            self.replicas.push(Replica {
                id: ReplicaId::new(format!("web-{}-{}", revision.0, self.launched)),
                revision,
                release,
                port: 10_000u16.wrapping_add(self.launched),
                launched_at: now,
                fate,
                exited: None,
                mended_at: None,
            });
        }
        missing as usize
    }

    /// Makes a change that is no launch.
    pub fn change(&mut self, change: &Change, fate: impl Fn(&str) -> TaskFate, now: Millis) {
        match change {
            Change::Launch { .. } => {}
            Change::Stop { replicas, .. } => self.replicas.retain(|replica| !replicas.contains(&replica.id)),
            Change::Remove { revision, .. } => {
                self.replicas.retain(|replica| replica.revision != *revision);
            }
            Change::RunTask { task } => {
                self.tasks.entry(task.id.clone()).or_insert_with(|| (now, fate(&task.id.name)));
            }
        }
    }

    pub fn running(&self, revision: Revision) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.revision == revision && replica.exited.is_none())
    }

    pub fn find(&self, id: &ReplicaId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.id == *id)
    }

    /// Lets replicas end whose time has come.
    pub fn live(&mut self, now: Millis) -> bool {
        let mut any = false;
        for replica in self.replicas.iter_mut().filter(|replica| replica.exited.is_none()) {
            let age = now.since(replica.launched_at).0;
            if replica.fate.exits_after.is_some_and(|after| age >= u64::from(after)) {
                replica.exited = Some(Ended::Code(1));
                any = true;
            }
        }
        any
    }

    pub fn observe(&self, now: Millis) -> Observed {
        let seen = |replica: &Replica| ObservedReplica {
            replica: replica.id.clone(),
            revision: replica.revision,
            address: ([127, 0, 0, 1], replica.port).into(),
            pid: None,
            launched_at: replica.launched_at,
            state: match replica.exited {
                Some(ended) => ReplicaState::Exited(ended),
                None if replica.listens(now) => ReplicaState::Listening,
                None => ReplicaState::Starting,
            },
        };
        let task = |(id, (begun, fate)): (&TaskId, &(Millis, TaskFate))| ObservedTask {
            id: id.clone(),
            ended: (now.since(*begun) >= fate.after).then_some(fate.ended),
            output: String::new(),
        };
        Observed {
            replicas: self.replicas.iter().map(seen).collect(),
            tasks: self.tasks.iter().map(task).collect(),
        }
    }
}
