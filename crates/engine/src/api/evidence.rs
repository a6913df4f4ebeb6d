//! Tells one deployment as a bundle: everything its verdicts rest on, read from the journal beside its writer.
//! Holds one batch of it at a time, however long the watch was; hides secrets, see `rollout::bundle`.

use super::Api;
use super::get::unknown;
use super::wire::ApiError;
use crate::journal::Reader;
use crate::targets::New;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rollout::bundle::{FORMAT, Recorder, Search, Start};
use rollout::event::EventRecord;
use rollout::names::{DeploymentId, Target};
use serde::Serialize;
use std::io;

/// Records read at a time.
const BATCH: u32 = 256;

pub async fn bundle(
    State(api): State<Api>,
    Path((target, id)): Path<(Target, String)>,
) -> Result<Response, ApiError> {
    // A damaged target is refused, an unknown one is not made.
    api.targets.handle(&target, New::Refused)?;
    let folder = api.targets.folder().to_owned();
    let wanted = DeploymentId::new(id.clone());
    let opened = {
        let (target, wanted) = (target.clone(), wanted.clone());
        blocking(move || Telling::open(&folder, &target, wanted)).await
    };
    let telling =
        opened.map_err(|error| unreadable(&target, &error))?.ok_or_else(|| unknown(&target, &id))?;
    let stream = futures_util::stream::unfold(Some(telling), |telling| async {
        let mut telling = telling?;
        // What cannot be read ends the answer in the middle, so that nobody takes it for whole.
        match blocking(move || telling.chunk().map(|chunk| chunk.map(|chunk| (chunk, telling)))).await {
            Ok(Some((chunk, telling))) => Some((Ok(chunk), Some(telling))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let body = Body::from_stream(stream);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A bundle that is being written.
struct Telling {
    reader: Reader,
    recorder: Recorder,
    target: Target,
    wanted: DeploymentId,
    /// Of the last record read.
    seq: u64,
    part: Part,
}

/// What is written next.
enum Part {
    Head(Box<Start>),
    Events { first: bool },
    Done,
}

impl Telling {
    /// Returns None for a deployment the journal does not know.
    fn open(
        folder: &std::path::Path,
        target: &Target,
        wanted: DeploymentId,
    ) -> Result<Option<Self>, io::Error> {
        let reader = Reader::open(folder, target).map_err(io::Error::other)?;
        let mut search = Search::new(target, &wanted);
        let mut seq = 0;
        loop {
            let records = reader.without_evidence_after(seq, BATCH).map_err(io::Error::other)?;
            let Some(last) = records.last() else { return Ok(None) };
            seq = last.seq;
            if let Some(start) = records.iter().find_map(|record| search.look(record)) {
                let recorder = Recorder::new(target, &wanted, &start);
                let seq = start.seq.saturating_sub(1);
                let part = Part::Head(Box::new(start));
                return Ok(Some(Self { reader, recorder, target: target.clone(), wanted, seq, part }));
            }
        }
    }

    /// Returns the next piece of the JSON text; None when it is whole.
    fn chunk(&mut self) -> Result<Option<Bytes>, io::Error> {
        let text = match &self.part {
            Part::Head(start) => {
                let head = self.head(start);
                self.part = Part::Events { first: true };
                head
            }
            Part::Events { first } => {
                let first = *first;
                let records = self.batch().map_err(io::Error::other)?;
                if let Some(last) = records.last() {
                    self.seq = last.seq;
                    self.events(records, first)
                } else {
                    self.part = Part::Done;
                    let (cut, said) = self.recorder.end();
                    format!("],\"cut\":{},\"said\":{}}}", json(&cut), json(&said))
                }
            }
            Part::Done => return Ok(None),
        };
        Ok(Some(text.into()))
    }

    fn head(&self, start: &Start) -> String {
        format!(
            "{{\"format\":{FORMAT},\"version\":{},\"target\":{},\"deployment\":{},\"before\":{},\"events\":[",
            json(&env!("CARGO_PKG_VERSION")),
            json(&self.target),
            json(&self.wanted),
            json(&start.before)
        )
    }

    fn batch(&self) -> Result<Vec<EventRecord>, rusqlite::Error> {
        if self.recorder.wants_named_only() {
            return self.reader.of_deployment_after(&self.wanted, self.seq, BATCH);
        }
        self.reader.after(self.seq, BATCH)
    }

    fn events(&mut self, records: Vec<EventRecord>, mut first: bool) -> String {
        let mut text = String::new();
        for entry in records.into_iter().filter_map(|record| self.recorder.take(record)) {
            if !first {
                text.push(',');
            }
            first = false;
            text.push_str(&json(&entry));
        }
        self.part = Part::Events { first };
        text
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("BUG: a part of a bundle has a JSON form")
}

fn unreadable(target: &Target, error: &io::Error) -> ApiError {
    ApiError {
        error: format!("read the journal of {target}"),
        cause: Some(error.to_string()),
        next: Some(
            "see `medeclipse status`; the file lies in the folder `journal` of the state directory"
                .to_owned(),
        ),
        exit: 1,
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
