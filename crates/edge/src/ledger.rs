//! Keeps the account of one request: counted once and logged once, in the moment its outcome is known.
//! A request dropped without an outcome is one whose client went away (499): logged, never an error.

use crate::access_log::Entry;
use crate::body::Reply;
use crate::claim::Replica;
use crate::client::Client;
use crate::clock;
use crate::config::Forwarded;
use crate::count::{Ending, Subject};
use crate::failure::{Column, Failure};
use crate::grpc;
use crate::guard::trace::Trace;
use crate::guard::{Noted, Origin, Reason, Seen};
use crate::headers::{self, Authority};
use crate::mirror::Twin;
use crate::redact;
use crate::route::{ArmRoutes, Place};
use crate::shield::Failed;
use crate::split::Draw;
use crate::worker::Worker;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use meter::wire::FailingRequest;
use rollout::names::{Millis, Revision};
use rollout::pages::Pages;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Copy)]
pub(crate) enum Outcome {
    /// The replica's answer was passed on to its end.
    Answered,
    /// A long connection was ended by the policy of its target.
    Ended,
    /// The replica broke off its answer.
    EarlyEof,
    /// The answer was cut because its revision was drained.
    Drained,
    /// The answer was cut because the replica fell silent.
    Silent,
    /// The client broke the framing of its body while the answer came.
    BadBody,
    /// The client went away while it still sent its body.
    Gone,
    /// The guard ended the body while the answer came.
    Guarded,
}

/// What a gRPC answer says of itself besides its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grpc {
    /// It is not gRPC.
    No,
    /// Its trailers will say.
    Unfinished,
    Failed,
}

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // The names of rules are names of the manifest; a table from elsewhere may say less.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The account of one request.
pub(crate) struct Ledger {
    worker: Rc<Worker>,
    client: Rc<Client>,
    started: Instant,
    time: Millis,
    pub(crate) request_id: HeaderValue,
    pub(crate) trace: Trace,
    /// Whose request it is; its peer until its target is known.
    pub(crate) origin: Origin,
    pub(crate) over_tls: bool,
    /// The target that was found, also when no arm was drawn.
    target: Option<Arc<str>>,
    guard: Option<(Arc<str>, Noted)>,
    /// The pages of the target, where the client reads HTML.
    pages: Option<Arc<Pages>>,
    logged: bool,
    method: http::Method,
    uri: http::Uri,
    subject: Option<Subject>,
    /// The number of the user where the table tells users apart.
    user: Option<u64>,
    replica: Option<Arc<Replica>>,
    /// The release it failed on before it was sent to stable, and the one it was sent to.
    replayed: Option<(Revision, Revision)>,
    /// Zero until the answer's head is known.
    status: u16,
    head_after: Option<Duration>,
    grpc: Grpc,
    bytes: u64,
    /// Wants to know what the user got.
    pub(crate) twin: Option<Box<Twin>>,
    settled: bool,
}

impl Ledger {
    /// Returns it beside the request's future, which is moved about.
    pub(crate) fn open(worker: &Rc<Worker>, client: &Rc<Client>, parts: &Parts) -> Box<Self> {
        Box::new(Self {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            started: Instant::now(),
            time: clock::now(),
            request_id: headers::new_request_id(&worker.random),
            trace: Trace::of(&parts.headers, &worker.random),
            origin: Origin::direct(client.peer.ip()),
            over_tls: client.scheme == "https",
            target: None,
            guard: None,
            pages: None,
            logged: true,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            subject: None,
            user: None,
            replica: None,
            replayed: None,
            status: 0,
            head_after: None,
            grpc: Grpc::No,
            bytes: 0,
            twin: None,
            settled: false,
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// Notes where the request goes, finds whose it is, and asks the target's guard.
    pub(crate) fn arrive(&mut self, place: &Place, parts: &Parts) -> Result<(), Failure> {
        let target = &place.target;
        self.target = Some(Arc::clone(&target.name));
        self.logged = target.routes().access_log;
        self.pages = target.pages.as_ref().filter(|_| headers::reads_html(&parts.headers)).cloned();
        if let Some(guard) = &target.guard {
            self.origin = guard.origin(self.client.peer.ip(), &parts.headers);
        }
        if self.origin.proxied || self.worker.forwarded == Forwarded::Believed {
            self.over_tls |= headers::came_over_tls(&parts.headers);
            if let Some(given) = headers::given_request_id(&parts.headers) {
                self.request_id = given;
            }
        }
        let Some(guard) = &target.guard else { return Ok(()) };
        let worker = Rc::clone(&self.worker);
        let seen = self.seen(&worker, place, parts);
        let verdict = guard.look(&seen, |rule, noted, reason| self.note(rule, noted, reason));
        verdict.map_or(Ok(()), |verdict| Err(Failure::Guarded(Box::new(verdict))))
    }

    /// Returns the request as the guard's rules see it.
    pub(crate) fn seen<'r>(&self, worker: &'r Worker, place: &Place, parts: &'r Parts) -> Seen<'r> {
        Seen::new(parts, self.origin.client, place.template.clone(), &worker.buckets, self.started)
    }

    /// Counts what a rule of the guard said.
    pub(crate) fn note(&mut self, rule: &Arc<str>, noted: Noted, reason: &Reason) {
        let Some(target) = &self.target else { return };
        let example = || FailingRequest {
            target: target.to_string(),
            at_ms: self.time.0,
            method: redact::method(&self.method).to_owned(),
            path: redact::path(self.uri.path()),
            parameters: redact::parameters(self.uri.query()),
            status: reason.status(),
            class: reason.class().to_owned(),
            ..FailingRequest::default()
        };
        self.worker.shard.guard.note(target, rule, noted, self.worker.random.next(), example);
        if noted != Noted::Unknown {
            self.guard = Some((Arc::clone(rule), noted));
        }
    }

    /// Notes which arm was drawn; from now on the request is counted.
    pub(crate) fn assign(&mut self, place: &Place, arm: &ArmRoutes, draw: &Draw<'_>, user: Option<u64>) {
        self.user = user;
        self.subject = Some(Subject {
            target: Arc::clone(&place.target.name),
            revision: arm.revision,
            replica: None,
            bucket: draw.bucket,
            allowed: draw.allowed,
            route: place.template.clone(),
        });
    }

    /// Notes the replica that is tried.
    pub(crate) fn tried(&mut self, replica: &Arc<Replica>) {
        self.replica = Some(Arc::clone(replica));
    }

    /// Counts the first try of a request that is sent again: against the release it failed on. Its second try is in no count.
    pub(crate) fn replay(&mut self, failed: Failed, stable: &ArmRoutes) {
        let Some(mut subject) = self.subject.take() else { return };
        subject.replica = self.replica.take();
        self.replayed = Some((subject.revision, stable.revision));
        self.status = failed.status;
        self.count(&subject, Some(failed.column), failed.class);
        self.status = 0;
    }

    /// Notes that another release had the file that the drawn one has not: neither of them is at fault, and none is counted.
    pub(crate) fn found_elsewhere(&mut self, drawn: Revision, by: Revision, replica: &Arc<Replica>) {
        self.subject = None;
        self.replayed = Some((drawn, by));
        self.replica = Some(Arc::clone(replica));
    }

    /// Notes the head of the replica's answer.
    pub(crate) fn answered(&mut self, status: StatusCode, head: &HeaderMap) {
        self.status = status.as_u16();
        self.head_after = Some(self.started.elapsed());
        if grpc::is_grpc(head) {
            self.grpc = if grpc::has_failed(head) { Grpc::Failed } else { Grpc::Unfinished };
        }
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc != Grpc::No
    }

    /// Notes the trailers of the replica's answer.
    pub(crate) fn ended_with(&mut self, trailers: &HeaderMap) {
        if self.grpc == Grpc::Unfinished && grpc::has_failed(trailers) {
            self.grpc = Grpc::Failed;
        }
    }

    /// Notes a piece of the answer's body.
    pub(crate) fn passed(&mut self, data: &Bytes) {
        self.bytes += data.len() as u64;
        if let Some(twin) = &mut self.twin {
            twin.read(data);
        }
    }

    /// Closes the account of an answer that was passed on.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        let twin = self.twin.take().filter(|_| outcome == Outcome::Answered && self.replayed.is_none());
        if let (Some(twin), Some(took)) = (twin, self.head_after) {
            twin.tell(self.status, took);
        }
        let status_column = Column::of_status(self.status);
        let (column, error) = match outcome {
            Outcome::Answered | Outcome::Ended if self.grpc == Grpc::Failed => {
                (Some(Column::Status), Some("grpc"))
            }
            Outcome::Answered | Outcome::Ended => (status_column, None),
            // A request is in one class at most: what the status says already is not said twice.
            Outcome::EarlyEof if self.status >= 500 => (status_column, Some("early_eof")),
            Outcome::EarlyEof => (Some(Column::EarlyEof), Some("early_eof")),
            Outcome::Drained if self.status >= 500 => (status_column, Some("drained")),
            Outcome::Drained => (Some(Column::Timeout), Some("drained")),
            Outcome::Silent if self.status >= 500 => (status_column, Some("timeout")),
            Outcome::Silent => (Some(Column::Timeout), Some("timeout")),
            Outcome::BadBody => (Some(Column::ClientError), Some("bad_body")),
            Outcome::Gone => (Some(Column::ClientAbort), Some("client_gone")),
            Outcome::Guarded => {
                self.subject = None;
                (Some(Column::ClientError), Some("body_too_large"))
            }
        };
        self.close(column, error);
    }

    /// Closes the account of a request the edge answers itself, with what is counted as success.
    pub(crate) fn reply(mut self, status: StatusCode, text: impl Into<Bytes>) -> Response<Reply> {
        let text = text.into();
        self.status = status.as_u16();
        self.bytes = text.len() as u64;
        let mut response = Response::new(Reply::own(text));
        *response.status_mut() = status;
        response.headers_mut().insert(headers::REQUEST_ID, self.request_id.clone());
        self.close(None, None);
        response
    }

    /// Sends the client to the same address with TLS. 308: whatever the method, it stays the same.
    pub(crate) fn redirect(self, authority: &Authority, port: u16, uri: &http::Uri) -> Response<Reply> {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let location = HeaderValue::try_from(format!("https://{}{port}{path}", authority.host));
        let Ok(location) = location else {
            return self.refuse(&Failure::BadRequest("its path cannot be redirected"), None);
        };
        let mut response = self.reply(StatusCode::PERMANENT_REDIRECT, "this address is served with TLS\n");
        response.headers_mut().insert(header::LOCATION, location);
        response
    }

    /// Closes the account of a failed request and writes the answer.
    pub(crate) fn refuse(mut self, failure: &Failure, arm: Option<&ArmRoutes>) -> Response<Reply> {
        let mapped = failure.map();
        self.status = mapped.status;
        let page = self.pages.as_ref().and_then(|pages| failure.page(pages));
        let is_page = page.is_some();
        let text = page.map_or_else(|| mapped.text(), |page| self.filled(page));
        self.bytes = text.len() as u64;
        let mut response = Response::new(Reply::own(text));
        // 499 is for logs: nobody is there to read it.
        *response.status_mut() = StatusCode::from_u16(mapped.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let answer = response.headers_mut();
        let kind = if is_page { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.insert(headers::ERROR, HeaderValue::from_static(mapped.class));
        answer.insert(headers::REQUEST_ID, self.request_id.clone());
        if let Some(seconds) = mapped.retry_after_seconds {
            answer.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Failure::Guarded(verdict) = failure {
            // What the guard refused speaks neither for a release nor against it.
            self.subject = None;
            if let Some((policy, state)) = verdict.reason.rate_limit(&verdict.rule) {
                insert(answer, RATE_LIMIT_POLICY, policy);
                insert(answer, RATE_LIMIT, state);
            }
        }
        if let Some(arm) = arm {
            headers::sign(answer, arm);
        }
        self.close(Some(mapped.column), Some(mapped.class));
        response
    }

    /// Fills in what a page may say of the request.
    fn filled(&self, page: &str) -> String {
        let id = self.request_id.to_str().unwrap_or_default();
        page.replace("{status}", &self.status.to_string()).replace("{request_id}", id)
    }

    fn close(&mut self, column: Option<Column>, error: Option<&'static str>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if let Some(subject) = &mut self.subject {
            subject.replica.clone_from(&self.replica);
        }
        if let Some(subject) = &self.subject {
            self.count(subject, column, error);
        }
        if let Some(log) = self.worker.access_log.as_ref().filter(|_| self.logged) {
            log.write(self.entry(error));
        }
    }

    /// Returns the template of the request's route.
    pub(crate) fn route(&self) -> Option<&Arc<str>> {
        self.subject.as_ref().and_then(|subject| subject.route.as_ref())
    }

    /// Returns what may be told of the request's path: its route's template, or the path with what may name a person hidden.
    pub(crate) fn endpoint(&self, route: Option<&str>) -> String {
        route.map_or_else(|| redact::path(self.uri.path()), str::to_owned)
    }

    fn count(&self, subject: &Subject, column: Option<Column>, error: Option<&'static str>) {
        let answered = column != Some(Column::ClientAbort);
        let Some(failed) = column.filter(|column| column.is_error()) else {
            let latency_ms = self.head_after.filter(|_| answered).map(|after| after.as_secs_f64() * 1e3);
            return self.worker.shard.count(subject, Ending { column, latency_ms, ..Ending::default() });
        };
        let endpoint = || self.endpoint(subject.route.as_deref());
        let repeated = self.user.is_some_and(|user| {
            self.worker.repeats.note(user, subject, (self.method.as_str(), &endpoint()), Instant::now())
        });
        self.worker
            .shard
            .count(subject, Ending { column, repeated, replayed: self.replayed.is_some(), latency_ms: None });
        // What the allow list met is not judged, so it is no sample of what was.
        if subject.allowed {
            return;
        }
        self.worker.shard.sample(subject, self.worker.random.next(), || FailingRequest {
            target: subject.target.to_string(),
            revision: subject.revision.0,
            replica: subject.replica.as_ref().map(|replica| replica.name.to_string()).unwrap_or_default(),
            at_ms: self.time.0,
            method: redact::method(&self.method).to_owned(),
            path: endpoint(),
            parameters: redact::parameters(self.uri.query()),
            status: self.status,
            class: error.unwrap_or(failed.class()).to_owned(),
            latency_ms: (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
        });
    }

    fn entry(&self, error: Option<&'static str>) -> Entry {
        Entry {
            time: self.time,
            request_id: self.request_id.clone(),
            trace: self.trace.id(),
            span: self.trace.span(),
            target: self.target.clone(),
            revision: self
                .subject
                .as_ref()
                .map(|subject| subject.revision)
                .or(self.replayed.map(|(_, to)| to))
                .map(|revision| revision.0),
            replayed: self.replayed.map(|(from, _)| from.0),
            replica: self.replica.clone(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            status: self.status,
            error,
            bytes: self.bytes,
            head_after: self.head_after,
            duration: self.started.elapsed(),
            guard: self.guard.clone(),
            client: self.origin.client,
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if !self.settled {
            let gone = Failure::ClientGone.map();
            self.status = gone.status;
            self.close(Some(gone.column), Some(gone.class));
        }
        self.client.line.end();
    }
}
