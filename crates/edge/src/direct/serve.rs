//! Answers the plain requests of one client connection, one after another, in the connection's own task. Keeps no buffer while
//! nothing is said: what a client sends is read where all connections of a worker read.

use super::head;
use super::outgoing::{Mismatch, Outgoing};
use super::plain::{self, Said};
use crate::client_io::ClientIo;
use crate::limits;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::{Body, Incoming};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// How it goes on with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Ended,
    /// What comes next is no plain request.
    Other,
}

/// Why an exchange did not come to its end: the client sees its connection close.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<Mismatch> for Broken {
    fn from(_: Mismatch) -> Self {
        Self
    }
}

/// Answers requests until the connection ends, something else than a plain request comes, or the farewell.
pub(crate) async fn serve<S, H, A, B>(
    io: &mut ClientIo<S>,
    answer: &H,
    mut farewell: Pin<&mut impl Future<Output = ()>>,
) -> Next
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Option<Incoming>>) -> A,
    A: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes>,
{
    loop {
        let request = tokio::select! {
            biased;
            request = next(io) => request,
            () = farewell.as_mut() => return Next::Ended,
        };
        let request = match request {
            Ok(request) => request,
            Err(next) => return next,
        };
        // Beside the task, not in it: a connection at rest has none.
        match Box::pin(exchange(io, *request, answer, farewell.as_mut())).await {
            Ok(true) => {}
            Ok(false) => {
                // Who has gone already needs no farewell.
                let _ = std::future::poll_fn(|context| Pin::new(&mut *io).poll_shutdown(context)).await;
                return Next::Ended;
            }
            Err(Broken) => return Next::Ended,
        }
    }
}

/// Waits for the next plain request; otherwise says how it goes on.
async fn next<S: AsyncRead + Unpin>(io: &mut ClientIo<S>) -> Result<Box<Request<()>>, Next> {
    let mut reads = 0;
    let mut is_new = !io.ahead().is_empty();
    loop {
        if is_new {
            match plain::read(io.ahead()) {
                Said::Plain(request, length) => {
                    io.use_ahead(length);
                    return Ok(request);
                }
                Said::More if reads < limits::PLAIN_READS => {}
                Said::More | Said::Other => return Err(Next::Other),
            }
        }
        let had = !io.ahead().is_empty();
        let said = std::future::poll_fn(|context| poll_said(io, context)).await;
        reads += 1;
        match said {
            Ok(Heard::Plain(request)) => return Ok(request),
            Ok(Heard::Bytes) => is_new = true,
            // A head that was begun and never ended is hyper's to judge.
            Ok(Heard::End) if had => return Err(Next::Other),
            Ok(Heard::End) | Err(_) => return Err(Next::Ended),
        }
    }
}

/// What was heard from a client.
enum Heard {
    /// A whole request, at once.
    Plain(Box<Request<()>>),
    /// Something, which is put ahead.
    Bytes,
    End,
}

thread_local! {
    /// Where the connections of a worker read, one after another.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::PLAIN_READ].into());
}

fn poll_said<S: AsyncRead + Unpin>(
    io: &mut ClientIo<S>,
    context: &mut Context<'_>,
) -> Poll<io::Result<Heard>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let count = ready!(io.poll_said(context, scratch))?;
        let said = &scratch[..count];
        if count == 0 {
            return Poll::Ready(Ok(Heard::End));
        }
        if io.ahead().is_empty()
            && let Said::Plain(request, length) = plain::read(said)
        {
            io.put_ahead(&said[length..]);
            return Poll::Ready(Ok(Heard::Plain(request)));
        }
        io.put_ahead(said);
        Poll::Ready(Ok(Heard::Bytes))
    })
}

/// Whether the client has gone. What it says meanwhile is read once, and put ahead.
fn has_gone<S: AsyncRead + Unpin>(io: &mut ClientIo<S>, context: &mut Context<'_>) -> bool {
    SCRATCH.with_borrow_mut(|scratch| {
        while io.ahead().is_empty() {
            match io.poll_said(context, scratch) {
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(count)) => io.put_ahead(&scratch[..count]),
                Poll::Pending => return false,
            }
        }
        false
    })
}

/// Answers one request. Whether the connection goes on.
async fn exchange<S, H, A, B>(
    io: &mut ClientIo<S>,
    request: Request<()>,
    answer: &H,
    mut farewell: Pin<&mut impl Future<Output = ()>>,
) -> Result<bool, Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Option<Incoming>>) -> A,
    A: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes>,
{
    let method = request.method().clone();
    let mut closes = false;
    let response = {
        let mut answering = pin!(answer(request.map(|()| None)));
        let answered = std::future::poll_fn(|context| {
            let answered = answering.as_mut().poll(context);
            // The farewell that came with the answer must be in its head.
            closes = closes || farewell.as_mut().poll(context).is_ready();
            if let Poll::Ready(answered) = answered {
                return Poll::Ready(answered.map_err(|never| match never {}));
            }
            if has_gone(io, context) { Poll::Ready(Err(Broken)) } else { Poll::Pending }
        });
        answered.await?
    };
    let (head, content) = response.into_parts();
    let closes = closes || says_close(&head.headers);
    let mut before = Vec::with_capacity(1024);
    let framing = head::write(&mut before, &head, &method, &content.size_hint(), closes);
    drop(head);
    let mut outgoing = Outgoing::new(before, framing);
    if content.is_end_stream() {
        outgoing.end(None)?;
    }
    let mut content = pin!(content);
    std::future::poll_fn(|context| poll_pass(io, context, content.as_mut(), &mut outgoing)).await?;
    Ok(!closes)
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).map(HeaderValue::as_bytes) == Some(b"close")
}

/// Passes the content on until all of it is with the client.
fn poll_pass<S, B>(
    io: &mut ClientIo<S>,
    context: &mut Context<'_>,
    mut content: Pin<&mut B>,
    outgoing: &mut Outgoing,
) -> Poll<Result<(), Broken>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes>,
{
    loop {
        if outgoing.is_full() || outgoing.has_ended() {
            ready!(outgoing.poll_write(io, context))?;
        }
        if outgoing.has_ended() {
            return Pin::new(io).poll_flush(context).map_err(Broken::from);
        }
        match content.as_mut().poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => outgoing.put(data, content.is_end_stream())?,
                Err(frame) => outgoing.end(frame.trailers_ref())?,
            },
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Broken)),
            Poll::Ready(None) => outgoing.end(None)?,
            Poll::Pending => {
                ready!(outgoing.poll_write(io, context))?;
                ready!(Pin::new(&mut *io).poll_flush(context))?;
                return if has_gone(io, context) { Poll::Ready(Err(Broken)) } else { Poll::Pending };
            }
        }
    }
}
