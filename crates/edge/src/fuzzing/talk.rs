//! Serves bytes the way a client's connection is served, up to where a replica would be chosen, and says what was taken.

use crate::client::Client;
use crate::client_io::ClientIo;
use crate::config::{Forwarded, Waits};
use crate::converse::{converse, converse_by_hyper};
use crate::door::Door;
use crate::guard::Origin;
use crate::guard::trace::Trace;
use crate::headers::{self, Onward};
use crate::random::Random;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// Bytes a client sends at a time: small, so that heads arrive in pieces.
const PIECES: [usize; 4] = [1 << 16, 7, 1, 60];
/// No input waits for anything; more means that something does.
const WITHIN: Duration = Duration::from_secs(20);

/// A request the edge would have passed on.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) method: String,
    pub(super) target: String,
    /// As the client sent them, sorted by name; those of framing left out.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    /// The body came to its end.
    pub(super) whole: bool,
    onward: HeaderMap,
}

impl Taken {
    /// Whether it is the same request as another.
    pub(super) fn says(&self, other: &Self) -> bool {
        let head = |taken: &Self| (taken.method.clone(), taken.target.clone(), taken.headers.clone());
        head(self) == head(other) && (self.whole, &self.body) == (other.whole, &other.body)
    }

    /// What a replica would read says in one way where the request ends and for whom it is.
    pub(super) fn onward_is_clear(&self) {
        let count = |name: HeaderName| self.onward.get_all(name).iter().count();
        assert_eq!(count(header::HOST), 1, "{self:?}");
        assert_eq!(count(header::TRANSFER_ENCODING), 0, "{self:?}");
        assert!(count(header::CONTENT_LENGTH) <= 1, "{self:?}");
        if let (Some(length), true) = (self.onward.get(header::CONTENT_LENGTH), self.whole) {
            let length: Option<usize> = length.to_str().ok().and_then(|text| text.parse().ok());
            assert_eq!(length, Some(self.body.len()), "{self:?}");
        }
        let ours = self.onward.keys().filter(|name| name.as_str().starts_with("x-medeclipse-"));
        assert_eq!(ours.count(), 0, "{self:?}");
        for name in [header::EXPECT, header::PROXY_AUTHORIZATION] {
            assert_eq!(count(name), 0, "{self:?}");
        }
    }
}

/// Who reads the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// Whoever does for a real client.
    Edge,
    Hyper,
}

/// Returns what was taken from these bytes, in order.
pub(super) fn serve(input: &[u8], reader: Reader) -> Vec<Taken> {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
    }
    RUNTIME.with(|runtime| {
        let talk = async { tokio::time::timeout(WITHIN, talk(input.to_vec(), reader)).await };
        LocalSet::new().block_on(runtime, talk).expect("a connection that ends is served to its end")
    })
}

async fn talk(input: Vec<u8>, reader: Reader) -> Vec<Taken> {
    let address: SocketAddr = ([127, 0, 0, 1], 80).into();
    let client = Client::new(address, address, &Door::default());
    let piece = PIECES[input.len() % PIECES.len()];
    let io = ClientIo::new(
        Script { input, at: 0, piece, patience: 8 },
        Arc::clone(&client.line),
        Waits::default(),
    );
    let seen: Rc<RefCell<Vec<Taken>>> = Rc::default();
    let answer = {
        let (client, seen) = (Rc::clone(&client), Rc::clone(&seen));
        move |request| answer(Rc::clone(&client), Rc::clone(&seen), request)
    };
    let line = Arc::clone(&client.line);
    match reader {
        Reader::Edge => converse(io, line, None, answer, std::future::pending()).await,
        Reader::Hyper => converse_by_hyper(io, line, answer).await,
    }
    seen.take()
}

async fn answer(
    client: Rc<Client>,
    seen: Rc<RefCell<Vec<Taken>>>,
    request: Request<Option<Incoming>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let number = client.begin(parts.version == http::Version::HTTP_2);
    let checked = (!client.line.is_ambiguous(number)).then(|| headers::check(&parts, &client).ok()).flatten();
    let mut response = Response::new(Full::default());
    let Some(authority) = checked else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        client.line.end();
        return Ok(response);
    };
    let onward = Onward {
        authority: &authority,
        request_id: &HeaderValue::from_static("1"),
        client: &client,
        origin: &Origin::direct(client.peer.ip()),
        trace: &Trace::of(&parts.headers, &Random::seeded()),
        forwarded: Forwarded::Replaced,
        upgrade: headers::asked_upgrade(&parts),
        random: &Random::seeded(),
    };
    let taken = Taken {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: sent(&parts.headers),
        onward: {
            let mut seen = parts.headers.clone();
            headers::onward(&mut seen, &onward);
            seen
        },
        body: Vec::new(),
        whole: false,
    };
    let index = seen.borrow().len();
    seen.borrow_mut().push(taken);
    let collected = match body {
        Some(body) => body.collect().await.ok().map(|body| body.to_bytes().to_vec()),
        None => Some(Vec::new()),
    };
    if let Some(body) = collected {
        let taken = &mut seen.borrow_mut()[index];
        taken.body = body;
        taken.whole = true;
    }
    client.line.end();
    Ok(response)
}

fn sent(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let kept = headers.iter().filter(|(name, _)| !framed.contains(name));
    let mut sent: Vec<_> =
        kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    sent.sort_by(|(one, _), (two, _)| one.cmp(two));
    sent
}

/// A client that sends its bytes in pieces, then waits a little and sends no more, and reads nothing.
struct Script {
    input: Vec<u8>,
    at: usize,
    piece: usize,
    /// How often it is asked in vain before it says that nothing more comes: who ends at once is given no answer by hyper.
    patience: u8,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.at == self.input.len() && self.patience > 0 {
            self.patience -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.piece.min(buffer.remaining()).min(self.input.len() - self.at);
        buffer.put_slice(&self.input[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
