//! Writes an answer to a client: its head, and its content as it comes, framed. Holds one piece of it at a time.

use super::head::Framing;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Bytes that were not written yet, in the order in which they go.
pub(super) struct Outgoing {
    framing: Framing,
    /// The head, and the size of a chunk.
    before: Vec<u8>,
    written: usize,
    data: Bytes,
    after: &'static [u8],
    /// Nothing follows what is in here.
    ended: bool,
}

/// The content is not what its head said: the client must see that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch;

impl Outgoing {
    pub(super) fn new(head: Vec<u8>, framing: Framing) -> Self {
        let ended = matches!(framing, Framing::Nothing | Framing::Length(0));
        Self { framing, before: head, written: 0, data: Bytes::new(), after: b"", ended }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.before.len() && self.data.is_empty() && self.after.is_empty()
    }

    /// Whether content waits to be written: no more fits.
    pub(super) fn is_full(&self) -> bool {
        !self.data.is_empty() || !self.after.is_empty()
    }

    /// Whether all of the answer has been put in.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Puts a piece of content in. `last`: nothing follows it.
    pub(super) fn put(&mut self, data: Bytes, last: bool) -> Result<(), Mismatch> {
        if data.is_empty() {
            return if last { self.end(None) } else { Ok(()) };
        }
        match &mut self.framing {
            Framing::Nothing => return Err(Mismatch),
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Mismatch)?;
                self.ended = *left == 0;
                if last && !self.ended {
                    return Err(Mismatch);
                }
            }
            Framing::Chunked(_) => {
                self.begin_chunk(data.len());
                self.after = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                self.ended = last;
            }
        }
        self.data = data;
        Ok(())
    }

    fn begin_chunk(&mut self, length: usize) {
        if self.written == self.before.len() {
            self.before.clear();
            self.written = 0;
        }
        self.before.extend_from_slice(format!("{length:x}\r\n").as_bytes());
    }

    /// Puts the end in, with the trailers that were announced.
    pub(super) fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Mismatch> {
        if self.ended {
            return Ok(());
        }
        match &self.framing {
            Framing::Nothing => {}
            Framing::Length(left) if *left > 0 => return Err(Mismatch),
            Framing::Length(_) => {}
            Framing::Chunked(announced) => {
                self.before.extend_from_slice(b"0\r\n");
                let trailers = trailers.into_iter().flatten();
                super::head::fields(&mut self.before, trailers.filter(|(name, _)| announced.contains(name)));
                self.before.extend_from_slice(b"\r\n");
            }
        }
        self.ended = true;
        Ok(())
    }

    /// Writes until nothing waits.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let slices = [
                IoSlice::new(&self.before[self.written..]),
                IoSlice::new(&self.data),
                IoSlice::new(self.after),
            ];
            let first = slices.iter().take_while(|slice| slice.is_empty()).count();
            let count = ready!(Pin::new(&mut *io).poll_write_vectored(context, &slices[first..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let before = count.min(self.before.len() - self.written);
        self.written += before;
        let data = (count - before).min(self.data.len());
        self.data.advance(data);
        self.after = &self.after[count - before - data..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// Takes as many bytes at a time as it is told.
    struct Slow(Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn written(mut outgoing: Outgoing, pieces: &[&[u8]], at_once: usize) -> Result<Vec<u8>, Mismatch> {
        let (mut to, mut context) = (Slow(Vec::new(), at_once), Context::from_waker(Waker::noop()));
        for (number, piece) in pieces.iter().enumerate() {
            outgoing.put(Bytes::copy_from_slice(piece), number + 1 == pieces.len())?;
            assert!(outgoing.poll_write(&mut to, &mut context).is_ready());
        }
        outgoing.end(None)?;
        assert!(outgoing.poll_write(&mut to, &mut context).is_ready() && outgoing.has_ended());
        Ok(to.0)
    }

    #[test]
    fn content_that_is_not_as_long_as_its_head_says_is_never_made_to_fit() {
        let fixed = || Outgoing::new(b"H".to_vec(), Framing::Length(3));

        assert_eq!(written(fixed(), &[b"ab", b"c"], 9).unwrap(), b"Habc");
        assert_eq!(written(fixed(), &[b"ab"], 9), Err(Mismatch));
        assert_eq!(written(fixed(), &[b"ab", b"cd"], 9), Err(Mismatch));
    }

    #[test]
    fn only_trailers_that_were_announced_are_written() {
        let announced = vec![http::HeaderName::from_static("x-sum")];
        let mut outgoing = Outgoing::new(Vec::new(), Framing::Chunked(announced));
        let trailers = ["x-sum", "x-other"]
            .map(|name| (http::HeaderName::from_static(name), http::HeaderValue::from_static("1")));

        outgoing.end(Some(&HeaderMap::from_iter(trailers))).unwrap();

        assert_eq!(outgoing.before, b"0\r\nx-sum: 1\r\n\r\n");
    }

    proptest! {
        #[test]
        fn chunks_are_whole_however_slowly_the_socket_takes_them(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            at_once in 1..30_usize,
        ) {
            let outgoing = Outgoing::new(b"HEAD".to_vec(), Framing::Chunked(Vec::new()));
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let mut right = b"HEAD".to_vec();
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                right.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                right.extend_from_slice(piece);
                right.extend_from_slice(b"\r\n");
            }
            right.extend_from_slice(b"0\r\n\r\n");

            prop_assert_eq!(written(outgoing, &pieces, at_once).unwrap(), right);
        }
    }
}
