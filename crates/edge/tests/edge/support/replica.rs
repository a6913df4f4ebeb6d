//! Plays a replica: answers what it received, and misbehaves on demand.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

type Body = BoxBody<Bytes, std::io::Error>;

/// A replica on a port of its own; gone when dropped.
///
/// | path | does |
/// |---|---|
/// | `/gate` | answers when the gate opens |
/// | `/late` | sends the head and the first bytes, the rest when the gate opens |
/// | `/status/503`, and under it | answers with this status |
/// | `/sse` | sends one event, then whatever is told |
/// | `/ws` | upgrades and sends back what it receives |
/// | `/grpc/14` | answers 200 with this gRPC status in its head |
/// | `/grpc-late/14` | the same in its trailers |
/// | `/grpc-open` | sends one message of gRPC, the rest when the gate opens |
/// | `/reset`, and under it | closes the connection without an answer |
/// | `/short` | promises 100 bytes and sends 10 |
/// | `/echo` | sends the body back frame by frame, trailers too |
/// | `/on/NAME/path` | does what `/path` says when this is its name, else describes the request |
/// | `/plain` | answers `plain`, whoever asks |
/// | `/name` | answers its name |
/// | `/count` | answers how many requests have reached it |
/// | `/flood` | sends 64 MiB, and counts what it has sent |
/// | others | answers a JSON description of the request |
pub struct Replica {
    pub address: SocketAddr,
    gate: watch::Sender<bool>,
    events: broadcast::Sender<String>,
    requests: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// What a replica speaks.
#[derive(Debug, Clone, Copy)]
pub enum Speaks {
    /// HTTP/1.1; closes connections idle for this long.
    Http1(Option<Duration>),
    /// HTTP/2 without TLS; this many streams on a connection.
    Http2(u32),
}

#[derive(Clone)]
struct Shared {
    name: String,
    gate: watch::Receiver<bool>,
    events: broadcast::Sender<String>,
    requests: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

impl Replica {
    pub async fn start(name: &str) -> Self {
        Self::start_on(name, ([127, 0, 0, 1], 0).into(), Speaks::Http1(None)).await
    }

    /// Starts a replica that closes connections idle for this long.
    pub async fn impatient(name: &str, idle: Duration) -> Self {
        Self::start_on(name, ([127, 0, 0, 1], 0).into(), Speaks::Http1(Some(idle))).await
    }

    /// Starts a replica that speaks HTTP/2 without TLS.
    pub async fn http2(name: &str, streams: u32) -> Self {
        Self::start_on(name, ([127, 0, 0, 1], 0).into(), Speaks::Http2(streams)).await
    }

    pub async fn start_on(name: &str, address: SocketAddr, speaks: Speaks) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, opened) = watch::channel(false);
        let (events, _) = broadcast::channel(64);
        let (requests, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = Shared {
            name: name.to_owned(),
            gate: opened,
            events: events.clone(),
            requests: Arc::clone(&requests),
            sent: Arc::default(),
        };
        let sent = Arc::clone(&shared.sent);
        let accepted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, SeqCst);
                serving.spawn(serve(stream, shared.clone(), speaks));
            }
        });
        Self { address, gate, events, requests, connections, sent, task }
    }

    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub fn send_event(&self, text: &str) {
        self.events.send(text.to_owned()).unwrap();
    }

    /// Returns how many requests have reached it.
    pub fn requests(&self) -> u64 {
        self.requests.load(SeqCst)
    }

    /// Returns how many bytes of a flood it has sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(SeqCst)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Aborting the task drops the listener and, with the set, every connection: what a kill -9 does.
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, shared: Shared, speaks: Speaks) {
    stream.set_nodelay(true).unwrap();
    let idle = match speaks {
        Speaks::Http1(idle) => idle,
        Speaks::Http2(streams) => {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { answer(request, &shared).await }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // How it ends is seen by whoever is at the other end.
            let _ =
                builder.max_concurrent_streams(streams).serve_connection(TokioIo::new(stream), service).await;
            return;
        }
    };
    let busy = Arc::new(watch::channel(0u64).0);
    let counter = Arc::clone(&busy);
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, counter) = (shared.clone(), Arc::clone(&counter));
        async move {
            counter.send_modify(|count| *count += 1);
            let answer = answer(request, &shared).await;
            counter.send_modify(|count| *count += 1);
            answer
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut watching = busy.subscribe();
    let silence = async {
        let Some(idle) = idle else { return std::future::pending().await };
        // An even count means that no request is being answered.
        loop {
            let even = watching.borrow_and_update().is_multiple_of(2);
            match tokio::time::timeout(idle, watching.changed()).await {
                Err(_) if even => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        _ = connection => {}
        () = silence => {}
    }
}

async fn answer(mut request: Request<Incoming>, shared: &Shared) -> Result<Response<Body>, std::io::Error> {
    shared.requests.fetch_add(1, SeqCst);
    let path = told(request.uri().path(), &shared.name).to_owned();
    let mut gate = shared.gate.clone();
    match path.as_str() {
        reset if reset.starts_with("/reset") => return Err(std::io::Error::other("told to break")),
        "/sse" => return Ok(event_stream(shared)),
        "/ws" => return Ok(upgrade(&mut request)),
        "/grpc-open" => return Ok(grpc_open(gate)),
        grpc if grpc.starts_with("/grpc") => return Ok(grpc_answer(grpc)),
        "/echo" => return Ok(Response::new(request.into_body().map_err(std::io::Error::other).boxed())),
        "/plain" => return Ok(Response::new(full("plain".to_owned()))),
        "/name" => return Ok(Response::new(full(shared.name.clone()))),
        "/count" => return Ok(Response::new(full(shared.requests.load(SeqCst).to_string()))),
        "/flood" => return Ok(flood(shared)),
        "/late" => return Ok(late(gate)),
        "/short" => return Ok(short()),
        "/gate" => drop(gate.wait_for(|open| *open).await.unwrap()),
        _ => {}
    }
    let (head, body) = request.into_parts();
    let received = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let text = json!({
        "name": shared.name,
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "headers": headers(&head.headers),
        "body": String::from_utf8_lossy(&received),
    });
    let mut response = Response::new(full(text.to_string()));
    if let Some(status) = path.strip_prefix("/status/") {
        *response.status_mut() = status
            .split('/')
            .next()
            .and_then(|code| code.parse::<u16>().ok())
            .and_then(|code| http::StatusCode::from_u16(code).ok())
            .unwrap();
    }
    response.headers_mut().insert("set-cookie", "app=1; Path=/".parse().unwrap());
    response.headers_mut().insert("x-medeclipse-release", "forged".parse().unwrap());
    Ok(response)
}

/// Returns what this replica is told to do; the others of its service are told to be well.
fn told<'p>(path: &'p str, name: &str) -> &'p str {
    let Some(rest) = path.strip_prefix("/on/") else { return path };
    let (named, _) = rest.split_once('/').unwrap();
    if named == name { &rest[named.len()..] } else { "/" }
}

fn grpc_answer(path: &str) -> Response<Body> {
    let (kind, status) = path.rsplit_once('/').unwrap();
    let response = Response::builder().header("content-type", "application/grpc");
    if kind == "/grpc" {
        return response.header("grpc-status", status).body(full(String::new())).unwrap();
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
    let frames = [Ok(Frame::data(Bytes::from_static(b"message"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    response.header("trailer", "grpc-status").body(BodyExt::boxed(body)).unwrap()
}

fn grpc_open(gate: watch::Receiver<bool>) -> Response<Body> {
    let mut response = late(gate);
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

fn headers(headers: &HeaderMap) -> Value {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        all.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    json!(all)
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed()
}

fn late(gate: watch::Receiver<bool>) -> Response<Body> {
    let stream = futures_util::stream::unfold((0, gate), |(step, mut gate)| async move {
        let text = match step {
            0 => "first ",
            1 => {
                gate.wait_for(|open| *open).await.ok()?;
                "last"
            }
            _ => return None,
        };
        Some((Ok(Frame::data(Bytes::from(text))), (step + 1, gate)))
    });
    Response::new(BodyExt::boxed(StreamBody::new(std::pin::Pin::from(Box::new(stream) as Box<dyn Frames>))))
}

/// Pieces of a flood, and its size.
const PIECE: usize = 64 * 1024;
pub const FLOOD: u64 = 64 << 20;

fn flood(shared: &Shared) -> Response<Body> {
    let sent = Arc::clone(&shared.sent);
    let stream = futures_util::stream::unfold(sent, |sent| async move {
        let before = sent.fetch_add(PIECE as u64, SeqCst);
        (before < FLOOD).then(|| (Ok(Frame::data(Bytes::from_static(&[0; PIECE]))), sent))
    });
    Response::new(BodyExt::boxed(StreamBody::new(std::pin::Pin::from(Box::new(stream) as Box<dyn Frames>))))
}

fn short() -> Response<Body> {
    let stream = futures_util::stream::unfold(0, |step| async move {
        // What was given before a pause is written before the break.
        tokio::task::yield_now().await;
        let frame = match step {
            0 => Ok(Frame::data(Bytes::from_static(b"0123456789"))),
            _ => Err(std::io::Error::other("broken")),
        };
        Some((frame, step + 1))
    });
    let body = BodyExt::boxed(StreamBody::new(std::pin::Pin::from(Box::new(stream) as Box<dyn Frames>)));
    Response::builder().header("content-length", 100).body(body).unwrap()
}

trait Frames: futures_util::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync {}
impl<S: futures_util::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync> Frames for S {}

fn event_stream(shared: &Shared) -> Response<Body> {
    let events = shared.events.subscribe();
    let stream =
        futures_util::stream::unfold((Some("hello".to_owned()), events), |(first, mut events)| async move {
            let text = match first {
                Some(text) => text,
                None => events.recv().await.ok()?,
            };
            Some((Ok(Frame::data(Bytes::from(format!("data: {text}\n\n")))), (None, events)))
        });
    let body = BodyExt::boxed(StreamBody::new(std::pin::Pin::from(Box::new(stream) as Box<dyn Frames>)));
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

fn upgrade(request: &mut Request<Incoming>) -> Response<Body> {
    let upgrading = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrading.await.unwrap());
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    let response =
        Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    response.body(full(String::new())).unwrap()
}
