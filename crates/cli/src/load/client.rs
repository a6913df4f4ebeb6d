//! Lives the life of one client: wait for the turn, send on the connection it has, read the answer whole, count.
//! Never sends a request a second time once a byte of it may have been written.

use super::Order;
use super::count::{Answer, Clock, Ended, Failure, Method, Shard};
use super::plan::LoadPlan;
use bytes::Bytes;
use http::{Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a client waits after it could not connect, so that it does not fill the machine with attempts.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// How far a paced load may catch up after a stall: what came late beyond this is not sent later.
const CATCH_UP: Duration = Duration::from_millis(100);

type Connection = SendRequest<Full<Bytes>>;

/// Hands out the moments at which requests may start, for all clients together.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pacer {
    pub fn new(rate_per_second: f64) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate_per_second);
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    fn take(&self) -> Instant {
        let now = Instant::now();
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(earliest);
        *next = turn + self.interval;
        turn
    }
}

/// One client.
pub(super) struct Client {
    number: usize,
    method: Method,
    plan: Arc<LoadPlan>,
    shard: Arc<Shard>,
    pacer: Option<Arc<Pacer>>,
    clock: Clock,
}

impl Client {
    /// Makes client `number` of the plan: first those that GET, then those that POST.
    pub fn new(
        number: usize,
        plan: &Arc<LoadPlan>,
        shard: &Arc<Shard>,
        pacer: &Option<Arc<Pacer>>,
        clock: Clock,
    ) -> Self {
        let method = if number < plan.get_clients { Method::Get } else { Method::Post };
        Self { number, method, plan: plan.clone(), shard: shard.clone(), pacer: pacer.clone(), clock }
    }

    /// Sends one request after the other until told to stop.
    pub async fn live(self, mut orders: watch::Receiver<Order>) {
        let mut connection = None;
        let mut sent = 0;
        while self.turn(&mut orders).await {
            connection = self.exchange(connection, sent).await;
            sent += 1;
        }
    }

    /// Waits until this client may send; false when it shall end.
    async fn turn(&self, orders: &mut watch::Receiver<Order>) -> bool {
        if *orders.borrow() != Order::Run {
            return false;
        }
        let Some(pacer) = &self.pacer else {
            // A client on a fast loopback never waits by itself; its neighbours must get their turn.
            tokio::task::yield_now().await;
            return true;
        };
        tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order != Order::Run) => false,
            () = sleep_until(pacer.take()) => true,
        }
    }

    /// Sends one request, counts how it ended, and returns the connection if it can be used again.
    async fn exchange(&self, kept: Option<Connection>, sent: u64) -> Option<Connection> {
        let mut start_us = self.clock.now_us();
        self.shard.begun();
        let attempt = self.attempt(kept, self.request(sent), &mut start_us);
        let (answer, connection) = match timeout(self.plan.deadline, attempt).await {
            Ok(Ok((answer, connection))) => (Ok(answer), connection),
            Ok(Err(failure)) => (Err(failure), None),
            Err(_) => (Err(Failure::Timeout), None),
        };
        let refused = matches!(answer, Err(Failure::ConnectRefused | Failure::Connect));
        if answer.is_err() && !refused {
            self.shard.connection(|connections| connections.lost_busy += 1);
        }
        let end_us = self.clock.now_us();
        self.shard.ended(&Ended { method: self.method, start_us, end_us, answer });
        if refused {
            sleep(REFUSED_PAUSE).await;
        }
        connection
    }

    async fn attempt(
        &self,
        kept: Option<Connection>,
        request: Request<Full<Bytes>>,
        start_us: &mut u64,
    ) -> Result<(Answer, Option<Connection>), Failure> {
        let mut request = request;
        if let Some(mut connection) = self.still_open(kept).await {
            *start_us = self.clock.now_us();
            match connection.try_send_request(request).await {
                Ok(response) => return self.read(response, connection).await,
                Err(mut error) => match error.take_message() {
                    // The connection ended before a byte was written, so this is the first time it is sent.
                    Some(unsent) => {
                        self.shard.connection(|connections| connections.lost_idle += 1);
                        request = unsent;
                    }
                    None => return Err(classify(error.error())),
                },
            }
        }
        *start_us = self.clock.now_us();
        let mut connection = self.connect().await?;
        *start_us = self.clock.now_us();
        let response = connection.send_request(request).await.map_err(|error| classify(&error))?;
        self.read(response, connection).await
    }

    /// Returns the kept connection unless the server has ended it since.
    async fn still_open(&self, kept: Option<Connection>) -> Option<Connection> {
        let mut connection = kept?;
        if connection.ready().await.is_ok() {
            return Some(connection);
        }
        self.shard.connection(|connections| connections.lost_idle += 1);
        None
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.plan.address).await.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => Failure::ConnectRefused,
            _ => Failure::Connect,
        })?;
        stream.set_nodelay(true).map_err(|_| Failure::Reset)?;
        self.shard.connection(|connections| connections.opened += 1);
        let (connection, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| classify(&error))?;
        // What ends the driver reaches the request in flight; without one it shows at the next use.
        tokio::spawn(async { driver.await.unwrap_or(()) });
        Ok(connection)
    }

    /// Reads the answer to its end, keeping nothing of the body.
    async fn read(
        &self,
        response: Response<Incoming>,
        connection: Connection,
    ) -> Result<(Answer, Option<Connection>), Failure> {
        let (head, mut body) = response.into_parts();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| classify(&error))?;
        }
        let answer = Answer {
            status: head.status.as_u16(),
            release: head.headers.get("x-medeclipse-release").cloned(),
            version: head.headers.get("x-clinic-version").cloned(),
            replayed: head.headers.contains_key("x-medeclipse-replayed"),
        };
        if closes(head.version, &head.headers) {
            self.shard.connection(|connections| connections.closed_politely += 1);
            return Ok((answer, None));
        }
        Ok((answer, Some(connection)))
    }

    fn request(&self, sent: u64) -> Request<Full<Bytes>> {
        // Numbers of different clients differ as long as none sends more than 2^32 requests.
        let number = ((self.number as u64) << 32) | sent;
        let (method, paths) = match self.method {
            Method::Get => ("GET", &self.plan.get_paths),
            Method::Post => ("POST", &self.plan.post_paths),
        };
        let path = &paths[(self.number + sent as usize) % paths.len()];
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.plan.host);
        for (name, value) in &self.plan.headers {
            request = request.header(name, value);
        }
        let body = match self.method {
            Method::Get => Full::default(),
            Method::Post => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Full::new((self.plan.body)(number))
            }
        };
        request.body(body).expect("BUG: a plan that was checked makes a bad request")
    }
}

/// Says whether the server ends the connection after this answer.
fn closes(version: Version, headers: &http::HeaderMap) -> bool {
    let says = |wanted: &str| {
        headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    says("close") || (version == Version::HTTP_10 && !says("keep-alive"))
}

/// Finds the class of a broken exchange from hyper's error and what lies under it.
fn classify(error: &hyper::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(here) = cause {
        if let Some(io) = here.downcast_ref::<io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                    return Failure::Reset;
                }
                ErrorKind::UnexpectedEof => return Failure::Eof,
                _ => {}
            }
        }
        cause = here.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::Eof;
    }
    Failure::Protocol
}
