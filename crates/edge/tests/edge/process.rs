//! The edge as a process of its own: terminated, interrupted, killed under load.

use crate::long::{echoes, is_told, websocket};
use crate::support::replica::Replica;
use crate::support::{Client, PATIENCE, Table, listen, now_ms, until};
use edge::{EdgeConfig, handover};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const STATE: &str = "EDGE_TEST_STATE";
/// Of the child; the tests that end one wait less than that, but for one.
const STOP_DRAIN: Duration = Duration::from_secs(2);

/// Not a test: what the child process runs.
#[test]
#[ignore = "run by the tests of this file in a process of its own"]
fn child() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let parent = UnixStream::connect(Path::new(&state).join("parent.sock")).unwrap();
    let mut config = EdgeConfig::new(&state, handover::receive_listeners(&parent).unwrap());
    config.workers = 2;
    config.waits.stop_drain = STOP_DRAIN;
    edge::run(config).unwrap();
}

/// An edge in a process of its own; killed when dropped.
struct Process(Child);

impl Process {
    /// Starts a child that gets its sockets from us, as from the supervisor.
    fn start(state: &Path, sockets: &[TcpListener]) -> Self {
        let path = state.join("parent.sock");
        let _ = std::fs::remove_file(&path);
        let parent = UnixListener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["process::child", "--exact", "--ignored"])
            .env(STATE, state)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self(child);
        let (stream, _) = parent.accept().unwrap();
        handover::send_listeners(&stream, sockets).unwrap();
        process
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "the edge did not end");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn put(state: &Path, table: Table) {
    use http_body_util::{BodyExt, Full};
    let path = state.join("edge.sock");
    until(|| async { tokio::net::UnixStream::connect(&path).await.is_ok() }).await;
    let stream = hyper_util::rt::TokioIo::new(tokio::net::UnixStream::connect(&path).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let body = Full::new(bytes::Bytes::from(table.json().to_string()));
    let request = http::Request::put("/v1/table").header("host", "edge").body(body).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.into_body().collect().await);
}

async fn get(address: SocketAddr) -> u16 {
    Client::connect(address).await.get("/").await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_is_left_to_the_supervisor_and_sigterm_ends_well() {
    let (state, sockets, web) = (tempfile::tempdir().unwrap(), listen(2), Replica::start("web").await);
    let address = sockets[0].local_addr().unwrap();
    let mut process = Process::start(state.path(), &sockets);
    put(state.path(), Table::new("web", 1).stable(1, &[web.address])).await;

    process.signal(rustix::process::Signal::INT);
    assert_eq!(get(address).await, 200);
    let mut busy = Client::connect(address).await;
    let waiting = tokio::spawn(async move { busy.get("/gate").await });
    until(|| async { web.requests() == 2 }).await;
    process.signal(rustix::process::Signal::TERM);
    web.open_gate();

    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(process.end().await.success());
    assert!(!state.path().join("edge.sock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o6_an_edge_that_was_replaced_keeps_its_websockets_as_long_as_somebody_follows_it() {
    let (state, sockets, web) = (tempfile::tempdir().unwrap(), listen(2), Replica::start("web").await);
    let mut process = Process::start(state.path(), &sockets);
    put(state.path(), Table::new("web", 1).stable(1, &[web.address])).await;
    let mut socket = websocket(sockets[0].local_addr().unwrap()).await;
    let own = state.path().join("edge.sock");
    std::fs::rename(&own, state.path().join("edge-old.sock")).unwrap();
    let follower = UnixListener::bind(&own).unwrap();

    process.signal(rustix::process::Signal::TERM);
    // Longer than it would drain for if nobody followed it.
    tokio::time::sleep(STOP_DRAIN + Duration::from_millis(500)).await;
    echoes(&mut socket).await;
    drop(follower);
    std::fs::remove_file(&own).unwrap();
    process.signal(rustix::process::Signal::TERM);

    is_told(&mut socket).await;
    assert!(process.end().await.success());
    assert!(!own.exists(), "a stopping edge takes no place that was its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_edge_refuses_no_connection_and_serves_again_from_its_tables() {
    let (state, sockets, web) = (tempfile::tempdir().unwrap(), listen(2), Replica::start("web").await);
    let address = sockets[0].local_addr().unwrap();
    let mut process = Process::start(state.path(), &sockets);
    put(state.path(), Table::new("web", 1).stable(1, &[web.address])).await;
    let (done, refused, good) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (done, refused, good) = (Arc::clone(&done), Arc::clone(&refused), Arc::clone(&good));
        clients.spawn(async move {
            while !done.load(SeqCst) {
                // A connection of its own for each request: requests in flight may be lost with the process, connections not.
                match tokio::net::TcpStream::connect(address).await {
                    Err(_) => drop(refused.fetch_add(1, SeqCst)),
                    Ok(stream) => {
                        let io = hyper_util::rt::TokioIo::new(stream);
                        let (mut sender, connection) =
                            hyper::client::conn::http1::handshake(io).await.unwrap();
                        tokio::spawn(connection);
                        if sender
                            .send_request(crate::support::request("/"))
                            .await
                            .is_ok_and(|answer| answer.status() == 200)
                        {
                            good.fetch_add(1, SeqCst);
                        }
                    }
                }
            }
        });
    }

    let mut gaps = Vec::new();
    for _ in 0..5 {
        let before = good.load(SeqCst);
        until(|| async { good.load(SeqCst) > before + 50 }).await;
        let killed = now_ms();
        process.signal(rustix::process::Signal::KILL);
        process.end().await;
        process = Process::start(state.path(), &sockets);
        let before = good.load(SeqCst);
        until(|| async { good.load(SeqCst) > before }).await;
        gaps.push(now_ms() - killed);
    }
    done.store(true, SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }

    println!(
        "5 kills: {} answered, {} refused, gaps in ms {gaps:?}",
        good.load(SeqCst),
        refused.load(SeqCst)
    );
    assert_eq!(refused.load(SeqCst), 0);
}
