//! Carries a client's bytes, ends connections that wait too long, and notes requests whose length is ambiguous.
//! Refuses only a body whose end two parsers would see in two places. An expired wait looks like the client's end of stream,
//! which hyper closes cleanly when idle.

use crate::config::Waits;
use crate::framing::Framing;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What the socket's side and the requests' side of one connection tell each other.
/// Atomics only because hyper wants an upgradable stream to be `Send`; both sides live on one thread.
#[derive(Debug)]
pub(crate) struct ClientLine {
    /// Requests whose answer is not finished.
    busy: AtomicU32,
    /// Requests that have been looked at.
    requests: AtomicU64,
    /// Set when the connection speaks another protocol from now on: no waits apply.
    passed: AtomicBool,
    /// Heads that were read to their end, where nothing was read behind the last request and nothing waits to be written;
    /// `u64::MAX` otherwise.
    settled: AtomicU64,
    /// Number of the first request with two lengths; `u64::MAX` for none.
    ambiguous: AtomicU64,
    /// When the last answer ended, in milliseconds since `opened`.
    quiet_since_ms: AtomicU64,
    opened: Instant,
}

impl ClientLine {
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(Self {
            busy: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            passed: AtomicBool::new(false),
            settled: AtomicU64::new(0),
            ambiguous: AtomicU64::new(u64::MAX),
            quiet_since_ms: AtomicU64::new(0),
            opened: Instant::now(),
        })
    }

    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Relaxed);
    }

    /// Returns the number, from 0, of the request that is looked at now.
    pub(crate) fn number(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed)
    }

    pub(crate) fn end(&self) {
        self.quiet_since_ms.store(self.since_opened(Instant::now()), Relaxed);
        self.busy.fetch_sub(1, Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed) > 0
    }

    /// The connection was upgraded.
    pub(crate) fn pass(&self) {
        self.passed.store(true, Relaxed);
    }

    /// Whether the request of this number, from 0, claimed two lengths.
    pub(crate) fn is_ambiguous(&self, number: u64) -> bool {
        self.ambiguous.load(Relaxed) == number
    }

    fn since_opened(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether every request that was read has been answered to its end, and no part of another has come.
    pub(crate) fn is_between(&self) -> bool {
        let is_settled = self.settled.load(Relaxed) == self.requests.load(Relaxed);
        is_settled && !self.is_busy() && !self.passed.load(Relaxed)
    }

    fn quiet_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.quiet_since_ms.load(Relaxed))
    }
}

/// Bytes read to learn that a client speaks, and what: as many as HTTP/2 begins with.
const AHEAD: usize = 24;

/// A client's socket with its waits.
pub(crate) struct ClientIo<S> {
    stream: S,
    line: Arc<ClientLine>,
    framing: Framing,
    waits: Waits,
    head_since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    /// Read, and not given to anybody yet.
    ahead: Bytes,
    /// The socket has not taken all that was to be written.
    unsent: bool,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, line: Arc<ClientLine>, waits: Waits) -> Self {
        let sleep = Box::pin(tokio::time::sleep(waits.client_idle));
        Self {
            stream,
            line,
            framing: Framing::new(),
            waits,
            head_since: None,
            sleep,
            ahead: Bytes::new(),
            unsent: false,
        }
    }

    /// Puts what was read and not used before what will be read.
    pub(crate) fn before(mut self, unused: &[u8]) -> Self {
        self.ahead = Bytes::from([unused, &self.ahead].concat());
        self
    }

    fn note(&mut self, bytes: &[u8]) {
        self.framing.feed(bytes);
        if let Some(number) = self.framing.ambiguous() {
            self.line.ambiguous.store(number, Relaxed);
        }
        self.settle();
        if !self.framing.in_head() {
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
    }

    /// Tells the requests' side how far the socket's is. A head that has been read, and that nobody has looked at yet, is a
    /// request too.
    fn settle(&self) {
        let is_settled = self.framing.is_between() && !self.unsent;
        self.line.settled.store(if is_settled { self.framing.heads() } else { u64::MAX }, Relaxed);
    }

    /// Waits for the moment at which silence ends the connection.
    /// The timer is set again only when it fires or a head is open: a request of many costs no timer operation.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.line.passed.load(Relaxed) {
            return Poll::Pending;
        }
        if let Some(since) = self.head_since {
            let deadline = since + self.waits.client_head;
            if self.sleep.deadline() > deadline {
                self.sleep.as_mut().reset(deadline);
            }
        }
        loop {
            ready!(self.sleep.as_mut().poll(context));
            let now = Instant::now();
            let deadline = match self.head_since {
                Some(since) => since + self.waits.client_head,
                None if self.line.is_busy() => now + self.waits.client_idle,
                None => self.line.quiet_since() + self.waits.client_idle,
            };
            if deadline <= now {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

impl<S> ClientIo<S> {
    /// Returns what was read and not given to anybody yet.
    pub(crate) fn ahead(&self) -> &Bytes {
        &self.ahead
    }

    /// Takes the first bytes of what is ahead away: they have been used.
    pub(crate) fn use_ahead(&mut self, count: usize) {
        self.ahead.advance(count);
    }

    /// Puts what was read behind what is ahead.
    pub(crate) fn put_ahead(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.ahead = Bytes::from([&self.ahead, bytes].concat());
        }
    }
}

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Reads what the client says now, not what is ahead. Nothing: it never will say anything.
    pub(crate) fn poll_said(&mut self, context: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(to);
        ready!(self.poll_socket(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Waits until the client says something, and reads the start of it. False: it never will.
    pub(crate) async fn hear(&mut self) -> bool {
        let had = self.ahead.len();
        let read = std::future::poll_fn(|context| self.poll_ahead(context)).await;
        read.is_ok() && self.ahead.len() > had
    }

    /// Reads on as long as what was read may begin with this. True: it does.
    pub(crate) async fn begins_with(&mut self, start: &[u8]) -> bool {
        while self.ahead.len() < start.len() && start.starts_with(&self.ahead) {
            if !self.hear().await {
                // It has begun something, and hyper says what is wrong with it.
                return false;
            }
        }
        self.ahead.starts_with(start)
    }

    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; AHEAD];
        // One byte at least: more than that may be left over.
        let room = AHEAD.saturating_sub(self.ahead.len()).max(1);
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(self.poll_socket(context, &mut buffer))?;
        self.ahead = Bytes::from([&self.ahead, buffer.filled()].concat());
        Poll::Ready(Ok(()))
    }

    fn poll_socket(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if !self.line.passed.load(Relaxed) {
                    self.note(&buffer.filled()[before..]);
                    if self.framing.is_malformed() {
                        // The upload ends as any that is not HTTP, and nothing behind it is read.
                        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                    }
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // An empty read is the end of the stream.
            Poll::Pending => self.poll_expired(context).map(Ok),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.poll_socket(context, buffer);
        }
        let now = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(now));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> ClientIo<S> {
    /// Keeps in mind whether the socket takes what is written.
    fn sent(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.unsent != written.is_pending() {
            self.unsent = written.is_pending();
            self.settle();
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
