//! Streams the journals as server-sent events: everything after a cursor, then what comes, in order per target.
//! Reads the files beside their writers; a follower that is slow slows nobody.

use super::Api;
use crate::journal::Reader;
use crate::targets::{Targets, Unled};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use drivers::platform::process::ProcessPlatform;
use futures_util::Stream;
use rollout::event::{Event, EventRecord};
use rollout::names::Target;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Records read at a time.
const BATCH: u32 = 256;
/// Says on a silent stream that it still stands.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
pub struct EventsQuery {
    /// `web@local:1042,api@local:7`; a target that is not named starts at its beginning.
    after: Option<String>,
    target: Option<Target>,
    /// 1: with `evidence_added`.
    detail: Option<u8>,
}

pub async fn stream(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> Sse<impl Stream<Item = Result<Message, Infallible>>> {
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let cursor = parse(resumed.or(query.after).as_deref().unwrap_or_default());
    let follower = Follower {
        heads: api.targets.heads(),
        targets: api.targets,
        only: query.target,
        detail: query.detail == Some(1),
        cursor,
        waiting: VecDeque::new(),
    };
    let stream = futures_util::stream::unfold(follower, |mut follower| async move {
        let record = follower.next().await?;
        let message = Message::default().id(follower.cursor()).data(
            serde_json::to_string(&with_time(&record)).expect("BUG: every record can be written as JSON"),
        );
        Some((Ok(message), follower))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Follower {
    targets: Arc<Targets<ProcessPlatform>>,
    heads: watch::Receiver<u64>,
    only: Option<Target>,
    detail: bool,
    cursor: BTreeMap<Target, u64>,
    waiting: VecDeque<EventRecord>,
}

impl Follower {
    /// Returns the next record; None when the engine ends.
    async fn next(&mut self) -> Option<EventRecord> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                self.cursor.insert(record.target.clone(), record.seq);
                if self.detail || !matches!(record.event, Event::EvidenceAdded { .. }) {
                    return Some(record);
                }
                continue;
            }
            self.heads.mark_unchanged();
            if !self.fill().await {
                self.heads.changed().await.ok()?;
            }
        }
    }

    /// Reads what is new; tells whether there was anything.
    async fn fill(&mut self) -> bool {
        let living = self
            .targets
            .all()
            .into_iter()
            .filter(|(_, led)| !matches!(led, Err(Unled::Damaged(_))))
            .map(|(target, _)| target);
        let wanted: Vec<_> =
            living.filter(|target| self.only.as_ref().is_none_or(|only| only == target)).collect();
        let folder = self.targets.folder().to_owned();
        let cursor = self.cursor.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            for target in wanted {
                let after = cursor.get(&target).copied().unwrap_or(0);
                let records = Reader::open(&folder, &target).and_then(|reader| reader.after(after, BATCH));
                found.extend(records.unwrap_or_default());
            }
            found.sort_by_key(|record| (record.at, record.target.clone(), record.seq));
            found
        });
        self.waiting.extend(read.await.unwrap_or_default());
        !self.waiting.is_empty()
    }

    fn cursor(&self) -> String {
        let parts: Vec<_> = self.cursor.iter().map(|(target, seq)| format!("{target}:{seq}")).collect();
        parts.join(",")
    }
}

pub(super) fn parse(cursor: &str) -> BTreeMap<Target, u64> {
    let parts = cursor.split(',').filter_map(|part| {
        let (target, seq) = part.rsplit_once(':')?;
        Some((target.parse().ok()?, seq.parse().ok()?))
    });
    parts.collect()
}

/// Returns the record as users see it: its moment also written as RFC 3339.
pub fn with_time(record: &EventRecord) -> serde_json::Value {
    let mut value = serde_json::to_value(record).expect("BUG: every record can be written as JSON");
    if let Some(fields) = value.as_object_mut() {
        fields.insert("time".to_owned(), record.at.rfc3339().into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_every_target_and_ignores_what_it_cannot_read() {
        let cursor = parse("web@local:1042,nonsense,api@local:7");

        assert_eq!(cursor.get(&Target::new("web", "local")), Some(&1042));
        assert_eq!(cursor.get(&Target::new("api", "local")), Some(&7));
        assert_eq!(cursor.len(), 2);
    }
}
