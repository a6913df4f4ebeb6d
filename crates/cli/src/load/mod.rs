//! Puts load on a service the way users do: keep-alive clients that never send a failed request again.
//! Refuses to hide anything: each request ends once, as good or in one class of failure, and each lost
//! connection is counted. Runs on threads of its own; see `client` for one client's life.

mod client;
mod count;
mod plan;
mod report;
#[cfg(test)]
mod tests;

pub use count::{BadResponse, Connections, Failure, Label, Latency, Method, Snapshot, Tally, epoch_us};
pub use plan::{BodyMaker, LoadError, LoadPlan};
pub use report::LoadReport;

use client::{Client, Pacer};
use count::{Clock, Shard};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// How long `stop` waits beyond the plan's deadline for the threads to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What the clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    /// Finish the request in flight, then end.
    Stop,
    /// End now; nobody reads the counts any more.
    Abort,
}

/// Running load. Dropping it ends the clients at once; `stop` lets them finish their requests.
#[derive(Debug)]
pub struct LoadHandle {
    order: watch::Sender<Order>,
    shards: Vec<Arc<Shard>>,
    clock: Clock,
    ended: Vec<oneshot::Receiver<()>>,
    deadline: Duration,
}

/// Starts all clients of the plan. Returns as soon as their threads run; nothing has been sent yet.
pub fn run(plan: LoadPlan) -> Result<LoadHandle, LoadError> {
    plan.check()?;
    let clock = Clock::start();
    let (order, orders) = watch::channel(Order::Run);
    let pacer = plan.rate_per_second.map(|rate| Arc::new(Pacer::new(rate)));
    let deadline = plan.deadline;
    let plan = Arc::new(plan);
    let mut handle = LoadHandle { order, shards: Vec::new(), clock, ended: Vec::new(), deadline };
    for thread in 0..plan.threads {
        let shard = Arc::new(Shard::new(plan.threads));
        let clients: Vec<Client> = (0..plan.get_clients + plan.post_clients)
            .filter(|number| number % plan.threads == thread)
            .map(|number| Client::new(number, &plan, &shard, &pacer, clock))
            .collect();
        handle.ended.push(start_thread(thread, clients, orders.clone())?);
        handle.shards.push(shard);
    }
    Ok(handle)
}

/// Runs some of the clients on a thread and a runtime of their own, so that the caller's is not disturbed.
fn start_thread(
    number: usize,
    clients: Vec<Client>,
    orders: watch::Receiver<Order>,
) -> Result<oneshot::Receiver<()>, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LoadError::Thread { source })?;
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("load-{number}"))
        .spawn(move || {
            runtime.block_on(all(clients, orders));
            // Connections left by clients end with the runtime; the receiver may be gone after an abort.
            drop(runtime);
            tell.send(()).unwrap_or(());
        })
        .map_err(|source| LoadError::Thread { source })?;
    Ok(told)
}

/// Lives until every client has ended or the load is aborted.
async fn all(clients: Vec<Client>, orders: watch::Receiver<Order>) {
    let mut lives = JoinSet::new();
    for client in clients {
        lives.spawn(client.live(orders.clone()));
    }
    let mut aborted = orders;
    tokio::select! {
        () = async {
            while let Some(ended) = lives.join_next().await {
                ended.expect("BUG: a load client panicked");
            }
        } => {}
        // An error means that the handle is gone, which is an abort too.
        _ = aborted.wait_for(|order| *order == Order::Abort) => {}
    }
}

impl LoadHandle {
    /// Returns what has been counted so far. Cheap: made for a display that asks ten times a second.
    pub fn snapshot(&self) -> Snapshot {
        let mut merged = Snapshot { elapsed_ms: self.clock.elapsed_ms(), ..Snapshot::default() };
        for shard in &self.shards {
            shard.add_to(&mut merged);
        }
        merged.summarise();
        merged
    }

    /// Returns the bad responses still remembered, in the order their requests ended.
    pub fn bad(&self) -> Vec<BadResponse> {
        let mut bad: Vec<BadResponse> = self.shards.iter().flat_map(|shard| shard.bad()).collect();
        bad.sort_by_key(|response| response.end_us);
        bad
    }

    /// Returns the bad response that ended last among requests sent after a moment.
    pub fn last_bad_after(&self, moment: SystemTime) -> Option<BadResponse> {
        report::last_bad_after(&self.bad(), moment)
    }

    /// Lets every client finish the request it is in, and returns the final counts. Ends within the plan's
    /// deadline for one request and a second.
    pub async fn stop(mut self) -> LoadReport {
        self.order.send_replace(Order::Stop);
        let patience = tokio::time::Instant::now() + self.deadline + STOP_GRACE;
        for ended in std::mem::take(&mut self.ended) {
            // A thread that is late is aborted by the drop; its open requests show as `in_flight`.
            if tokio::time::timeout_at(patience, ended).await.is_err() {
                break;
            }
        }
        LoadReport::new(self.snapshot(), self.bad())
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        self.order.send_replace(Order::Abort);
    }
}
