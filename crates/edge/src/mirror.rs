//! Sends copies of safe requests to a candidate nobody is sent to yet, and compares its answers with what stable told the user.
//! Nobody waits for a copy, and nobody sees its answer. Counts apart from all other requests; see `tally` for the sums.

pub(crate) mod tally;

use crate::body::{Download, Progress, Upload};
use crate::exchange::{self, Order};
use crate::failure::Failure;
use crate::headers::{self, Upgrade};
use crate::ledger::Ledger;
use crate::limits;
use crate::redact;
use crate::route::{ArmRoutes, Place, TargetRoutes};
use crate::split::Draw;
use crate::worker::Worker;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use meter::wire::MirrorDifference;
use rollout::names::Revision;
use sha2::{Digest, Sha256};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::Seen;
use tokio::sync::oneshot;

/// An answer, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    status: u16,
    /// Of the body, where bodies are compared and this one was read to its end.
    body: Option<[u8; 32]>,
    took: Duration,
}

/// What the user's own request will be asked for when it has ended. Dropped without a word, its copy is not compared.
pub(crate) struct Twin {
    told: oneshot::Sender<Answer>,
    body: Option<Sha256>,
}

impl Twin {
    pub(crate) fn read(&mut self, data: &Bytes) {
        if let Some(body) = &mut self.body {
            body.update(data);
        }
    }

    /// Says what the user got. An error of stable's own is nothing to compare with.
    pub(crate) fn tell(self, status: u16, took: Duration) {
        if status < 500 {
            let body = self.body.map(|body| body.finalize().into());
            // The copy may have been given up meanwhile.
            let _ = self.told.send(Answer { status, body, took });
        }
    }
}

/// A copy of a request, as often as it must be sent.
struct Copy {
    target: Arc<TargetRoutes>,
    candidate: Revision,
    stable: Revision,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    /// The template of the route, or the path with what may name a person hidden.
    route: String,
    bodies: bool,
}

/// Begins to copy a request on its way to stable, if its turn has come; the account of the request then keeps the twin.
pub(crate) fn begin(
    worker: &Rc<Worker>,
    place: &Place,
    arm: &ArmRoutes,
    draw: &Draw<'_>,
    order: &Order<'_>,
    ledger: &Ledger,
    bodyless: bool,
) -> Option<Box<Twin>> {
    let target = &place.target;
    let copies = target.routes().mirror.as_ref()?;
    let (stable, candidate) = (target.stable.as_ref()?, target.candidate.as_ref()?);
    let safe = order.method == Method::GET || order.method == Method::HEAD;
    let plain = safe && bodyless && order.upgrade == Upgrade::None && !order.is_health;
    if !plain || draw.allowed || arm.revision != stable.revision {
        return None;
    }
    let route = ledger.route().map(|route| &**route);
    let named = |list: &[String]| route.is_some_and(|of| list.iter().any(|name| name == of));
    if named(&copies.never) || worker.random.percent() >= copies.share.percent() {
        return None;
    }
    let Ok(room) = Arc::clone(&worker.copies).try_acquire_owned() else {
        worker.shard.mirror.note(&target.name, candidate.revision, Seen::Dropped);
        return None;
    };
    let bodies = order.method == Method::GET && named(&copies.bodies);
    let mut headers = order.headers.clone();
    headers.insert(headers::MIRRORED, HeaderValue::from(candidate.revision.0));
    let copy = Copy {
        target: Arc::clone(target),
        candidate: candidate.revision,
        stable: stable.revision,
        method: order.method.clone(),
        path: order.path.clone(),
        headers,
        route: ledger.endpoint(route),
        bodies,
    };
    let (told, tells) = oneshot::channel();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let seen = tokio::time::timeout(limits::MIRROR, copy.compare(&worker, tells)).await;
        let seen = seen.unwrap_or(Seen::Dropped);
        worker.shard.mirror.note(&copy.target.name, copy.candidate, seen);
        drop(room);
    });
    Some(Box::new(Twin { told, body: bodies.then(Sha256::new) }))
}

impl Copy {
    async fn compare(&self, worker: &Worker, tells: oneshot::Receiver<Answer>) -> Seen {
        // Both at once: neither finds what the other has made ready.
        let (mine, told) = futures_util::future::join(self.ask(worker, self.candidate), tells).await;
        let (Ok(told), Some(mine)) = (told, mine) else { return Seen::Dropped };
        if mine.is_some_and(|mine| mine.says(&told)) {
            return match mine {
                Some(mine) if is_longer(mine.took, told.took) => Seen::Slower,
                Some(mine) if is_longer(told.took, mine.took) => Seen::Faster,
                _ => Seen::Same,
            };
        }
        // An answer that is another one each time says nothing about a release.
        match self.ask(worker, self.stable).await {
            Some(Some(again)) if again.says(&told) => {}
            _ => return Seen::Unsteady,
        }
        let candidate = mine.map(|mine| mine.status);
        let difference = MirrorDifference {
            method: redact::method(&self.method).to_owned(),
            route: self.route.clone(),
            stable: told.status,
            candidate,
        };
        if candidate == Some(told.status) { Seen::Body(difference) } else { Seen::Status(difference) }
    }

    /// Returns what a revision answers: Some(None), no answer; None, it may not be blamed for having none.
    async fn ask(&self, worker: &Worker, revision: Revision) -> Option<Option<Answer>> {
        let order = Order {
            target: &self.target.routes().target,
            revision,
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            upgrade: Upgrade::None,
            is_health: false,
        };
        let began = Instant::now();
        let progress = Progress::new();
        let asked = exchange::exchange(worker, &order, Upload::Empty, &progress, |_| {});
        let exchanged = match asked.await {
            Ok(exchanged) => exchanged,
            // It is on its way out, or its replicas have as much as they may.
            Err(Failure::Overloaded | Failure::NoReplica | Failure::Drained) => return None,
            Err(_) => return Some(None),
        };
        let took = began.elapsed();
        let status = exchanged.response.status();
        let endless = headers::is_event_stream(exchanged.response.headers());
        if endless || status == StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let mut content = exchanged.response.into_body();
        let body = match read(&mut content, self.bodies).await {
            Ok(body) => body,
            Err(Unread::Broken) => return Some(None),
            Err(Unread::TooLong) => return None,
        };
        if content.frees() {
            worker.pool.put(exchanged.claim.replica().id, exchanged.lease);
        }
        Some(Some(Answer { status: status.as_u16(), body, took }))
    }
}

impl Answer {
    fn says(&self, other: &Self) -> bool {
        let bodies_differ = self.body.zip(other.body).is_some_and(|(mine, other)| mine != other);
        self.status == other.status && !bodies_differ
    }
}

/// Why a body was not read to its end.
enum Unread {
    Broken,
    TooLong,
}

/// Reads a body to its end, so that its connection can be used again; returns its hash where it is compared.
async fn read(body: &mut Download, hashed: bool) -> Result<Option<[u8; 32]>, Unread> {
    let mut hash = hashed.then(Sha256::new);
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unread::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length > limits::MIRROR_BODY {
            return Err(Unread::TooLong);
        }
        if let Some(hash) = &mut hash {
            hash.update(data);
        }
    }
    Ok(hash.map(|hash| hash.finalize().into()))
}

/// Whether one took at least twice as long as the other, and so much more that it is not the machine's mood.
fn is_longer(one: Duration, other: Duration) -> bool {
    one >= other * 2 + Duration::from_millis(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: Option<u8>) -> Answer {
        Answer { status, body: body.map(|byte| [byte; 32]), took: Duration::ZERO }
    }

    #[test]
    fn answers_differ_by_status_and_by_bodies_that_both_were_read() {
        assert!(answer(200, None).says(&answer(200, Some(1))));
        assert!(answer(200, Some(1)).says(&answer(200, Some(1))));
        assert!(!answer(200, Some(1)).says(&answer(200, Some(2))));
        assert!(!answer(200, Some(1)).says(&answer(404, Some(1))));
    }

    #[test]
    fn a_few_milliseconds_are_not_slow() {
        let ms = Duration::from_millis;

        assert!(!is_longer(ms(9), ms(1)) && !is_longer(ms(190), ms(100)));
        assert!(is_longer(ms(12), ms(1)) && is_longer(ms(210), ms(100)));
    }
}
