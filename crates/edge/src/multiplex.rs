//! Shares HTTP/2 connections to replicas between the requests of one worker: a few connections, many streams.
//! Refuses to put a request on a connection whose replica has said something while it was at rest: it may be closing.

use crate::body::Upload;
use crate::claim::Replica;
use crate::converse::Local;
use crate::limits;
use crate::pool::{self, Lease, Reuse, Sender};
use crate::wire::{Wire, WireIo};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// One connection.
struct Line {
    sender: SendRequest<Upload>,
    wire: Arc<Wire>,
    streams: Cell<usize>,
    /// How many the replica allows, as far as it has said.
    allowed: Rc<Cell<usize>>,
    /// When it last had a stream.
    rested: Cell<Instant>,
}

impl Line {
    fn has_room(&self) -> bool {
        let streams = self.streams.get();
        let most = limits::UPSTREAM_STREAMS.min(self.allowed.get());
        let at_rest = streams == 0;
        !self.sender.is_closed() && streams < most && (!at_rest || self.wire.is_quiet())
    }
}

/// A request's place on a connection; free again when dropped.
pub(crate) struct Seat {
    line: Rc<Line>,
    sender: SendRequest<Upload>,
}

impl Seat {
    fn on(line: &Rc<Line>) -> Self {
        line.streams.set(line.streams.get() + 1);
        Self { sender: line.sender.clone(), line: Rc::clone(line) }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        self.sender.try_send_request(request).await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.line.streams.set(self.line.streams.get() - 1);
        self.line.rested.set(Instant::now());
    }
}

/// The connections of one worker.
#[derive(Default)]
pub(crate) struct Lines {
    lines: RefCell<BTreeMap<u64, Vec<Rc<Line>>>>,
    /// Who connects holds it, so that a burst of requests makes one connection and not one for each.
    connecting: RefCell<BTreeMap<u64, Rc<Mutex<()>>>>,
}

impl Lines {
    /// Returns a place on a connection to a replica, connecting where none has room.
    pub(crate) async fn lease(&self, replica: &Replica, reuse: Reuse, limit: Duration) -> io::Result<Lease> {
        let fresh = reuse == Reuse::Never;
        let found = || if fresh { None } else { self.take(replica.id) };
        if let Some(lease) = found() {
            return Ok(lease);
        }
        let connecting = async {
            let gate = Rc::clone(self.connecting.borrow_mut().entry(replica.id).or_default());
            let _held = gate.lock().await;
            match found() {
                Some(lease) => Ok(lease),
                None => self.connect(replica).await,
            }
        };
        tokio::time::timeout(limit, connecting).await?
    }

    fn take(&self, replica: u64) -> Option<Lease> {
        let lines = self.lines.borrow();
        let line = lines.get(&replica)?.iter().find(|line| line.has_room())?;
        let wire = Arc::clone(&line.wire);
        Some(Lease { sender: Sender::Http2(Seat::on(line)), wire, used: true })
    }

    async fn connect(&self, replica: &Replica) -> io::Result<Lease> {
        let wire = pool::wire(replica).await?;
        let io = TokioIo::new(WireIo(Arc::clone(&wire)));
        let (sender, mut connection) = Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::UPSTREAM_STREAM_WINDOW)
            .initial_connection_window_size(limits::UPSTREAM_CONNECTION_WINDOW)
            .max_header_list_size(limits::UPSTREAM_BUFFER as u32)
            .handshake(io)
            .await
            .map_err(io::Error::other)?;
        let allowed = Rc::new(Cell::new(limits::UPSTREAM_STREAMS));
        let said = Rc::clone(&allowed);
        // Its errors reach whoever waits for an answer.
        tokio::task::spawn_local(std::future::poll_fn(move |context| {
            let polled = Pin::new(&mut connection).poll(context);
            said.set(connection.current_max_send_streams());
            polled
        }));
        let (streams, rested) = (Cell::new(0), Cell::new(Instant::now()));
        let line = Rc::new(Line { sender, wire: Arc::clone(&wire), streams, allowed, rested });
        let seat = Seat::on(&line);
        self.lines.borrow_mut().entry(replica.id).or_default().push(line);
        Ok(Lease { sender: Sender::Http2(seat), wire, used: false })
    }

    /// Lets go of the connections to replicas that take no new requests. Streams go on to their end.
    pub(crate) fn retain(&self, serving: &HashSet<u64>) {
        self.lines.borrow_mut().retain(|replica, _| serving.contains(replica));
        self.connecting.borrow_mut().retain(|replica, _| serving.contains(replica));
    }

    /// Lets go of those that are closed, or without a stream for long.
    pub(crate) fn sweep(&self) {
        self.lines.borrow_mut().retain(|_, lines| {
            lines.retain(|line| {
                let at_rest = line.streams.get() == 0 && line.rested.get().elapsed() >= limits::UPSTREAM_IDLE;
                !at_rest && !line.sender.is_closed()
            });
            !lines.is_empty()
        });
    }
}
