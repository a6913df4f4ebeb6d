//! Says whether what a client sent is a plain request: complete, without a body, and written so that every parser reads the same.
//! Refuses nothing: what is not plain is hyper's.

use super::fields::{Places, place};
use crate::headers::HEADERS_OF_OURS;
use crate::limits;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use httparse::{ParserConfig, Status};
use std::mem::MaybeUninit;

/// What the bytes of a client begin with.
pub(super) enum Said {
    /// The beginning of a head.
    More,
    /// A plain request, and the length of its head.
    Plain(Box<Request<()>>, usize),
    Other,
}

/// Fields of requests that have a body, or want another protocol, or more than an answer.
const OTHER: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("proxy-connection"),
];

/// Reads what a client has sent.
pub(super) fn read(bytes: &[u8]) -> Said {
    let mut headers = [const { MaybeUninit::uninit() }; limits::CLIENT_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, &mut headers);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= limits::CLIENT_HEAD_BYTES => length,
        Ok(Status::Complete(_)) => return Said::Other,
        Ok(Status::Partial) => return Said::More,
        Err(_) => return Said::Other,
    };
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version) else {
        return Said::Other;
    };
    let head = &bytes[..length];
    let (target, places) = (place(head, target.as_bytes()), Places::of(head, request.headers));
    // A line that ends with a bare line feed has another end for some.
    let begins_and_ends_well =
        !head.starts_with(b"\r") && !head.starts_with(b"\n") && head.ends_with(b"\r\n\r\n");
    if !begins_and_ends_well || !places.starts().all(|start| head[..start].ends_with(b"\r\n")) {
        return Said::Other;
    }
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return Said::Other };
    let head = Bytes::copy_from_slice(head);
    let (Ok(uri), Some(fields)) =
        (Uri::from_maybe_shared(head.slice(target)), places.fields(&head, HEADERS_OF_OURS))
    else {
        return Said::Other;
    };
    let keeps = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    let stays = fields.get_all(header::CONNECTION).iter().all(keeps);
    if method == Method::CONNECT || !stays || OTHER.iter().any(|name| fields.contains_key(name)) {
        return Said::Other;
    }
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, fields);
    *request.version_mut() = Version::HTTP_11;
    Said::Plain(Box::new(request), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_is_read_and_what_follows_is_left() {
        let bytes = b"GET /a?b=1 HTTP/1.1\r\nHost: a\r\nCookie:  x=1 \r\nConnection: Keep-Alive\r\n\r\nGET /";

        let Said::Plain(request, length) = read(bytes) else { panic!("it is plain") };

        assert_eq!(&bytes[length..], b"GET /");
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::GET, "/a?b=1"));
        assert_eq!(request.headers()["host"], "a");
        assert_eq!(request.headers()["cookie"], "x=1");
    }

    #[test]
    fn what_two_parsers_could_read_in_two_ways_is_not_plain() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
        ] {
            assert!(matches!(read(head.as_bytes()), Said::Other), "{head:?}");
        }
    }

    #[test]
    fn a_head_beyond_the_bounds_is_not_plain() {
        let long = |bytes| format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(bytes));
        let many = |fields| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields));

        assert!(matches!(read(long(limits::CLIENT_HEAD_BYTES - 100).as_bytes()), Said::Plain(..)));
        assert!(matches!(read(long(limits::CLIENT_HEAD_BYTES).as_bytes()), Said::Other));
        assert!(matches!(read(many(limits::CLIENT_HEADERS - 1).as_bytes()), Said::Plain(..)));
        assert!(matches!(read(many(limits::CLIENT_HEADERS).as_bytes()), Said::Other));
    }

    #[test]
    fn the_beginning_of_a_head_may_go_on() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 1..head.len() {
            assert!(matches!(read(&head[..end]), Said::More), "{end}");
        }
    }
}
