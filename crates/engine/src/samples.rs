//! Fetches what the edge counted and turns it into the judge's records. Missing seconds stay missing.

use crate::edge_link::EdgeLink;
use meter::wire::{CountRow, SecondRecord};
use rollout::judge::Record;
use rollout::machine::State;
use rollout::names::Revision;
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
pub fn record(state: &State, second: u64, rows: Option<&[CountRow]>) -> Record {
    let Some(rows) = rows else {
        return Record { second, missing: true, ..Record::default() };
    };
    let stable = state.stable.as_ref().map(|placed| placed.revision);
    let (candidate, stable) = match &state.deployment {
        Some(running) => (Some(running.candidate.revision), stable),
        None => (stable, None),
    };
    let (candidate_requests, candidate_errors) = counts(rows, candidate);
    let (stable_requests, stable_errors) = counts(rows, stable);
    Record {
        second,
        missing: false,
        unwell: false,
        candidate_requests,
        candidate_errors,
        stable_requests,
        stable_errors,
    }
}

fn counts(rows: &[CountRow], revision: Option<Revision>) -> (u64, u64) {
    let mine = rows.iter().filter(|row| !row.allowed && Some(Revision(row.revision)) == revision);
    mine.fold((0, 0), |(requests, errors), row| {
        (requests + row.requests - row.client_aborts.min(row.requests), errors + row.errors.total())
    })
}
