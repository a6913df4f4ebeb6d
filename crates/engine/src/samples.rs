//! Fetches what the edge counted and turns it into the judge's records. Missing seconds stay missing.

use crate::edge_link::EdgeLink;
use meter::wire::{CountRow, MirrorDifference, MirrorRow, SecondRecord};
use rollout::judge::{
    ClientErrorCounts, ClientErrors, FAILURES_MAX, FailingRequest, Judge, Once, Record, RouteCounts, Slow,
    SlowFrom,
};
use rollout::machine::State;
use rollout::mirror::{Difference, MirrorCounts};
use rollout::names::{ReplicaId, Revision};
use std::time::{Duration, Instant};

/// One long poll; the edge closes a second every second.
const WAIT: Duration = Duration::from_secs(2);
/// Between attempts when the edge does not answer.
const AGAIN: Duration = Duration::from_millis(200);
/// Silence after which a second counts as missing.
const SILENCE: Duration = Duration::from_millis(2500);

/// Missing seconds told one by one; more say nothing more.
const GAP_MAX: u64 = 120;

/// Fetches records for ever. `each` gets every record once, in order, and None for every second without one.
pub async fn follow(edge: EdgeLink, each: impl Fn(Option<SecondRecord>)) {
    let mut known: Option<(u64, u64)> = None;
    let mut heard = Instant::now();
    loop {
        match edge.samples(known, WAIT).await {
            Ok(records) => {
                for record in records {
                    (0..gap(known, &record)).for_each(|_| each(None));
                    known = Some((record.epoch, record.seq));
                    heard = Instant::now();
                    each(Some(record));
                }
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
        while heard.elapsed() >= SILENCE {
            heard += Duration::from_secs(1);
            each(None);
        }
    }
}

/// Returns how many seconds lie between two records of one life of the edge; another life is not comparable.
fn gap(known: Option<(u64, u64)>, next: &SecondRecord) -> u64 {
    match known {
        Some((epoch, seq)) if epoch == next.epoch => next.seq.saturating_sub(seq + 1).min(GAP_MAX),
        _ => 0,
    }
}

/// Returns the record of one second for the judge: the candidate against stable, or the successor of a hot
/// revision alone. Requests of the allow list are left out: they chose their arm.
pub fn record(state: &State, second: u64, counts: Option<&SecondRecord>) -> Record {
    let Some(counts) = counts else { return Record::missing(second) };
    let stable = state.stable.as_ref().map(|placed| placed.revision);
    let (candidate, stable) = match &state.deployment {
        Some(running) => (Some(running.candidate.revision), stable),
        None => (stable, None),
    };
    let sides = Sides { rows: &counts.rows, candidate, stable };
    let sum = sides.sum(|_| true);
    let judge = state.judge();
    Record {
        second,
        missing: false,
        unwell: false,
        candidate_requests: sum.candidate_requests,
        candidate_errors: sum.candidate_errors,
        stable_requests: sum.stable_requests,
        stable_errors: sum.stable_errors,
        slow: judge.and_then(Judge::slow_from).map(|slow_from| sides.slow(slow_from)),
        once: sides.once(),
        client_errors: sides.client_errors(),
        routes: judge.map_or(Vec::new(), |judge| {
            judge.routes().map(|route| sides.sum(|row| row.route == route)).collect()
        }),
        probes: None,
        mirror: mirror(&counts.mirror, candidate),
        failures: failures(&counts.failures, candidate),
    }
}

/// The rows of one target and the two revisions that are compared.
struct Sides<'r> {
    rows: &'r [CountRow],
    candidate: Option<Revision>,
    stable: Option<Revision>,
}

impl<'r> Sides<'r> {
    fn of(&self, revision: Option<Revision>) -> impl Iterator<Item = &'r CountRow> {
        self.rows.iter().filter(move |row| !row.allowed && Some(Revision(row.revision)) == revision)
    }

    fn candidate(&self) -> impl Iterator<Item = &'r CountRow> {
        self.of(self.candidate)
    }

    fn stable(&self) -> impl Iterator<Item = &'r CountRow> {
        self.of(self.stable)
    }

    fn sum(&self, counts: impl Fn(&&CountRow) -> bool) -> RouteCounts {
        let add = |(requests, errors): (u64, u64), row: &CountRow| {
            (requests + row.requests - row.client_aborts.min(row.requests), errors + row.errors.total())
        };
        let (candidate_requests, candidate_errors) = self.candidate().filter(&counts).fold((0, 0), add);
        let (stable_requests, stable_errors) = self.stable().filter(&counts).fold((0, 0), add);
        RouteCounts { candidate_requests, candidate_errors, stable_requests, stable_errors }
    }

    /// The candidate's requests above the shifted boundaries, stable's above the boundaries themselves.
    fn slow(&self, from: SlowFrom) -> Slow {
        let above = |revision, boundary| self.of(revision).map(|row| row.latency.count_from(boundary)).sum();
        Slow {
            candidate: from.candidate.map(|boundary| above(self.candidate, boundary)),
            stable: from.stable.map(|boundary| above(self.stable, boundary)),
        }
    }

    /// None where no user failed twice: both ways of counting are the same then.
    fn once(&self) -> Option<Once> {
        let first =
            |rows: (u64, u64), row: &CountRow| (rows.0 + row.errors.total(), rows.1 + row.errors_repeated);
        let ((candidate, candidate_again), (stable, stable_again)) =
            (self.candidate().fold((0, 0), first), self.stable().fold((0, 0), first));
        (candidate_again + stable_again > 0).then(|| Once {
            candidate: candidate.saturating_sub(candidate_again),
            stable: stable.saturating_sub(stable_again),
        })
    }

    fn client_errors(&self) -> Option<ClientErrors> {
        let add = |sum: ClientErrorCounts, row: &CountRow| ClientErrorCounts {
            unauthorized: sum.unauthorized + row.unauthorized,
            not_found: sum.not_found + row.not_found,
            other: sum.other + row.client_errors.saturating_sub(row.unauthorized + row.not_found),
        };
        let none = ClientErrorCounts::default();
        let all = ClientErrors {
            candidate: self.candidate().fold(none, add),
            stable: self.stable().fold(none, add),
        };
        (all != ClientErrors::default()).then_some(all)
    }
}

/// Adds up what copies showed of the candidate.
fn mirror(told: &[MirrorRow], candidate: Option<Revision>) -> MirrorCounts {
    let difference = |of: &MirrorDifference| Difference {
        method: of.method.clone(),
        route: of.route.clone(),
        stable: of.stable,
        candidate: of.candidate,
    };
    let mut sum = MirrorCounts::default();
    for row in told.iter().filter(|row| Some(Revision(row.revision)) == candidate) {
        sum.add(&MirrorCounts {
            compared: row.compared,
            status: row.status,
            body: row.body,
            unsteady: row.unsteady,
            dropped: row.dropped,
            slower: row.slower,
            faster: row.faster,
            differences: row.differences.iter().map(difference).collect(),
        });
    }
    sum
}

fn failures(told: &[meter::wire::FailingRequest], candidate: Option<Revision>) -> Vec<FailingRequest> {
    let mine = told.iter().filter(|failure| Some(Revision(failure.revision)) == candidate);
    let each = |failure: &meter::wire::FailingRequest| FailingRequest {
        second: failure.at_ms / 1000,
        revision: Revision(failure.revision),
        replica: ReplicaId::new(failure.replica.clone()),
        method: failure.method.clone(),
        route: match failure.parameters.as_slice() {
            [] => failure.path.clone(),
            names => format!("{}?{}", failure.path, names.join("&")),
        },
        failure: format!("{} ({})", failure.status, failure.class),
        latency_ms: failure.latency_ms.max(0.0) as u64,
    };
    mine.take(FAILURES_MAX).map(each).collect()
}
