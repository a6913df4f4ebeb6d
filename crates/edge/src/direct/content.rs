//! Is the content of an answer on its way from a replica, read from the socket as it is asked for. Says at its end whether the
//! connection can carry another request.

use super::chunks::{Chunks, Piece};
use crate::body::BodyError;
use crate::limits;
use crate::wire::Wire;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What is still to come of an answer.
#[derive(Debug)]
pub(super) enum Rest {
    Nothing,
    Length(u64),
    Chunks(Chunks),
    /// Whatever comes until the replica closes.
    UntilClose,
}

/// The content of an answer.
pub(crate) struct Content {
    wire: Arc<Wire>,
    /// Read, and not given to anybody yet.
    buffer: BytesMut,
    rest: Rest,
    /// Whether the replica keeps the connection after it.
    keeps: bool,
    /// Whether more was read than came with the head.
    grew: bool,
}

impl Content {
    pub(super) fn new(wire: Arc<Wire>, buffer: BytesMut, rest: Rest, keeps: bool) -> Self {
        let rest = if matches!(rest, Rest::Length(0)) { Rest::Nothing } else { rest };
        Self { wire, buffer, rest, keeps, grew: false }
    }

    /// Whether it was read to its end, and the connection is free for another request. Bytes behind an answer were not
    /// asked for: such a connection is out of step.
    pub(crate) fn frees(&self) -> bool {
        self.is_end_stream() && self.keeps && self.buffer.is_empty()
    }

    /// Reads more. False: the replica has closed.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let room = match self.rest {
            // One byte more than there should be: a read that fills its room cannot tell that there is nothing behind it.
            Rest::Length(left) => left.saturating_add(1).min(limits::UPSTREAM_READ as u64) as usize,
            Rest::Nothing | Rest::Chunks(_) | Rest::UntilClose => limits::UPSTREAM_READ,
        };
        self.grew = true;
        let count = ready!(self.wire.poll_fill(context, &mut self.buffer, room))?;
        Poll::Ready(Ok(count > 0))
    }

    /// Takes what was read out of the buffer; None: more must be read.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        match &mut self.rest {
            Rest::Nothing => Ok(None),
            Rest::UntilClose if self.buffer.is_empty() => Ok(None),
            Rest::UntilClose => Ok(Some(Frame::data(self.buffer.split().freeze()))),
            Rest::Length(_) if self.buffer.is_empty() => Ok(None),
            Rest::Length(left) => {
                let taken = (*left).min(self.buffer.len() as u64);
                *left -= taken;
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
                Ok(Some(Frame::data(self.buffer.split_to(taken as usize).freeze())))
            }
            Rest::Chunks(chunks) => {
                match chunks.next(&mut self.buffer).map_err(|_| "its chunks are broken")? {
                    Piece::Data(data) => {
                        chunks.settle(&mut self.buffer);
                        Ok(Some(Frame::data(data)))
                    }
                    Piece::Trailers(trailers) => Ok(Some(Frame::trailers(trailers))),
                    Piece::End | Piece::More => Ok(None),
                }
            }
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // A large one is not worth keeping.
        if self.frees() && !self.grew {
            self.wire.put_spare(std::mem::take(&mut self.buffer));
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match self.take() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_end_stream() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(self.poll_fill(context)) {
                Ok(true) => {}
                Ok(false) if matches!(self.rest, Rest::UntilClose) => {
                    (self.rest, self.keeps) = (Rest::Nothing, false);
                    return Poll::Ready(None);
                }
                Ok(false) => {
                    return Poll::Ready(Some(Err("the replica closed before its answer's end".into())));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Rest::Nothing => true,
            Rest::Chunks(chunks) => chunks.is_done(),
            Rest::Length(_) | Rest::UntilClose => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunks(_) | Rest::UntilClose => SizeHint::default(),
        }
    }
}
