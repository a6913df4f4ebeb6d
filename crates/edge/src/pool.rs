//! Keeps idle connections to replicas, one pool per worker, and hands out only those a request may safely go on; lends them to
//! hyper for what `direct` does not send. Refuses a stale one: for a request that cannot be repeated, it asks the kernel (`recv`
//! with `MSG_PEEK`) right before use. See libraries.md, A.7, for why hyper-util's pool is not taken.

use crate::body::Upload;
use crate::claim::Replica;
use crate::limits;
use crate::multiplex::{Lines, Seat};
use crate::wire::{Wire, WireIo};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Which idle connections a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any: the request can be repeated if the connection turns out closed.
    Any,
    /// One used a moment ago and not readable: the request can never be repeated.
    Recent,
    /// None: the last one was stale.
    Never,
}

/// What a request is sent with.
pub(crate) enum Sender {
    /// A connection of its own, on which `direct` asks.
    Direct,
    /// A connection of its own, lent to hyper for this request.
    Hyper(Lent),
    /// A stream beside others.
    Http2(Seat),
}

/// hyper's end of a connection, and the task that serves it.
pub(crate) struct Lent {
    pub(crate) sender: SendRequest<Upload>,
    task: AbortHandle,
}

/// A connection to a replica, or a stream of one, for one request.
pub(crate) struct Lease {
    pub(crate) sender: Sender,
    pub(crate) wire: Arc<Wire>,
    /// Whether it has carried a request before.
    pub(crate) used: bool,
}

impl Lease {
    /// Lends a connection to hyper, which sends what is no plain request.
    pub(crate) async fn lend(self) -> io::Result<Self> {
        let io = TokioIo::new(WireIo(Arc::clone(&self.wire)));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(limits::UPSTREAM_BUFFER);
        let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
        // Its errors reach whoever waits for the answer.
        let serving = tokio::task::spawn_local(connection.with_upgrades());
        Ok(Self { sender: Sender::Hyper(Lent { sender, task: serving.abort_handle() }), ..self })
    }
}

/// Connects to a replica that speaks HTTP/1.1.
pub(crate) async fn connect(replica: &Replica, limit: Duration) -> io::Result<Lease> {
    let wire = tokio::time::timeout(limit, wire(replica)).await??;
    Ok(Lease { sender: Sender::Direct, wire, used: false })
}

/// Opens a socket to a replica.
pub(crate) async fn wire(replica: &Replica) -> io::Result<Arc<Wire>> {
    let stream = TcpStream::connect(replica.address).await?;
    stream.set_nodelay(true)?;
    Ok(Wire::new(stream))
}

struct Idle {
    wire: Arc<Wire>,
    since: Instant,
}

/// The idle connections of one worker, the last used on top.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<BTreeMap<u64, Vec<Idle>>>,
    /// Connections that carry several requests at a time.
    pub(crate) lines: Lines,
}

impl Pool {
    /// Takes a connection the request may go on.
    pub(crate) fn take(&self, replica: u64, reuse: Reuse, now: Instant) -> Option<Lease> {
        if reuse == Reuse::Never {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(&replica)?;
        while let Some(Idle { wire, since }) = stack.pop() {
            let age = now.saturating_duration_since(since);
            if reuse == Reuse::Recent && age >= limits::UPSTREAM_IDLE_UNSAFE {
                // Everything below is older. This one may still serve a request that can be repeated.
                stack.push(Idle { wire, since });
                return None;
            }
            let quiet = if reuse == Reuse::Any { wire.looks_quiet() } else { wire.is_quiet() };
            if age < limits::UPSTREAM_IDLE && quiet {
                return Some(Lease { sender: Sender::Direct, wire, used: true });
            }
        }
        None
    }

    /// Takes a connection back after its answer has ended; one that was lent, once hyper has seen that end too.
    pub(crate) fn put(self: &Rc<Self>, replica: u64, lease: Lease) {
        let mut lent = match lease.sender {
            Sender::Direct => return self.keep(replica, lease.wire),
            Sender::Hyper(lent) => lent,
            Sender::Http2(_) => return,
        };
        if lent.sender.is_ready() {
            // hyper would close the connection it has nobody to serve on.
            lent.task.abort();
            self.keep(replica, lease.wire);
        } else if !lent.sender.is_closed() {
            let pool = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let settled = tokio::time::timeout(limits::UPSTREAM_SETTLE, lent.sender.ready()).await;
                if matches!(settled, Ok(Ok(()))) {
                    lent.task.abort();
                    pool.keep(replica, lease.wire);
                }
            });
        }
    }

    fn keep(&self, replica: u64, wire: Arc<Wire>) {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.entry(replica).or_default();
        if stack.len() >= limits::UPSTREAM_IDLE_CONNECTIONS {
            stack.remove(0);
        }
        stack.push(Idle { wire, since: Instant::now() });
    }

    /// Closes the idle connections to replicas that take no new requests, so that these can end.
    pub(crate) fn retain(&self, serving: &HashSet<u64>) {
        self.idle.borrow_mut().retain(|replica, _| serving.contains(replica));
        self.lines.retain(serving);
    }

    /// Closes the connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        self.lines.sweep();
        self.idle.borrow_mut().retain(|_, stack| {
            stack.retain(|idle| idle.since.elapsed() < limits::UPSTREAM_IDLE && idle.wire.looks_quiet());
            !stack.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Registry;
    use rollout::names::{ReplicaId, Revision, Target};
    use rollout::release::Protocol;
    use rollout::routes::Endpoint;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream as Peer};

    /// Runs a check on a pool with one connection at rest, and its replica's end.
    /// The check does not wait, so nothing can be noticed of what the replica does: the moment this pool is made for.
    fn at_rest(check: impl FnOnce(&Rc<Pool>, Peer)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint { replica: ReplicaId::new("r"), address: listener.local_addr().unwrap() };
        let replica = Registry::default().replica(
            &Target::new("web", "local"),
            Revision(1),
            Protocol::Http1,
            &endpoint,
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let pool = Rc::new(Pool::default());
            let lease = connect(&replica, Duration::from_secs(5)).await.unwrap();
            let (peer, _) = listener.accept().unwrap();
            pool.put(1, lease);
            check(&pool, peer);
        });
    }

    #[test]
    fn a_quiet_connection_used_a_moment_ago_carries_any_request() {
        at_rest(|pool, _peer| {
            assert!(pool.take(1, Reuse::Recent, Instant::now()).is_some_and(|lease| lease.used))
        });
        at_rest(|pool, _peer| assert!(pool.take(1, Reuse::Any, Instant::now()).is_some()));
        at_rest(|pool, _peer| assert!(pool.take(1, Reuse::Never, Instant::now()).is_none()));
        at_rest(|pool, _peer| assert!(pool.take(2, Reuse::Any, Instant::now()).is_none()));
    }

    #[test]
    fn a_connection_the_replica_has_closed_carries_no_post_even_before_the_kernel_reports_it() {
        at_rest(|pool, peer| {
            drop(peer);
            assert!(pool.take(1, Reuse::Recent, Instant::now()).is_none());
        });
    }

    #[test]
    fn a_connection_with_unasked_bytes_carries_no_post() {
        at_rest(|pool, mut peer| {
            peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
            assert!(pool.take(1, Reuse::Recent, Instant::now()).is_none());
        });
    }

    #[test]
    fn a_connection_idle_for_half_a_second_carries_gets_but_no_post() {
        at_rest(|pool, _peer| {
            let later = Instant::now() + limits::UPSTREAM_IDLE_UNSAFE;
            assert!(pool.take(1, Reuse::Recent, later).is_none());
            assert!(pool.take(1, Reuse::Any, later).is_some());
        });
        at_rest(|pool, _peer| {
            assert!(pool.take(1, Reuse::Any, Instant::now() + limits::UPSTREAM_IDLE).is_none());
        });
    }
}
