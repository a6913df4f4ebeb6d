//! Makes one request to an arm and waits for the head of its answer: claims a replica, connects, sends, tries again where safe.
//! Refuses to send anything twice once a byte of it may have been read, save GET and HEAD on a connection found stale.

use crate::balance::NoneLeft;
use crate::body::{Download, Progress, Stage, Upload};
use crate::claim::Claim;
use crate::clock;
use crate::direct::{self, Trouble};
use crate::failure::Failure;
use crate::headers::Upgrade;
use crate::pool::{self, Lease, Reuse, Sender};
use crate::worker::Worker;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use rollout::names::{Revision, Target};
use rollout::release::Protocol;
use std::error::Error;
use std::rc::Rc;
use tokio::time::Instant;

/// The head of a request to a replica.
pub(crate) struct Order<'r> {
    pub(crate) target: &'r Target,
    pub(crate) revision: Revision,
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) upgrade: Upgrade,
    /// It asks how the service is: never refused for load.
    pub(crate) is_health: bool,
}

impl Order<'_> {
    fn request(&self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        request.headers_mut().clone_from(&self.headers);
        *request.uri_mut() = Uri::from(self.path.clone());
        *request.version_mut() = Version::HTTP_11;
        request
    }

    /// HTTP/2 has the host in the address, and no headers of one connection (RFC 9113, 8.2.2).
    fn head_http2(&self, request: &mut Request<Upload>) -> Result<(), Failure> {
        for name in [header::CONNECTION, header::UPGRADE] {
            request.headers_mut().remove(name);
        }
        let host = request.headers_mut().remove(header::HOST);
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let uri = Uri::builder().scheme(Scheme::HTTP).path_and_query(self.path.clone());
        let uri = authority.and_then(|authority| uri.authority(authority).build().ok());
        *request.uri_mut() = uri.ok_or(Failure::BadRequest("its Host header is not a host name"))?;
        *request.version_mut() = Version::HTTP_2;
        Ok(())
    }

    /// Whether the request may be sent twice: it changes nothing and has nothing that is gone once sent.
    fn is_repeatable(&self, body: &Upload) -> bool {
        (self.method == Method::GET || self.method == Method::HEAD)
            && body.is_empty()
            && self.upgrade == Upgrade::None
    }
}

/// An answer's head, and what must be kept until its end.
pub(crate) struct Exchanged {
    pub(crate) response: Response<Download>,
    pub(crate) claim: Claim,
    pub(crate) lease: Lease,
}

/// How one attempt went wrong.
enum Attempt {
    /// Nothing was sent: here is the body back.
    Unsent(Upload),
    /// The connection was an old one and gave no byte of an answer to a request that may be repeated.
    Stale,
    Failed(Failure),
}

/// Gets an answer from one of the arm's replicas. `tried` is told every claim.
pub(crate) async fn exchange(
    worker: &Worker,
    order: &Order<'_>,
    mut body: Upload,
    progress: &Rc<Progress>,
    mut tried: impl FnMut(&Claim),
) -> Result<Exchanged, Failure> {
    let repeatable = order.is_repeatable(&body);
    let mut reuse = if repeatable { Reuse::Any } else { Reuse::Recent };
    let mut without: Vec<u64> = Vec::new();
    loop {
        let claim = match worker.claim(order.target, order.revision, &without, order.is_health) {
            Ok(claim) => claim,
            Err(NoneLeft::Full) => return Err(Failure::Overloaded),
            Err(NoneLeft::Tried) if without.is_empty() => return Err(Failure::NoReplica),
            Err(NoneLeft::Tried) => return Err(Failure::Connect),
        };
        tried(&claim);
        let replica = claim.replica().id;
        let Some(mut lease) = lease(worker, &claim, repeatable, reuse, progress).await? else {
            claim.replica().outlier.failed(clock::now());
            without.push(replica);
            continue;
        };
        match send(worker, order, &claim, &mut lease, body, repeatable, progress).await {
            Ok(response) => {
                claim.replica().outlier.answered();
                return Ok(Exchanged { response, claim, lease });
            }
            Err(Attempt::Failed(failure)) => {
                if matches!(failure, Failure::Reset | Failure::BadAnswer | Failure::Timeout) {
                    claim.replica().outlier.failed(clock::now());
                }
                return Err(failure);
            }
            Err(Attempt::Stale) => body = Upload::Empty,
            Err(Attempt::Unsent(unsent)) => {
                body = unsent;
                // A fresh connection that closes before it takes a request is as good as none.
                if !lease.used {
                    without.push(replica);
                }
            }
        }
        reuse = Reuse::Never;
    }
}

/// Returns a connection to the claimed replica; None when it takes none. `plain`: it is for a request without a body.
async fn lease(
    worker: &Worker,
    claim: &Claim,
    plain: bool,
    reuse: Reuse,
    progress: &Progress,
) -> Result<Option<Lease>, Failure> {
    let now = Instant::now();
    progress.moved.set(now);
    // Only connections that carry one request at a time are in there.
    let lease = match worker.pool.take(claim.replica().id, reuse, now.into_std()) {
        Some(lease) => Some(lease),
        None => {
            // Beside the request's future, not in it: most find a connection.
            let connected = Box::pin(connect(worker, claim, reuse)).await?;
            progress.moved.set(Instant::now());
            connected
        }
    };
    match lease {
        Some(lease) if !plain && matches!(lease.sender, Sender::Direct) => {
            Ok(Box::pin(lease.lend()).await.ok())
        }
        lease => Ok(lease),
    }
}

async fn connect(worker: &Worker, claim: &Claim, reuse: Reuse) -> Result<Option<Lease>, Failure> {
    let (replica, limit) = (claim.replica(), worker.waits.upstream_connect);
    let connecting = async {
        match replica.protocol {
            Protocol::Http1 => pool::connect(replica, limit).await,
            Protocol::H2c | Protocol::Grpc => worker.pool.lines.lease(replica, reuse, limit).await,
        }
    };
    tokio::select! {
        connected = connecting => Ok(connected.ok()),
        () = claim.cancelled() => Err(Failure::Drained),
    }
}

async fn send(
    worker: &Worker,
    order: &Order<'_>,
    claim: &Claim,
    lease: &mut Lease,
    body: Upload,
    repeatable: bool,
    progress: &Progress,
) -> Result<Response<Download>, Attempt> {
    let (read_before, _) = lease.wire.moved();
    let trouble = {
        let sending = transmit(order, lease, body);
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = claim.cancelled() => return Err(Attempt::Failed(Failure::Drained)),
            failure = out_of_time(worker, progress) => return Err(Attempt::Failed(failure)),
        };
        match sent {
            Ok(response) => return Ok(response),
            Err(Attempt::Failed(trouble @ (Failure::Reset | Failure::BadAnswer))) => trouble,
            Err(attempt) => return Err(attempt),
        }
    };
    match progress.stage.get() {
        Stage::Malformed => return Err(Attempt::Failed(Failure::BadBody)),
        Stage::Gone => return Err(Attempt::Failed(Failure::ClientGone)),
        Stage::TooLarge => return Err(Attempt::Failed(progress.too_large())),
        Stage::AwaitingClient | Stage::AwaitingReplica => {}
    }
    let silent = lease.wire.moved().0 == read_before;
    if silent && lease.used && repeatable {
        return Err(Attempt::Stale);
    }
    Err(Attempt::Failed(trouble))
}

/// Sends a request and waits for the head of its answer. Dropped before, its connection is closed, or its stream reset: a late
/// answer can never meet another request.
async fn transmit(order: &Order<'_>, lease: &mut Lease, body: Upload) -> Result<Response<Download>, Attempt> {
    let was_empty = body.is_empty();
    // hyper's futures are beside the request's, not in it: few need one.
    match &mut lease.sender {
        Sender::Direct => match direct::ask(&lease.wire, order).await {
            Ok(response) => Ok(response.map(Download::Direct)),
            Err(Trouble::Unsent) => Err(Attempt::Unsent(body)),
            Err(Trouble::Ended) => Err(Attempt::Failed(Failure::Reset)),
            Err(Trouble::Malformed) => Err(Attempt::Failed(Failure::BadAnswer)),
        },
        Sender::Hyper(lent) => {
            let sent = Box::pin(lent.sender.try_send_request(order.request(body)));
            by_hyper(sent.await, was_empty)
        }
        Sender::Http2(seat) => {
            let mut request = order.request(body);
            order.head_http2(&mut request).map_err(Attempt::Failed)?;
            let sent = Box::pin(seat.send(request));
            by_hyper(sent.await, was_empty)
        }
    }
}

fn by_hyper(
    sent: Result<Response<Incoming>, TrySendError<Request<Upload>>>,
    was_empty: bool,
) -> Result<Response<Download>, Attempt> {
    let mut error = match sent {
        Ok(response) => return Ok(response.map(Download::Hyper)),
        Err(error) => error,
    };
    // hyper gives the message back only if none of it was written.
    if let Some(message) = error.take_message() {
        return Err(Attempt::Unsent(message.into_body()));
    }
    if was_empty && is_unprocessed(error.error()) {
        return Err(Attempt::Unsent(Upload::Empty));
    }
    Err(Attempt::Failed(if error.error().is_parse() { Failure::BadAnswer } else { Failure::Reset }))
}

/// Whether an HTTP/2 replica says that it has not looked at the request (RFC 9113, 8.7): any may be sent again.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let reason = error.reason();
    let refused = reason == Some(h2::Reason::REFUSED_STREAM);
    // Streams it has looked at go on after a farewell; only the others get to see it.
    error.is_remote() && (refused || (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)))
}

/// Waits until whoever's turn it is has been silent too long, and says whose fault that is.
async fn out_of_time(worker: &Worker, progress: &Progress) -> Failure {
    let (stall, head) = (worker.waits.client_stall, worker.waits.upstream_head);
    // They moved just now.
    let mut now = progress.moved.get();
    loop {
        let (limit, failure) = match progress.stage.get() {
            Stage::AwaitingClient => (stall, Failure::UploadStalled),
            Stage::AwaitingReplica | Stage::Malformed | Stage::Gone | Stage::TooLarge => {
                (head, Failure::Timeout)
            }
        };
        let deadline = progress.moved.get() + limit;
        if deadline <= now {
            return failure;
        }
        let slow = progress.slow_at();
        if slow.is_some_and(|at| at <= now) {
            return progress.too_slow();
        }
        let deadline = slow.map_or(deadline, |at| at.min(deadline));
        // The turn may change to the one with the shorter limit while we sleep.
        tokio::time::sleep_until(deadline.min(now + progress.look_again(stall.min(head)))).await;
        now = Instant::now();
    }
}
