//! Carries the bytes between the edge and a replica, and can be asked whether any wait to be read.
//! Understands none of them; `pool` and `multiplex` decide what follows.

use bytes::BytesMut;
use rustix::net::{RecvFlags, Shutdown};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The socket to a replica, shared between hyper's connection task and the pool.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    read: AtomicU64,
    written: AtomicU64,
    /// Where the last answer was read, for the next one. hyper wants all of this to be `Sync`; there is one thread.
    spare: Mutex<BytesMut>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            spare: Mutex::default(),
        })
    }

    /// Returns the bytes read from and written to the replica so far.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (self.read.load(Relaxed), self.written.load(Relaxed))
    }

    /// Reads into a buffer with room for so many bytes, which it gets when there is something to read. None read: the replica
    /// has closed.
    pub(crate) fn poll_fill(
        &self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            buffer.reserve(room);
            let room = buffer.capacity() - buffer.len();
            match self.stream.try_read_buf(buffer) {
                Ok(count) => return Poll::Ready(Ok(self.note_read(count, room))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream| stream.try_write(bytes))
    }

    /// Gives a buffer to read an answer into.
    pub(crate) fn take_spare(&self) -> BytesMut {
        std::mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the buffer of an answer that has ended. What was read into it may still be on its way: then the next gets another.
    pub(crate) fn put_spare(&self, buffer: BytesMut) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = buffer;
    }

    /// Counts bytes that were read. Where there was room for more, all that had come is read: the next to ask waits, instead
    /// of asking the kernel once more.
    fn note_read(&self, count: usize, room: usize) -> usize {
        self.read.fetch_add(count as u64, Relaxed);
        if 0 < count && count < room {
            // Only says so to tokio, which looks at the socket again when the kernel reports something new.
            let _ = self.stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        count
    }

    /// Whether nothing has come on a connection at rest, as far as the kernel has reported: it has not been asked.
    pub(crate) fn looks_quiet(&self) -> bool {
        self.stream.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_pending() || self.is_quiet()
    }

    fn poll_written(
        &self,
        context: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match send(&self.stream) {
                Ok(count) => {
                    self.written.fetch_add(count as u64, Relaxed);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Whether nothing waits to be read, not even the end of the stream: what a connection at rest looks like.
    /// An idle replica has nothing to say, so a readable connection is closed, closing, or out of step.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0u8; 1];
        let peeked = rustix::net::recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(rustix::io::Errno::WOULDBLOCK))
    }
}

/// hyper's side of the socket.
pub(crate) struct WireIo(pub(crate) Arc<Wire>);

impl AsyncRead for WireIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(context))?;
            let room = buffer.remaining();
            match self.0.stream.try_read_buf(buffer) {
                Ok(count) => {
                    self.0.note_read(count, room);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_send(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_written(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&self.0.stream, Shutdown::Write) {
            // The replica was faster.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
