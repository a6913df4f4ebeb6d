//! Carries a client's bytes, ends connections that wait too long, and notes requests whose length is ambiguous.
//! Refuses only a body whose end two parsers would see in two places. An expired wait looks like the client's end of stream,
//! which hyper closes cleanly when idle.

use crate::config::Waits;
use crate::framing::Framing;
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
    /// Set when the connection speaks another protocol from now on: no waits apply.
    passed: AtomicBool,
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
            passed: AtomicBool::new(false),
            ambiguous: AtomicU64::new(u64::MAX),
            quiet_since_ms: AtomicU64::new(0),
            opened: Instant::now(),
        })
    }

    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        let quiet_since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.quiet_since_ms.store(quiet_since, Relaxed);
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

    fn idle_deadline(&self, idle: Duration) -> Instant {
        self.opened + Duration::from_millis(self.quiet_since_ms.load(Relaxed)) + idle
    }
}

/// A client's socket with its waits.
pub(crate) struct ClientIo<S> {
    stream: S,
    line: Arc<ClientLine>,
    framing: Framing,
    waits: Waits,
    head_since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, line: Arc<ClientLine>, waits: Waits) -> Self {
        let sleep = Box::pin(tokio::time::sleep(waits.client_idle));
        Self { stream, line, framing: Framing::new(), waits, head_since: None, sleep }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.framing.feed(bytes);
        if let Some(number) = self.framing.ambiguous() {
            self.line.ambiguous.store(number, Relaxed);
        }
        if !self.framing.in_head() {
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
    }

    /// Waits for the moment at which silence ends the connection.
    /// The timer is set again only when it fires or a head is open: a request costs no timer operation.
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
                None => self.line.idle_deadline(self.waits.client_idle),
            };
            if deadline <= now {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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
