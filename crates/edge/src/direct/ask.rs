//! Asks a replica for an answer, without a body, on a connection of its own: writes the head, reads until the answer's head has
//! come. Reads an answer's length as RFC 9112, 6.3 says, and refuses one that could be read in two ways.

use super::chunks::Chunks;
use super::content::{Content, Rest};
use super::fields::Places;
use crate::exchange::Order;
use crate::headers;
use crate::limits;
use crate::wire::Wire;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Not a byte was sent.
    Unsent,
    /// The connection ended.
    Ended,
    /// What came is not an answer.
    Malformed,
}

/// Sends a request and waits for the head of its answer. Dropped before, the connection must not be used again.
pub(crate) async fn ask(wire: &Arc<Wire>, order: &Order<'_>) -> Result<Response<Content>, Trouble> {
    let head = written(&order.method, order.path.as_str(), &order.headers);
    let mut left = &head[..];
    while !left.is_empty() {
        let unsent = if left.len() == head.len() { Trouble::Unsent } else { Trouble::Ended };
        let count =
            std::future::poll_fn(|context| wire.poll_send(context, left)).await.map_err(|_| unsent)?;
        left = &left[count..];
    }
    let mut buffer = wire.take_spare();
    loop {
        let filling =
            std::future::poll_fn(|context| wire.poll_fill(context, &mut buffer, limits::UPSTREAM_READ_HEAD));
        if filling.await.map_err(|_| Trouble::Ended)? == 0 {
            return Err(Trouble::Ended);
        }
        while !buffer.is_empty() {
            match read(&mut buffer, &order.method)? {
                Some(head) if head.status.is_informational() => {}
                Some(head) => return Ok(head.answer(wire, buffer)),
                None if buffer.len() > limits::UPSTREAM_BUFFER => return Err(Trouble::Malformed),
                None => break,
            }
        }
    }
}

fn written(method: &Method, path: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    super::head::fields(&mut head, headers.iter());
    head.extend_from_slice(b"\r\n");
    head
}

/// The head of an answer.
#[derive(Debug)]
struct Head {
    status: StatusCode,
    reason: Option<Bytes>,
    fields: HeaderMap,
    rest: Rest,
    keeps: bool,
}

impl Head {
    fn answer(self, wire: &Arc<Wire>, buffer: BytesMut) -> Response<Content> {
        let content = Content::new(Arc::clone(wire), buffer, self.rest, self.keeps);
        let mut response = Response::new(content);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields;
        if let Some(reason) = self.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// Takes an answer's head out of what was read; None: more must be read.
fn read(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, Trouble> {
    let mut headers = [const { MaybeUninit::uninit() }; limits::UPSTREAM_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, buffer, &mut headers);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Trouble::Malformed),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Trouble::Malformed)?;
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let places = Places::of(buffer, response.headers);
    let head = buffer.split_to(length).freeze();
    // The edge says who answered, and adds what its preset of headers says.
    let mut fields = places.fields(&head, 12).ok_or(Trouble::Malformed)?;
    let rest = rest(&mut fields, status, version, method)?;
    let keeps = keeps(&fields, version);
    Ok(Some(Head { status, reason, fields, rest, keeps }))
}

/// Returns what follows the head (RFC 9112, 6.3). Of the lengths it names, at most one is left.
fn rest(
    fields: &mut HeaderMap,
    status: StatusCode,
    version: Version,
    method: &Method,
) -> Result<Rest, Trouble> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for another protocol.
        return Err(Trouble::Malformed);
    }
    if status.is_informational() || super::head::is_bodyless(status) || method == Method::HEAD {
        return Ok(Rest::Nothing);
    }
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || version == Version::HTTP_10 {
            return Err(Trouble::Malformed);
        }
        fields.remove(header::CONTENT_LENGTH);
        return Ok(Rest::Chunks(Chunks::new()));
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(Rest::UntilClose) };
    if lengths.any(|other| other != first) {
        return Err(Trouble::Malformed);
    }
    let length = length(first).ok_or(Trouble::Malformed)?;
    if fields.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Rest::Length(length))
}

/// Reads a length: digits and nothing else.
fn length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Whether the replica keeps the connection (RFC 9112, 9.3).
fn keeps(fields: &HeaderMap, version: Version) -> bool {
    let says = |word: &str| headers::tokens(fields).any(|token| token.eq_ignore_ascii_case(word));
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}
