//! Gathers what HTTP/2 writes to a client, frame by frame, and sends it at once: one call of the system, one record of TLS.
//! Holds a bounded amount. Whoever writes says when it is to be sent (`poll_out`), not `poll_flush`.

use crate::limits;
use std::cell::{RefCell, RefMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's socket, for the one who speaks and the one who sends what was said.
pub(crate) struct Gather<S>(Rc<RefCell<Gathered<S>>>);

struct Gathered<S> {
    io: S,
    waiting: Vec<u8>,
    /// Of what waits, so much has been sent.
    sent: usize,
}

impl<S> Gather<S> {
    pub(crate) fn new(io: S) -> Self {
        Self(Rc::new(RefCell::new(Gathered { io, waiting: Vec::new(), sent: 0 })))
    }

    /// The same socket.
    pub(crate) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    fn inner(&self) -> RefMut<'_, Gathered<S>> {
        self.0.borrow_mut()
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// Sends all that was written.
    pub(crate) fn poll_out(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gathered = &mut *self.inner();
        while gathered.sent < gathered.waiting.len() {
            let left = &gathered.waiting[gathered.sent..];
            match ready!(Pin::new(&mut gathered.io).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => gathered.sent += count,
            }
        }
        gathered.rest();
        Pin::new(&mut gathered.io).poll_flush(context)
    }
}

thread_local! {
    /// Where the connections of a worker gather, one after another: those at rest have no buffer.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<S> Gathered<S> {
    /// Gives the buffer back, all of it sent.
    fn rest(&mut self) {
        self.sent = 0;
        self.waiting.clear();
        if self.waiting.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.waiting));
        }
    }

    fn hold(&mut self, slices: &[IoSlice<'_>]) {
        if self.waiting.capacity() == 0 {
            self.waiting = SPARE.take();
            self.waiting.reserve(limits::CLIENT_GATHERED);
        }
        self.waiting.drain(..std::mem::take(&mut self.sent));
        for slice in slices {
            self.waiting.extend_from_slice(slice);
        }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Takes what fits. What does not goes to the socket with what waits before it, without a copy.
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        loop {
            let waits = self.waiting.len() - self.sent;
            if waits + length <= limits::CLIENT_GATHERED {
                self.hold(slices);
                return Poll::Ready(Ok(length));
            }
            let mut all = vec![IoSlice::new(&self.waiting[self.sent..])];
            all.extend(slices.iter().map(|slice| IoSlice::new(slice)));
            let all = if waits == 0 { &all[1..] } else { &all[..] };
            let count = ready!(Pin::new(&mut self.io).poll_write_vectored(context, all))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if count < waits {
                self.sent += count;
                continue;
            }
            self.rest();
            if count > waits {
                return Poll::Ready(Ok(count - waits));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().io).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: it is sent when all have written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.inner().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// Takes as much at a time as it is told, and nothing where it is told zero. Counts how often it was asked.
    #[derive(Default)]
    struct Socket {
        takes: Vec<usize>,
        taken: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.calls += 1;
            let takes = self.takes.pop().unwrap_or(usize::MAX).min(bytes.len());
            self.taken.extend_from_slice(&bytes[..takes]);
            if takes == 0 { Poll::Pending } else { Poll::Ready(Ok(takes)) }
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.poll_write(
                context,
                &slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>(),
            )
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    /// Writes all of it, as often as it takes; between two tries what waits is sent, as after every turn of a connection.
    fn say(gather: &mut Gather<Socket>, pieces: &[&[u8]]) {
        let mut all: Vec<&[u8]> = pieces.to_vec();
        while all.iter().any(|piece| !piece.is_empty()) {
            let slices: Vec<IoSlice<'_>> = all.iter().map(|piece| IoSlice::new(piece)).collect();
            let Poll::Ready(count) = Pin::new(&mut *gather).poll_write_vectored(&mut context(), &slices)
            else {
                let _ = gather.poll_out(&mut context());
                continue;
            };
            let mut count = count.unwrap();
            for piece in &mut all {
                let taken = count.min(piece.len());
                (*piece, count) = (&piece[taken..], count - taken);
            }
        }
    }

    #[test]
    fn many_frames_are_one_call_of_the_system_and_a_connection_at_rest_has_no_buffer() {
        let mut gather = Gather::new(Socket::default());
        for _ in 0..8 {
            say(&mut gather, &[b"head of a frame", &[7; 1024]]);
        }
        assert_eq!(gather.inner().io.calls, 0, "nothing is sent before it is said to be");

        assert!(gather.poll_out(&mut context()).is_ready());

        let gathered = gather.inner();
        assert_eq!((gathered.io.calls, gathered.io.taken.len()), (1, 8 * 1039));
        assert_eq!(gathered.waiting.capacity(), 0);
    }

    #[test]
    fn a_socket_that_takes_nothing_is_not_written_for_without_bound() {
        let mut gather = Gather::new(Socket { takes: vec![0; 1000], ..Socket::default() });
        let mut held = 0;
        while let Poll::Ready(count) = Pin::new(&mut gather).poll_write(&mut context(), &[1; 1000]) {
            held += count.unwrap();
        }

        assert!(held <= limits::CLIENT_GATHERED && held > limits::CLIENT_GATHERED - 1000, "{held}");
        assert!(gather.poll_out(&mut context()).is_pending());
    }

    proptest! {
        #[test]
        fn all_that_is_written_comes_out_in_its_order_whatever_the_socket_takes(
            writes in prop::collection::vec((0..3_usize, 0..3 * limits::CLIENT_GATHERED / 2), 1..12),
            takes in prop::collection::vec(prop_oneof![Just(0), 1..100_usize, 1..100_000_usize], 0..40),
            sends in any::<u16>(),
        ) {
            let mut gather = Gather::new(Socket { takes, ..Socket::default() });
            let mut right = Vec::new();
            for (number, (kind, length)) in writes.into_iter().enumerate() {
                let data: Vec<u8> = (0..if kind == 0 { length % 50 } else { length }).map(|at| (at * 7 + number) as u8).collect();
                say(&mut gather, &[&[number as u8; 9], &data]);
                right.extend([number as u8; 9]);
                right.extend(data);
                if sends >> number & 1 == 1 {
                    let _ = gather.poll_out(&mut context());
                }
                let waits = gather.inner().waiting.len();
                prop_assert!(waits <= 2 * limits::CLIENT_GATHERED, "{waits}");
            }
            while gather.poll_out(&mut context()).is_pending() {}

            prop_assert_eq!(&gather.inner().io.taken, &right);
        }
    }
}
