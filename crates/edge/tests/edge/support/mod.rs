//! Starts edges, replicas and clients for the tests, all in this process and on loopback.
//! Everything stops when it is dropped, also when a test fails.

pub mod pebble;
pub mod replica;
pub mod tls;

use bytes::Bytes;
use edge::{Edge, EdgeConfig};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// No single wait of a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An edge with its sockets and its state.
pub struct Bench {
    edge: Option<Edge>,
    pub state: tempfile::TempDir,
    pub address: SocketAddr,
    /// Clients speak TLS, with this name, when it is set.
    pub trust: Option<(TlsConnector, String)>,
    /// The supervisor's descriptors: they outlive the edge.
    pub sockets: Vec<TcpListener>,
}

impl Bench {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(adjust: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::start_on(listen(2), adjust)
    }

    /// Starts one on these sockets; its clients come to the first.
    pub fn start_on(sockets: Vec<TcpListener>, adjust: impl FnOnce(&mut EdgeConfig)) -> Self {
        let address = sockets[0].local_addr().unwrap();
        let state = tempfile::tempdir().unwrap();
        let mut bench = Self { edge: None, state, address, trust: None, sockets };
        bench.run(adjust);
        bench
    }

    /// Starts the edge again on the same sockets and state.
    pub fn run(&mut self, adjust: impl FnOnce(&mut EdgeConfig)) {
        let sockets = self.sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let mut config = EdgeConfig::new(self.state.path(), sockets);
        config.workers = 2;
        config.access_log = Some(self.log());
        config.waits.stop_idle = Duration::from_millis(50);
        config.waits.stop_drain = Duration::from_secs(5);
        adjust(&mut config);
        self.edge = Some(Edge::start(config).unwrap());
    }

    /// Asks the edge to stop and returns at once.
    pub fn stop(&self) {
        self.edge.as_ref().unwrap().stop();
    }

    /// Tells the edge that another one serves in its place.
    pub fn retire(&self) {
        self.edge.as_ref().unwrap().retire();
    }

    /// Waits until the stopped edge has ended.
    pub fn join(&mut self) {
        let edge = self.edge.take().unwrap();
        edge.stop();
        edge.join().unwrap();
    }

    pub fn log(&self) -> PathBuf {
        self.state.path().join("access.log")
    }

    /// Returns the lines of the access log.
    pub fn log_lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub async fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let stream = UnixStream::connect(self.state.path().join("edge.sock")).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let body = Full::new(Bytes::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header("host", "edge").body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// Publishes a table and expects its acknowledgement.
    pub async fn put(&self, table: Table) {
        let (status, answer) = self.try_put(table).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub async fn try_put(&self, table: Table) -> (u16, Value) {
        self.admin("PUT", "/v1/table", &table.json()).await
    }

    pub async fn state(&self) -> Value {
        self.admin("GET", "/v1/state", &Value::Null).await.1
    }

    /// Returns the sum of requests in flight, and how many of them are long.
    pub async fn in_flight(&self) -> (u64, u64) {
        let state = self.state().await;
        let rows = state["in_flight"].as_array().unwrap();
        let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum();
        (sum("requests"), sum("long"))
    }

    pub async fn until_in_flight(&self, requests: u64) {
        until(|| async { self.in_flight().await.0 == requests }).await;
    }

    pub async fn client(&self) -> Client {
        match &self.trust {
            None => Client::connect(self.address).await,
            Some((connector, name)) => {
                Client::on(tls::connect(connector, self.address, name).await.unwrap()).await
            }
        }
    }

    /// Sends one GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        self.client().await.get(path).await
    }

    /// Sends bytes and returns what comes back until the edge closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        match &self.trust {
            None => talk(TcpStream::connect(self.address).await.unwrap(), bytes).await,
            Some((connector, name)) => {
                talk(tls::connect(connector, self.address, name).await.unwrap(), bytes).await
            }
        }
    }

    /// Returns all rows of the closed seconds, waiting until `requests` were counted.
    pub async fn counted(&self, requests: u64) -> Vec<Value> {
        let records = self.seconds(requests).await;
        records.iter().flat_map(rows).cloned().collect()
    }

    /// Returns the records of the closed seconds, waiting until `requests` were counted.
    pub async fn seconds(&self, requests: u64) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (status, records) = self.admin("GET", "/v1/samples?wait_ms=0", &Value::Null).await;
            assert_eq!(status, 200, "{records}");
            let records = records.as_array().unwrap().clone();
            let counted =
                records.iter().flat_map(rows).map(|row| row["requests"].as_u64().unwrap()).sum::<u64>();
            if counted >= requests {
                return records;
            }
            assert!(tokio::time::Instant::now() < deadline, "only {counted} counted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(edge) = self.edge.take() {
            edge.stop();
            // A failing test must not wait for its hanging requests; the threads end with the process.
            if !std::thread::panicking() {
                edge.join().unwrap();
            }
        }
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn rows(record: &Value) -> &Vec<Value> {
    record["rows"].as_array().unwrap()
}

/// Sums a field over rows.
pub fn total(rows: &[Value], field: &str) -> u64 {
    rows.iter().map(|row| row[field].as_u64().unwrap_or_else(|| panic!("no {field} in {row}"))).sum()
}

/// Sums an error class over rows.
pub fn total_errors(rows: &[Value], class: &str) -> u64 {
    rows.iter().map(|row| row["errors"][class].as_u64().unwrap()).sum()
}

/// Makes listening sockets that share one port, as the supervisor does.
pub fn listen(count: usize) -> Vec<TcpListener> {
    use socket2::{Domain, Socket, Type};
    let mut address: SocketAddr = ([127, 0, 0, 1], 0).into();
    (0..count)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(4096).unwrap();
            let listener = TcpListener::from(socket);
            address = listener.local_addr().unwrap();
            listener
        })
        .collect()
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "the condition never held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Now, as tables write it.
pub fn now_ms() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Builds a table.
#[derive(Debug, Clone)]
pub struct Table {
    generation: u64,
    routes: Value,
}

impl Table {
    pub fn new(service: &str, generation: u64) -> Self {
        Self { generation, routes: json!({ "target": format!("{service}@local") }) }
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.routes[field] = value;
        self
    }

    pub fn stable(self, revision: u64, replicas: &[SocketAddr]) -> Self {
        self.with("stable", arm(revision, replicas))
    }

    pub fn candidate(self, revision: u64, weight: u8, replicas: &[SocketAddr]) -> Self {
        self.with("candidate", json!({ "arm": arm(revision, replicas), "weight": weight }))
    }

    pub fn draining(self, revision: u64, since: u64, until: u64) -> Self {
        self.with("draining", json!([{ "revision": revision, "since": since, "until": until }]))
    }

    pub fn json(&self) -> Value {
        json!({ "generation": { "epoch": 1, "seq": self.generation }, "routes": self.routes })
    }
}

pub fn arm(revision: u64, replicas: &[SocketAddr]) -> Value {
    let endpoint = |(index, address): (usize, &SocketAddr)| json!({ "replica": format!("r-{revision}-{}", index + 1), "address": address.to_string() });
    json!({
        "revision": revision,
        "release": format!("{revision:012}ffffffff"),
        "replicas": replicas.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
    })
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns what the replica says it received.
    pub fn seen(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn revision(&self) -> u64 {
        self.header("x-medeclipse-revision").parse().unwrap_or(0)
    }
}

/// A keep-alive HTTP/1.1 client.
pub struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream).await
    }

    /// Speaks over a stream that is there already.
    pub async fn on(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self { sender }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(request(path)).await.unwrap()
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Result<Answer, hyper::Error> {
        let mut request = request(path);
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        self.send(request).await
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        let sending = async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(PATIENCE, sending).await.expect("no answer in time")
    }

    /// Sends a request and returns the answer before its body.
    pub async fn open(&mut self, request: Request<Full<Bytes>>) -> http::Response<hyper::body::Incoming> {
        self.sender.ready().await.unwrap();
        tokio::time::timeout(PATIENCE, self.sender.send_request(request))
            .await
            .expect("no head in time")
            .unwrap()
    }
}

/// Returns a GET request for the host `clinic.example`.
pub fn request(path: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(path).header("host", "clinic.example").body(Full::default()).unwrap()
}

/// Returns an HTTP/2 client with prior knowledge.
pub async fn http2_client(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    http2_over(TcpStream::connect(address).await.unwrap()).await
}

/// Returns an HTTP/2 client on a stream that is there already.
pub async fn http2_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> http2::SendRequest<Full<Bytes>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
