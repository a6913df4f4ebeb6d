//! Takes the engine's orders one at a time, closes each second of the counts, and knows the state of the whole edge.
//! Refuses what `tables` refuses; lets no request wait for it.

use crate::count::{self, Counted, Shard};
use crate::ring::Ring;
use crate::store::{Record, Store};
use crate::tables::{Refusal, Tables};
use crate::tls::Tls;
use crate::worker::Command;
use crate::{clock, limits};
use futures_util::future::join_all;
use manifest::edge::{Accepted, EdgeState, EdgeTable, Proof, Withdrawal};
use meter::wire::SecondRecord;
use rollout::names::Target;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

/// What the engine may change.
pub(crate) enum Change {
    Put(Box<EdgeTable>),
    Withdraw(Withdrawal),
}

/// A change and whom to tell.
pub(crate) struct Order {
    pub(crate) change: Change,
    pub(crate) reply: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// TLS, and the addresses that have it.
pub(crate) struct Secured {
    pub(crate) tls: Arc<Tls>,
    pub(crate) listen: Vec<String>,
}

/// The part of the edge that carries no requests.
pub(crate) struct Control {
    tables: RefCell<Tables>,
    store: Store,
    workers: Vec<mpsc::Sender<Command>>,
    shards: Vec<Arc<Shard>>,
    ring: RefCell<Ring>,
    /// Wakes long-polls when a second has closed.
    closed: Notify,
    listen: Vec<String>,
    tls: Option<Secured>,
    prover: Cell<usize>,
}

impl Control {
    pub(crate) fn new(
        tables: Tables,
        store: Store,
        workers: Vec<mpsc::Sender<Command>>,
        shards: Vec<Arc<Shard>>,
        epoch: u64,
        listen: Vec<String>,
        tls: Option<Secured>,
    ) -> Rc<Self> {
        let ring = RefCell::new(Ring::new(epoch, clock::now().0 / 1000));
        let tables = RefCell::new(tables);
        let (closed, prover) = (Notify::new(), Cell::new(0));
        Rc::new(Self { tables, store, workers, shards, ring, closed, listen, tls, prover })
    }

    /// Carries out orders in the order they came: generations are compared and installed by one hand.
    pub(crate) async fn obey(self: Rc<Self>, mut orders: mpsc::Receiver<Order>) {
        while let Some(Order { change, reply }) = orders.recv().await {
            // A caller that hung up asks again; the change stands.
            let _ = reply.send(self.change(change).await);
        }
    }

    async fn change(&self, change: Change) -> Result<Accepted, Refusal> {
        let record = self.accept(change)?;
        let Record { target, generation, .. } = record.clone();
        let store = self.store.clone();
        // Workers serve from the new table while it is written: a return of traffic must not wait for a disk, or fail with it.
        let saving = tokio::task::spawn_blocking(move || store.save(&record));
        let installed = self.install().await;
        let saved = saving.await;
        let refuse = |reason: String| self.tables.borrow().refusal(503, reason, &target);
        if !installed {
            let reason =
                format!("install generation {generation} of {target} on every worker in time; send it again");
            return Err(refuse(reason));
        }
        match saved {
            Ok(Ok(())) => Ok(Accepted { target, generation }),
            Ok(Err(error)) => Err(refuse(format!(
                "keep generation {generation} of {target} on disk: {error}; it serves, but a restart would forget it: free some space, then send it again"
            ))),
            Err(error) => Err(refuse(format!("keep generation {generation} of {target} on disk: {error}"))),
        }
    }

    fn accept(&self, change: Change) -> Result<Record, Refusal> {
        let mut tables = self.tables.borrow_mut();
        match change {
            Change::Put(table) => {
                tables.check(&table)?;
                tables.put((*table).clone());
                let (target, generation) = (table.routes.target.clone(), table.generation);
                Ok(Record { target, generation, table: Some(*table) })
            }
            Change::Withdraw(withdrawal) => {
                tables.check_withdrawal(&withdrawal)?;
                tables.withdraw(&withdrawal);
                let Withdrawal { target, generation } = withdrawal;
                Ok(Record { target, generation, table: None })
            }
        }
    }

    /// Gives all workers the present routes; true when every one serves from them.
    async fn install(&self) -> bool {
        let routes = Arc::new(self.tables.borrow().routes());
        let give = |worker: &mpsc::Sender<Command>| {
            let (worker, routes) = (worker.clone(), Arc::clone(&routes));
            async move {
                let (done, installed) = oneshot::channel();
                worker.send(Command::Install(routes, done)).await.is_ok() && installed.await.is_ok()
            }
        };
        let all = join_all(self.workers.iter().map(give));
        let answers = tokio::time::timeout(limits::WORKER_ACKNOWLEDGE, all).await;
        answers.is_ok_and(|answers| answers.into_iter().all(|installed| installed))
    }

    pub(crate) fn state(&self) -> EdgeState {
        let tables = self.tables.borrow();
        EdgeState {
            epoch: self.ring.borrow().epoch(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: self.listen.clone(),
            tls: self.tls.as_ref().map(|secured| secured.tls.state(secured.listen.clone())),
            tables: tables.targets().map(|target| target.table.clone()).collect(),
            in_flight: tables.registry.in_flight(),
            guard: tables.targets().flat_map(|target| target.guard_state()).collect(),
        }
    }

    /// Lets a worker, each in turn, prove who serves.
    pub(crate) async fn prove(&self, target: Target) -> Result<Proof, Refusal> {
        let turn = self.prover.replace(self.prover.get().wrapping_add(1));
        let worker = self.workers[turn % self.workers.len()].clone();
        let (reply, proof) = oneshot::channel();
        let asking = async {
            worker.send(Command::Prove(target.clone(), reply)).await.ok()?;
            proof.await.ok()
        };
        let limit = limits::PROVE + limits::WORKER_ACKNOWLEDGE;
        let proof = match tokio::time::timeout(limit, asking).await {
            Ok(Some(proof)) => proof,
            Ok(None) | Err(_) => Err("the edge is stopping or stuck".to_owned()),
        };
        proof.map_err(|why| {
            self.tables.borrow().refusal(503, format!("prove who serves {target}: {why}"), &target)
        })
    }

    /// Returns the closed seconds after `seq`, waiting for the first.
    pub(crate) async fn samples(
        &self,
        epoch: Option<u64>,
        seq: Option<u64>,
        wait: Duration,
    ) -> Vec<Arc<SecondRecord>> {
        let deadline = Instant::now() + wait.min(limits::SAMPLES_WAIT);
        loop {
            let closed = self.closed.notified();
            let records = self.ring.borrow().after(epoch, seq);
            if !records.is_empty() || tokio::time::timeout_at(deadline, closed).await.is_err() {
                return records;
            }
        }
    }

    /// Reads databases of countries again when their files change, on a thread that may wait for the disk.
    pub(crate) async fn refresh_databases(self: Rc<Self>) {
        loop {
            tokio::time::sleep(limits::DATABASE_LOOK).await;
            for database in self.tables.borrow().registry.databases.all() {
                // It ends by itself, and the next look comes in any case.
                drop(tokio::task::spawn_blocking(move || database.refresh()));
            }
        }
    }

    /// Closes each second when it ends, whether or not anything came.
    pub(crate) async fn close_seconds(self: Rc<Self>) {
        // The wall clock is read once: a step of it must neither repeat nor skip a second.
        let (started, wall) = (Instant::now(), clock::now().0);
        loop {
            let now = wall + u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX - wall);
            tokio::time::sleep(Duration::from_millis(1000 - now % 1000)).await;
            let now = wall + u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX - wall);
            self.close_second(now / 1000);
        }
    }

    fn close_second(&self, second: u64) {
        let tables = self.tables.borrow();
        let counted = count::close(self.shards.iter().cloned(), tables.targets());
        let zeros = || -> Counted { count::close(std::iter::empty(), tables.targets()) };
        self.ring.borrow_mut().close(second, counted, zeros);
        self.closed.notify_waiters();
    }
}
