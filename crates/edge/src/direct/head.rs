//! Writes the heads of answers to clients, and says how the content behind them is framed.

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::SizeHint;
use hyper::ext::ReasonPhrase;
use std::cell::RefCell;
use std::time::{Duration, SystemTime};

/// How the content of an answer is framed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    Length(u64),
    /// With the trailers that were announced.
    Chunked(Vec<HeaderName>),
}

/// Writes fields, each on its line.
pub(super) fn fields<'h>(to: &mut Vec<u8>, fields: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>) {
    for (name, value) in fields {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
}

/// Writes an answer's head. `closes`: the connection ends after it.
pub(super) fn write(
    to: &mut Vec<u8>,
    head: &Parts,
    method: &Method,
    content: &SizeHint,
    closes: bool,
) -> Framing {
    status_line(to, head);
    let bodyless = is_bodyless(head.status);
    let mut given = None;
    for (name, value) in &head.headers {
        if *name == header::CONNECTION || *name == header::TRANSFER_ENCODING {
            continue;
        }
        if *name == header::CONTENT_LENGTH {
            if bodyless && method != Method::HEAD {
                continue;
            }
            given = value.to_str().ok().and_then(|length| length.parse().ok());
        }
        fields(to, std::iter::once((name, value)));
    }
    let framing = match (given, content.exact()) {
        _ if bodyless => Framing::Nothing,
        (Some(_), _) | (None, None | Some(0)) if method == Method::HEAD => Framing::Nothing,
        (Some(length), _) => Framing::Length(length),
        (None, Some(length)) => {
            to.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            if method == Method::HEAD { Framing::Nothing } else { Framing::Length(length) }
        }
        (None, None) => {
            to.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked(announced(head))
        }
    };
    if !head.headers.contains_key(header::DATE) {
        with_date(|date| to.extend_from_slice(date));
    }
    to.extend_from_slice(if closes { b"connection: close\r\n\r\n" } else { b"\r\n" });
    framing
}

/// Whether a final answer of this status never has a body, whatever was asked (RFC 9110, 6.4.1).
pub(super) fn is_bodyless(status: StatusCode) -> bool {
    [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

fn status_line(to: &mut Vec<u8>, head: &Parts) {
    to.extend_from_slice(b"HTTP/1.1 ");
    to.extend_from_slice(head.status.as_str().as_bytes());
    to.push(b' ');
    let own = head.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    to.extend_from_slice(
        own.unwrap_or_else(|| head.status.canonical_reason().unwrap_or("<none>").as_bytes()),
    );
    to.extend_from_slice(b"\r\n");
}

/// Returns the trailers an answer announces: no others are passed on.
fn announced(head: &Parts) -> Vec<HeaderName> {
    let lines = head.headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
}

/// Gives the `Date` line of this second.
fn with_date(give: impl FnOnce(&[u8])) {
    thread_local! {
        static DATE: RefCell<(u64, Bytes)> = const { RefCell::new((0, Bytes::new())) };
    }
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    DATE.with_borrow_mut(|(second, line)| {
        if *second != seconds || line.is_empty() {
            (*second, *line) = (seconds, Bytes::from(format!("date: {}\r\n", httpdate::fmt_http_date(now))));
        }
        give(line);
    });
}
