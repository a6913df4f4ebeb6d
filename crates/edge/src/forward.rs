//! Walks one request through the edge: check → maintenance → split → exchange → answer. Read this file to know the edge.
//! Decides nothing itself; each step is a room of its own.

use crate::asset;
use crate::body::{Passed, Progress, Reply, Upload};
use crate::claim::Kind;
use crate::client::Client;
use crate::exchange::{self, Exchanged, Order};
use crate::failure::Failure;
use crate::guard::{BodyWatch, Noted};
use crate::headers::{self, Onward, Upgrade};
use crate::ledger::{Ledger, Outcome};
use crate::maintenance::{self, Admission};
use crate::mirror;
use crate::route::{ArmRoutes, Place};
use crate::shield::{self, Failed};
use crate::split;
use crate::upgrade::{self, Spoken};
use crate::worker::Worker;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use std::convert::Infallible;
use std::rc::Rc;

/// Answers one request. A client that goes away drops this future, and everything it holds is let go.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Option<Incoming>>,
) -> Result<Response<Reply>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let number = client.begin(parts.version == Version::HTTP_2);
    let mut ledger = Ledger::open(&worker, &client, &parts);
    if client.line.is_ambiguous(number) {
        let failure = Failure::BadRequest("it tells its length in two ways");
        return Ok(closing(ledger.refuse(&failure, None)));
    }
    let authority = match headers::check(&parts, &client) {
        Ok(authority) => authority,
        Err(failure) => return Ok(closing(ledger.refuse(&failure, None))),
    };
    let challenges = worker.challenges.as_ref();
    if let Some(proof) = challenges.and_then(|challenges| challenges.answer(parts.uri.path())) {
        return Ok(ledger.reply(StatusCode::OK, proof));
    }
    if let Some(port) = client.redirect {
        return Ok(ledger.redirect(&authority, port, &parts.uri));
    }
    let arrive = |place: &Place| ledger.arrive(place, &parts);
    let place = match maintenance::admit(&worker, &authority.host, parts.uri.path(), arrive).await {
        Ok(Admission::Enter(place)) => place,
        Ok(Admission::Healthy) => return Ok(ledger.reply(StatusCode::OK, "in maintenance\n")),
        Err(failure) => return Ok(refused(ledger, &failure, None, sends_on(&parts))),
    };
    Ok(pass(&worker, &client, &authority, &place, &mut parts, body, ledger).await)
}

/// Refuses a request. What the guard did not let through is not worth reading to its end.
fn refused(
    mut ledger: Box<Ledger>,
    failure: &Failure,
    arm: Option<&ArmRoutes>,
    sends_on: bool,
) -> Response<Reply> {
    if let (Failure::Guarded(verdict), Some(_)) = (failure, arm) {
        // Said while the body came; what was said of the head has been noted.
        ledger.note(&verdict.rule, Noted::Blocked, &verdict.reason);
    }
    let response = ledger.refuse(failure, arm);
    let unread = matches!(failure, Failure::Guarded(_)) && sends_on;
    if unread { closing(response) } else { response }
}

/// Whether a body follows the head, on a connection that has nothing else.
fn sends_on(parts: &Parts) -> bool {
    let sends = |name: &header::HeaderName| parts.headers.contains_key(name);
    parts.version != Version::HTTP_2 && [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(sends)
}

/// What the request could mean is unclear, so what follows it on the connection is too.
fn closing(mut response: Response<Reply>) -> Response<Reply> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Draws the arm, gets its answer and starts passing it on.
async fn pass(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    authority: &headers::Authority,
    place: &Place,
    parts: &mut Parts,
    body: Option<Incoming>,
    mut ledger: Box<Ledger>,
) -> Response<Reply> {
    let draw = split::draw(&place.target, &parts.headers, &worker.random, &worker.seal);
    let Some(arm) = draw.arm else {
        return ledger.refuse(&Failure::NothingStable(place.target.routes().target.clone()), None);
    };
    let user = worker.repeats.user(place.target.routes().user.as_ref(), &parts.headers);
    ledger.assign(place, arm, &draw, user);
    let watch = watched(worker, place, parts, body.as_ref(), &ledger);
    // Most have no body, and are not asked for its length.
    let sends_on = body.is_some() && sends_on(parts);
    let mut order = match order(worker, client, authority, place, arm, parts, &ledger) {
        Ok(order) => order,
        Err(failure) => return ledger.refuse(&failure, Some(arm)),
    };
    let progress = Progress::watching(watch);
    let upload = Upload::new(body, &progress);
    let bodyless = upload.is_empty();
    ledger.twin = mirror::begin(worker, place, arm, &draw, &order, &ledger, bodyless);
    let shielded = shield::of(&place.target, arm, &draw, &parts.method);
    let shielded = shielded.filter(|shielded| shielded.covers(&order, &upload));
    let mut exchanged = fetch(worker, &order, upload, &progress, &mut ledger).await;
    let failed = shielded.as_ref().and_then(|shielded| shielded.failed(&exchanged));
    let drawn = arm.revision;
    let mut replayed = failed.is_some();
    let mut arm = match (&shielded, failed) {
        (Some(shielded), Some(failed)) => {
            // Its connection goes with the first answer: what follows on it is not worth reading.
            drop(exchanged);
            exchanged = again(worker, &mut order, failed, shielded.stable, &progress, &mut ledger).await;
            shielded.stable
        }
        _ => arm,
    };
    if bodyless
        && let Some(other) = elsewhere(worker, place, arm, &mut order, &mut exchanged, &mut ledger).await
    {
        (arm, replayed) = (other, true);
    }
    if let Some((rule, reason)) = progress.overrun() {
        ledger.note(&rule, Noted::Counted, &reason);
    }
    let mut response = match exchanged {
        Ok(exchanged) if exchanged.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let on_upgrade = parts.extensions.remove();
            switch(worker, client, place, arm, &order, exchanged, on_upgrade, ledger)
        }
        // Said to a stream that asked for a WebSocket, it would mean that it has one.
        Ok(exchanged) if order.upgrade == Upgrade::Stream && exchanged.response.status().is_success() => {
            ledger.refuse(&Failure::BadAnswer, Some(arm))
        }
        Ok(exchanged) => answer(worker, place, arm, exchanged, progress, ledger),
        Err(failure) => refused(ledger, &failure, Some(arm), sends_on),
    };
    if let Some(cookie) = draw.cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if replayed {
        response.headers_mut().insert(headers::REPLAYED, HeaderValue::from(drawn.0));
    }
    response
}

/// Returns what the guard wants watched of a body that comes.
fn watched(
    worker: &Worker,
    place: &Place,
    parts: &Parts,
    body: Option<&Incoming>,
    ledger: &Ledger,
) -> Option<BodyWatch> {
    let guard = place.target.guard.as_ref().filter(|_| body.is_some_and(|body| !body.is_end_stream()))?;
    guard.body(&ledger.seen(worker, place, parts))
}

/// Takes a file that the drawn release does not have from another one, and says from which.
async fn elsewhere<'p>(
    worker: &Worker,
    place: &'p Place,
    drawn: &ArmRoutes,
    order: &mut Order<'_>,
    exchanged: &mut Result<Exchanged, Failure>,
    ledger: &mut Ledger,
) -> Option<&'p ArmRoutes> {
    let status = exchanged.as_ref().ok()?.response.status();
    let (found, other) = asset::elsewhere(worker, &place.target, drawn, order, status).await?;
    ledger.found_elsewhere(drawn.revision, other.revision, found.claim.replica());
    *exchanged = Ok(found);
    Some(other)
}

/// Sends a request that failed once more, to stable, and counts the failure.
async fn again(
    worker: &Worker,
    order: &mut Order<'_>,
    failed: Failed,
    stable: &ArmRoutes,
    progress: &Rc<Progress>,
    ledger: &mut Ledger,
) -> Result<Exchanged, Failure> {
    ledger.replay(failed, stable);
    order.revision = stable.revision;
    // Beside the request's future, not in it: few are sent again.
    Box::pin(fetch(worker, order, Upload::Empty, progress, ledger)).await
}

/// Gets an answer, and notes who was asked.
async fn fetch(
    worker: &Worker,
    order: &Order<'_>,
    upload: Upload,
    progress: &Rc<Progress>,
    ledger: &mut Ledger,
) -> Result<Exchanged, Failure> {
    exchange::exchange(worker, order, upload, progress, |claim| ledger.tried(claim.replica())).await
}

/// Makes the head that goes on; the request's headers go into it.
fn order<'r>(
    worker: &Worker,
    client: &Client,
    authority: &headers::Authority,
    place: &'r Place,
    arm: &ArmRoutes,
    parts: &mut Parts,
    ledger: &Ledger,
) -> Result<Order<'r>, Failure> {
    let upgrade = headers::asked_upgrade(parts);
    let onward = Onward {
        authority,
        request_id: &ledger.request_id,
        client,
        origin: &ledger.origin,
        trace: &ledger.trace,
        forwarded: worker.forwarded,
        upgrade,
        random: &worker.random,
    };
    let path = headers::onward_path(parts, place)?;
    let mut heads = std::mem::take(&mut parts.headers);
    headers::onward(&mut heads, &onward);
    Ok(Order {
        target: &place.target.routes().target,
        revision: arm.revision,
        method: if upgrade == Upgrade::Stream { Method::GET } else { parts.method.clone() },
        path,
        headers: heads,
        upgrade,
        is_health: place.is_health(parts.uri.path()),
    })
}

/// Passes an ordinary answer on.
fn answer(
    worker: &Rc<Worker>,
    place: &Place,
    arm: &ArmRoutes,
    exchanged: Exchanged,
    progress: Rc<Progress>,
    mut ledger: Box<Ledger>,
) -> Response<Reply> {
    let Exchanged { response, claim, lease } = exchanged;
    let (mut head, body) = response.into_parts();
    // The version belongs to the connection: an HTTP/1.0 replica must not end the client's kept connection.
    head.version = http::Version::HTTP_11;
    ledger.answered(head.status, &head.headers);
    if headers::is_event_stream(&head.headers) {
        ledger.twin = None;
        claim.lengthen(Kind::Sse, place.template.clone());
        worker.reconsider_drains();
    }
    finish_head(&mut head.headers, place, arm, &ledger, Upgrade::None);
    let encoded = head.headers.contains_key(header::CONTENT_ENCODING);
    let passed = Passed::new(body, encoded, claim, lease, worker, progress, ledger);
    Response::from_parts(head, Reply::Passed(Box::new(passed)))
}

/// Passes an upgrade on: from now on the edge only copies bytes.
#[allow(clippy::too_many_arguments, reason = "one call; a struct would only rename the arguments")]
fn switch(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    place: &Place,
    arm: &ArmRoutes,
    order: &Order<'_>,
    exchanged: Exchanged,
    on_upgrade: Option<hyper::upgrade::OnUpgrade>,
    mut ledger: Box<Ledger>,
) -> Response<Reply> {
    let Some(on_upgrade) = on_upgrade.filter(|_| order.upgrade != Upgrade::None) else {
        return ledger.refuse(&Failure::BadAnswer, Some(arm));
    };
    let Exchanged { mut response, claim, .. } = exchanged;
    claim.lengthen(Kind::WebSocket, place.template.clone());
    worker.reconsider_drains();
    let busy = match order.upgrade {
        Upgrade::Stream => Some(client.busy()),
        Upgrade::Connection | Upgrade::None => {
            client.line.pass();
            None
        }
    };
    let spoken = if headers::is_websocket(response.headers()) { Spoken::WebSocket } else { Spoken::Unknown };
    let replica = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(upgrade::splice(on_upgrade, replica, spoken, claim, busy));
    let (mut head, _) = response.into_parts();
    ledger.answered(head.status, &head.headers);
    ledger.settle(Outcome::Answered);
    finish_head(&mut head.headers, place, arm, &ledger, order.upgrade);
    if order.upgrade == Upgrade::Stream {
        head.status = StatusCode::OK;
    }
    Response::from_parts(head, Reply::own(""))
}

fn finish_head(
    headers: &mut http::HeaderMap,
    place: &Place,
    arm: &ArmRoutes,
    ledger: &Ledger,
    upgraded: Upgrade,
) {
    headers::homeward(headers, upgraded);
    headers::sign(headers, arm);
    headers.insert(headers::REQUEST_ID, ledger.request_id.clone());
    if let Some(security) = place.target.security.as_ref().filter(|_| upgraded == Upgrade::None) {
        security.write(headers, ledger.over_tls);
    }
    if place.target.routes().strip_path && place.prefix > 0 {
        headers::scope_cookies(headers, place.prefix_of(ledger.path()));
    }
}
