//! Streams bodies both ways and notices how they end: whose fault a break is, when a connection is free again.
//! Buffers nothing; refuses nothing; see `exchange` for what follows from what is noticed.

use crate::claim::{Claim, Kind};
use crate::ledger::{Ledger, Outcome};
use crate::pool::{Lease, Pool};
use crate::worker::Worker;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How far a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client has to send more.
    AwaitingClient,
    /// The replica has to take what came, or to answer.
    AwaitingReplica,
    /// The client sent what is not HTTP.
    Malformed,
    /// The client went away.
    Gone,
}

/// What the walk of a request sees of its body while hyper streams it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) stage: Cell<Stage>,
    /// When the last bytes moved.
    pub(crate) moved: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { stage: Cell::new(Stage::AwaitingReplica), moved: Cell::new(Instant::now()) })
    }
}

/// A request's body on its way to a replica.
pub(crate) enum Upload {
    Empty,
    Streaming {
        body: Incoming,
        progress: Rc<Progress>,
    },
    /// Written by the edge.
    Own(Full<Bytes>),
}

impl Upload {
    pub(crate) fn new(body: Incoming, progress: &Rc<Progress>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Streaming { body, progress: Rc::clone(progress) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (body, progress) = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Own(body) => {
                let frame = Pin::new(body).poll_frame(context);
                return frame
                    .map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {})));
            }
            Self::Streaming { body, progress } => (body, progress),
        };
        let polled = Pin::new(body).poll_frame(context);
        let stage = match &polled {
            Poll::Pending => Stage::AwaitingClient,
            Poll::Ready(Some(Err(error))) => blame(error),
            Poll::Ready(None | Some(Ok(_))) => {
                progress.moved.set(Instant::now());
                Stage::AwaitingReplica
            }
        };
        progress.stage.set(stage);
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(body) => body.is_end_stream(),
            Self::Streaming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(body) => body.size_hint(),
            Self::Streaming { body, .. } => body.size_hint(),
        }
    }
}

/// Tells broken framing from a client that left: hyper reports the first as invalid input, the second as an early end.
fn blame(error: &hyper::Error) -> Stage {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            let malformed = [io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];
            return if malformed.contains(&io.kind()) { Stage::Malformed } else { Stage::Gone };
        }
        source = cause.source();
    }
    Stage::Gone
}

/// What a client receives.
pub(crate) enum Reply {
    /// Written by the edge.
    Own(Full<Bytes>),
    /// Streamed from a replica.
    Passed(Box<Passed>),
}

/// An answer on its way to the client. Holds the claim on the replica until its end.
pub(crate) struct Passed {
    body: Incoming,
    claim: Claim,
    lease: Option<Lease>,
    pool: Rc<Pool>,
    ledger: Ledger,
    silence: Option<Silence>,
    ended: bool,
}

impl Passed {
    pub(crate) fn new(body: Incoming, claim: Claim, lease: Lease, worker: &Worker, ledger: Ledger) -> Self {
        let limit = worker.waits.upstream_silence;
        let silence =
            (claim.kind() == Kind::Plain).then(|| Silence { limit, since: Instant::now(), sleep: None });
        Self { body, claim, lease: Some(lease), pool: Rc::clone(&worker.pool), ledger, silence, ended: false }
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.ledger.settle(outcome);
        match self.lease.take() {
            Some(lease) if outcome == Outcome::Answered => self.pool.put(self.claim.replica().id, lease),
            _ => {}
        }
    }

    fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.claim.poll_cancelled(context).is_ready() {
            return Poll::Ready(self.cut());
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.ledger.ended_with(trailers);
                    // Nothing follows trailers, and the server asks for nothing more.
                    self.end(Outcome::Answered);
                }
                self.ledger.add_bytes(frame.data_ref().map_or(0, Bytes::len));
                if let Some(silence) = &mut self.silence {
                    silence.since = Instant::now();
                }
                // The server may drop a body that says it has ended without asking for its end.
                if !self.ended && self.body.is_end_stream() {
                    self.end(Outcome::Answered);
                }
            }
            Poll::Ready(Some(Err(_))) => self.end(Outcome::EarlyEof),
            Poll::Ready(None) if !self.ended => self.end(Outcome::Answered),
            Poll::Ready(None) => {}
            Poll::Pending => {
                if self.silence.as_mut().is_some_and(|silence| silence.poll_over(context).is_ready()) {
                    self.lease = None;
                    self.end(Outcome::Silent);
                    return Poll::Ready(Some(Err("the replica stopped in the middle of its answer".into())));
                }
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
    }

    /// Ends an answer whose revision is drained. An event stream ends like any other, and its client connects again.
    /// The rest of a plain answer is missing, and the client must be able to see that.
    fn cut(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        if self.ended {
            return None;
        }
        self.lease = None;
        if self.claim.kind() == Kind::Sse {
            self.end(Outcome::Ended);
            return None;
        }
        self.end(Outcome::Drained);
        Some(Err("its release was drained before the answer ended".into()))
    }
}

/// How long a replica has sent nothing while somebody waited for it.
struct Silence {
    limit: Duration,
    since: Instant,
    /// Made when the first wait begins: most answers are there at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (since, limit) = (self.since, self.limit);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + limit)));
        loop {
            std::task::ready!(sleep.as_mut().poll(context));
            if since.elapsed() >= limit {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(since + limit);
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        // An answer without a body, or to HEAD, is never polled.
        if !self.ended && self.body.is_end_stream() {
            self.end(Outcome::Answered);
        }
    }
}

pub(crate) type BodyError = Box<dyn Error + Send + Sync>;

impl Reply {
    pub(crate) fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Full::new(text.into()))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(body) => {
                let frame = Pin::new(body).poll_frame(context);
                frame.map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {})))
            }
            Self::Passed(passed) => passed.poll_passed(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Passed(passed) => passed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Passed(passed) => passed.body.size_hint(),
        }
    }
}
