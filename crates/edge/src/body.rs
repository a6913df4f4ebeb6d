//! Streams bodies both ways and notices how they end: whose fault a break is, when a connection is free again.
//! Buffers nothing; refuses nothing; see `exchange` for what follows from what is noticed.

use crate::claim::{Claim, Kind};
use crate::direct::Content;
use crate::failure::Failure;
use crate::grpc;
use crate::guard::{BodyWatch, Noted, Reason, Verdict};
use crate::ledger::{Ledger, Outcome};
use crate::limits;
use crate::pool::{Lease, Pool};
use crate::worker::Worker;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use rollout::guard::GuardMode;
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
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
    /// The guard allows no more.
    TooLarge,
}

/// What the walk of a request sees of its body while hyper streams it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) stage: Cell<Stage>,
    /// When the last bytes moved.
    pub(crate) moved: Cell<Instant>,
    /// What the guard wants watched; most bodies are not.
    watch: Option<BodyWatch>,
    bytes: Cell<u64>,
    /// How long the client kept the edge waiting, and since when it does now.
    waited: Cell<Duration>,
    waiting_since: Cell<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new() -> Rc<Self> {
        Self::watching(None)
    }

    pub(crate) fn watching(watch: Option<BodyWatch>) -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::AwaitingReplica),
            moved: Cell::new(Instant::now()),
            watch,
            bytes: Cell::new(0),
            waited: Cell::new(Duration::ZERO),
            waiting_since: Cell::new(None),
        })
    }

    /// Takes in bytes of the body. False: more than the guard lets through.
    fn count(&self, bytes: usize) -> bool {
        let bytes = self.bytes.get() + bytes as u64;
        self.bytes.set(bytes);
        let blocked = |(max, mode, _): &(u64, GuardMode, Arc<str>)| bytes > *max && *mode == GuardMode::Block;
        !self.watch.as_ref().and_then(|watch| watch.max.as_ref()).is_some_and(blocked)
    }

    /// Notes whether the client keeps the edge waiting.
    fn wait(&self, waits: bool) {
        if self.watch.is_none() {
            return;
        }
        match (self.waiting_since.get(), waits) {
            (None, true) => self.waiting_since.set(Some(Instant::now())),
            (Some(since), false) => {
                self.waited.set(self.waited.get() + since.elapsed());
                self.waiting_since.set(None);
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Returns the rule whose bound the body passed although it goes on.
    pub(crate) fn overrun(&self) -> Option<(Arc<str>, Reason)> {
        let (max, mode, rule) = self.watch.as_ref()?.max.as_ref()?;
        let over = *mode == GuardMode::Count && self.bytes.get() > *max;
        over.then(|| (Arc::clone(rule), Reason::BodyTooLarge { max: *max }))
    }

    pub(crate) fn too_large(&self) -> Failure {
        let max = self.watch.as_ref().and_then(|watch| watch.max.clone());
        let (max, _, rule) = max.expect("BUG: a body is too large for a rule");
        Failure::Guarded(Box::new(Verdict { rule, reason: Reason::BodyTooLarge { max } }))
    }

    /// Returns when the client will have been too slow, if it sends nothing more.
    pub(crate) fn slow_at(&self) -> Option<Instant> {
        let (rate_min, _) = self.watch.as_ref()?.rate_min.as_ref()?;
        let since = self.waiting_since.get()?;
        let earned = Duration::from_secs_f64(self.bytes.get() as f64 / (*rate_min).max(1) as f64);
        let may_wait = (limits::BODY_GRACE + earned).saturating_sub(self.waited.get());
        Some(since + may_wait)
    }

    /// Returns how long nobody need look at the client: a watched one is looked at often, whoever's turn it was.
    pub(crate) fn look_again(&self, otherwise: Duration) -> Duration {
        let paced = self.watch.as_ref().is_some_and(|watch| watch.rate_min.is_some());
        if paced { otherwise.min(limits::BODY_LOOK) } else { otherwise }
    }

    pub(crate) fn too_slow(&self) -> Failure {
        let rate_min = self.watch.as_ref().and_then(|watch| watch.rate_min.clone());
        let (rate_min, rule) = rate_min.expect("BUG: a body is too slow for a rule");
        Failure::Guarded(Box::new(Verdict { rule, reason: Reason::BodyTooSlow { rate_min } }))
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
    /// None: the request has no body.
    pub(crate) fn new(body: Option<Incoming>, progress: &Rc<Progress>) -> Self {
        match body {
            Some(body) if !body.is_end_stream() => Self::Streaming { body, progress: Rc::clone(progress) },
            _ => Self::Empty,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
        progress.wait(polled.is_pending());
        let stage = match &polled {
            Poll::Ready(Some(Ok(frame))) if !progress.count(frame.data_ref().map_or(0, Bytes::len)) => {
                progress.stage.set(Stage::TooLarge);
                return Poll::Ready(Some(Err("the guard lets no more of it through".into())));
            }
            Poll::Pending => Stage::AwaitingClient,
            Poll::Ready(Some(Err(error))) => blame(error),
            Poll::Ready(None | Some(Ok(_))) => {
                progress.moved.set(Instant::now());
                Stage::AwaitingReplica
            }
        };
        progress.stage.set(stage);
        polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
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

/// An answer's body on its way from a replica.
pub(crate) enum Download {
    Hyper(Incoming),
    Direct(Content),
}

impl Download {
    /// Whether the connection it came on can carry another request, as far as is known here: hyper knows of its own.
    pub(crate) fn frees(&self) -> bool {
        match self {
            Self::Hyper(_) => true,
            Self::Direct(content) => content.frees(),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Hyper(body) => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::from))),
            Self::Direct(content) => Pin::new(content).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Direct(content) => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Direct(content) => content.size_hint(),
        }
    }
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
    body: Download,
    claim: Claim,
    lease: Option<Lease>,
    pool: Rc<Pool>,
    progress: Rc<Progress>,
    ledger: Box<Ledger>,
    silence: Option<Silence>,
    /// Of an event stream that can be told something: whether a line has ended.
    lines: Option<bool>,
    random: u64,
    ended: bool,
}

impl Passed {
    pub(crate) fn new(
        body: Download,
        encoded: bool,
        claim: Claim,
        lease: Lease,
        worker: &Worker,
        progress: Rc<Progress>,
        ledger: Box<Ledger>,
    ) -> Self {
        let limit = worker.waits.upstream_silence;
        let silence =
            (claim.kind() == Kind::Plain).then(|| Silence { limit, since: Instant::now(), sleep: None });
        let (lease, pool) = (Some(lease), Rc::clone(&worker.pool));
        let lines = (claim.kind() == Kind::Sse && !encoded).then_some(true);
        let random = worker.random.next();
        Self { body, claim, lease, pool, progress, ledger, silence, lines, random, ended: false }
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.ledger.settle(outcome);
        match self.lease.take() {
            Some(lease) if outcome == Outcome::Answered && self.body.frees() => {
                self.pool.put(self.claim.replica().id, lease)
            }
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
                if let Some(data) = frame.data_ref() {
                    self.ledger.passed(data);
                }
                if let (Some(line), Some(last)) =
                    (&mut self.lines, frame.data_ref().and_then(|data| data.last()))
                {
                    *line = matches!(last, b'\n' | b'\r');
                }
                // The server may drop a body that says it has ended without asking for its end.
                if !self.ended && self.body.is_end_stream() {
                    self.end(Outcome::Answered);
                }
                if let Some(silence) = self.silence.as_mut().filter(|_| !self.ended) {
                    silence.since = Instant::now();
                }
            }
            Poll::Ready(Some(Err(_))) => {
                let outcome = self.broken();
                self.end(outcome);
            }
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
        polled
    }

    /// Says why an answer broke off. A client that breaks its own body must not be able to blame the release for it.
    fn broken(&mut self) -> Outcome {
        match self.progress.stage.get() {
            Stage::AwaitingClient | Stage::AwaitingReplica => Outcome::EarlyEof,
            Stage::Malformed => Outcome::BadBody,
            Stage::Gone => Outcome::Gone,
            Stage::TooLarge => {
                if let Failure::Guarded(verdict) = self.progress.too_large() {
                    self.ledger.note(&verdict.rule, Noted::Blocked, &verdict.reason);
                }
                Outcome::Guarded
            }
        }
    }

    /// Ends an answer whose revision is drained. An event stream ends like any other; its client is told when to connect
    /// again, each another moment. A gRPC call ends with its status. The rest of a plain answer is missing, and the client
    /// must be able to see that.
    fn cut(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        if self.ended {
            return None;
        }
        self.lease = None;
        if self.claim.kind() == Kind::Sse {
            self.end(Outcome::Ended);
            // A line of its own, also within an event: the event has no end then and is none.
            return (self.lines == Some(true)).then(|| {
                let limits::Jitter { least, most } = limits::SSE_RETRY_MS;
                let retry = least + self.random % (most - least);
                Ok(Frame::data(Bytes::from(format!("retry: {retry}\n"))))
            });
        }
        let grpc = self.ledger.is_grpc();
        self.end(Outcome::Drained);
        if grpc {
            return Some(Ok(Frame::trailers(grpc::unavailable("its release was drained"))));
        }
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
