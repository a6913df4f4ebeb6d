//! Serves one client connection with HTTP/1.1 or HTTP/2, which its first bytes tell apart. Plain requests are answered by `direct`,
//! which keeps no buffer between them; all else by hyper, which has the connection until every request has its answer.
//! Closes at the farewell, never between a request and its answer.

use crate::client_io::{ClientIo, ClientLine};
use crate::direct::{self, Next};
use crate::gather::Gather;
use crate::limits;
use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Spawns on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// How a client begins to speak HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client is told that has settled for HTTP/2 and begins with something else: no settings, then GOAWAY with
/// PROTOCOL_ERROR (RFC 9113, 3.4 and 6.8).
const GOAWAY: [u8; 26] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Answers a connection's requests until it ends, or until it can be closed after the farewell. What goes wrong on it is
/// in the access log of its requests. `settled`: what a handshake has said they will speak.
pub(crate) async fn converse<S, H, A, B>(
    mut io: ClientIo<S>,
    line: Arc<ClientLine>,
    settled: Option<Version>,
    answer: H,
    farewell: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Option<Incoming>>) -> A + Clone + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut farewell = pin!(farewell);
    let http2 = tokio::select! {
        http2 = io.begins_with(PREFACE) => http2,
        () = farewell.as_mut() => return,
    };
    match settled {
        Some(Version::HTTP_2) if !http2 => return refuse(io).await,
        // hyper says what is wrong with HTTP/2 where HTTP/1.1 was settled.
        Some(Version::HTTP_11) => {}
        _ if http2 => return streams(io, answer, farewell).await,
        _ => {}
    }
    while direct::serve(&mut io, &answer, farewell.as_mut()).await == Next::Other {
        match requests(io, &line, answer.clone(), farewell.as_mut()).await {
            Some(at_rest) => io = at_rest,
            None => return,
        }
    }
}

/// The same with HTTP/1.1 or HTTP/2 as hyper speaks them, for whoever compares.
#[cfg(any(test, fuzzing))]
pub(crate) async fn converse_by_hyper<S, H, A, B>(mut io: ClientIo<S>, line: Arc<ClientLine>, answer: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Option<Incoming>>) -> A + Clone + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut farewell = pin!(std::future::pending());
    if io.begins_with(PREFACE).await {
        return streams(io, answer, farewell).await;
    }
    while let Some(at_rest) = requests(io, &line, answer.clone(), farewell.as_mut()).await {
        io = at_rest;
        if !io.hear().await {
            return;
        }
    }
}

/// Ends a connection that does not begin with what was settled.
async fn refuse(mut io: ClientIo<impl AsyncRead + AsyncWrite + Unpin>) {
    let refused = async {
        io.write_all(&GOAWAY).await?;
        io.shutdown().await
    };
    // Whoever does not read that is gone.
    let _ = tokio::time::timeout(limits::FAREWELL, refused).await;
}

/// What a conversation came to.
enum Turn {
    Ended,
    Rests,
    Farewell,
}

/// Speaks HTTP/1.1 until every request has been answered, and gives the connection back, or until it ends.
async fn requests<S, H, A, B>(
    io: ClientIo<S>,
    line: &ClientLine,
    answer: H,
    mut farewell: Pin<&mut impl Future<Output = ()>>,
) -> Option<ClientIo<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Option<Incoming>>) -> A,
    A: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let serving = http1()
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request: Request<Incoming>| answer(request.map(Some))),
        )
        .with_upgrades();
    // Beside the task, not in it: a connection without a request has none.
    let mut serving = Box::new(serving);
    let turn = std::future::poll_fn(|context| {
        if Pin::new(&mut *serving).poll(context).is_ready() {
            return Poll::Ready(Turn::Ended);
        }
        // hyper has written what it had to.
        if line.is_between() {
            return Poll::Ready(Turn::Rests);
        }
        farewell.as_mut().poll(context).map(|()| Turn::Farewell)
    });
    match turn.await {
        Turn::Ended => None,
        Turn::Rests => serving.into_parts().map(|parts| parts.io.into_inner().before(&parts.read_buf)),
        Turn::Farewell => {
            Pin::new(&mut *serving).graceful_shutdown();
            let _ = serving.await;
            None
        }
    }
}

/// Speaks HTTP/2 until the connection ends.
async fn streams<S, H, A, B>(io: ClientIo<S>, answer: H, farewell: Pin<&mut impl Future<Output = ()>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Option<Incoming>>) -> A + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let io = Gather::new(io);
    let mut serving = Box::pin(http2().serve_connection(
        TokioIo::new(io.share()),
        // hyper moves it about before it runs it.
        service_fn(move |request: Request<Incoming>| Box::pin(answer(request.map(Some)))),
    ));
    let mut farewell = Some(farewell);
    std::future::poll_fn(|context| {
        if farewell.as_mut().is_some_and(|farewell| farewell.as_mut().poll(context).is_ready()) {
            farewell = None;
            serving.as_mut().graceful_shutdown();
        }
        let served = serving.as_mut().poll(context);
        // Where nothing can be sent, nobody is there to be served.
        let is_gone = matches!(io.poll_out(context), Poll::Ready(Err(_)));
        if served.is_ready() || is_gone { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // hyper may have ended with something to be said. Who does not listen hears no last word.
    let _ =
        tokio::time::timeout(limits::FAREWELL, std::future::poll_fn(|context| io.poll_out(context))).await;
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `ClientIo` keeps the time of heads: hyper's timer would also end idle connections.
        .header_read_timeout(None)
        .max_buf_size(limits::CLIENT_HEAD_BYTES)
        .max_headers(limits::CLIENT_HEADERS);
    builder
}

fn http2() -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::CLIENT_STREAMS)
        .max_header_list_size(limits::CLIENT_HEAD_BYTES as u32)
        .keep_alive_interval(limits::CLIENT_PING)
        // WebSockets (RFC 8441).
        .enable_connect_protocol();
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::config::Waits;
    use crate::door::Door;
    use http_body_util::Full;
    use std::rc::Rc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, DuplexStream};

    const WITHIN: Duration = Duration::from_secs(20);

    /// Serves one client, who says what `talk` says; every request is answered with its path.
    fn with_client<T: Future>(talk: impl FnOnce(DuplexStream, Arc<ClientLine>) -> T) -> T::Output {
        with_settled(None, talk)
    }

    fn with_settled<T: Future>(
        settled: Option<Version>,
        talk: impl FnOnce(DuplexStream, Arc<ClientLine>) -> T,
    ) -> T::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _within = runtime.enter();
        let address = ([127, 0, 0, 1], 80).into();
        let client = Client::new(address, address, &Door::default());
        let line = Arc::clone(&client.line);
        let (near, far) = tokio::io::duplex(1 << 16);
        let io = ClientIo::new(far, Arc::clone(&line), Waits::default());
        let answer = move |request: Request<Option<Incoming>>| {
            let client = Rc::clone(&client);
            async move {
                client.begin(request.version() == http::Version::HTTP_2);
                let path = Bytes::from(request.uri().path().to_owned());
                client.line.end();
                Ok(Response::new(Full::new(path)))
            }
        };
        let serving = converse(io, Arc::clone(&line), settled, answer, std::future::pending());
        let both = async {
            let talk = talk(near, line);
            tokio::pin!(serving, talk);
            tokio::select! {
                said = &mut talk => said,
                // The client may still have something to read.
                () = serving => talk.await,
            }
        };
        tokio::task::LocalSet::new()
            .block_on(&runtime, async { tokio::time::timeout(WITHIN, both).await.unwrap() })
    }

    async fn until_it_rests(line: &ClientLine) {
        while !line.is_between() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn hears(near: &mut DuplexStream, end: &str) {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            assert!(near.read_buf(&mut heard).await.unwrap() > 0, "{}", String::from_utf8_lossy(&heard));
        }
    }

    #[test]
    fn a_connection_that_has_rested_goes_on_where_it_was() {
        with_client(|mut near, line| async move {
            assert!(line.is_between(), "who has said nothing has no buffers");
            for (round, gap) in ["", "\r\n", "\r\n\r\n", ""].into_iter().enumerate() {
                near.write_all(gap.as_bytes()).await.unwrap();
                for piece in ["G", "ET /", &round.to_string(), " HTTP/1.1\r\nHost:", " a\r\n\r", "\n"] {
                    near.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
                hears(&mut near, &format!("/{round}")).await;
                until_it_rests(&line).await;
            }
            near.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            hears(&mut near, "/b").await;
        });
    }

    #[test]
    fn e20_who_has_settled_for_http2_and_does_not_begin_with_it_is_sent_away() {
        for said in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"INVALID CONNECTION PREFACE\r\n\r\n"] {
            with_settled(Some(Version::HTTP_2), |mut near, _| async move {
                near.write_all(said).await.unwrap();

                let mut heard = Vec::new();
                near.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, GOAWAY);
            });
        }
    }

    #[test]
    fn e20_who_has_settled_for_http1_cannot_begin_with_http2() {
        with_settled(Some(Version::HTTP_11), |mut near, _| async move {
            near.write_all(PREFACE).await.unwrap();

            let mut heard = Vec::new();
            near.read_to_end(&mut heard).await.unwrap();
            let heard = String::from_utf8_lossy(&heard);
            assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{heard}");
        });
    }

    #[test]
    fn a_connection_that_began_with_http1_never_becomes_http2() {
        with_client(|mut near, line| async move {
            near.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            hears(&mut near, "/").await;
            until_it_rests(&line).await;
            near.write_all(PREFACE).await.unwrap();

            let mut heard = Vec::new();
            near.read_to_end(&mut heard).await.unwrap();
            let heard = String::from_utf8_lossy(&heard);
            assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{heard}");
        });
    }
}
