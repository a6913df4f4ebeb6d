//! Checks a request's head strictly, and writes the heads that go on in both directions.
//! Refuses what two parsers could read in two ways (see libraries.md, A.5); changes no header it has no reason to.

use crate::client::Client;
use crate::config::Forwarded;
use crate::failure::Failure;
use crate::guard::Origin;
use crate::guard::client::FORWARDED_FOR;
use crate::guard::trace::Trace;
use crate::limits;
use crate::random::Random;
use crate::route::{ArmRoutes, Place};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use std::borrow::Cow;

pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-medeclipse-error");
pub(crate) const RELEASE: HeaderName = HeaderName::from_static("x-medeclipse-release");
pub(crate) const REVISION: HeaderName = HeaderName::from_static("x-medeclipse-revision");
pub(crate) const LABEL: HeaderName = HeaderName::from_static("x-medeclipse-label");
/// The revision a request failed on before stable answered it.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("x-medeclipse-replayed");
/// Says to the candidate that the request is a copy, and of which revision it is asked.
pub(crate) const MIRRORED: HeaderName = HeaderName::from_static("x-medeclipse-mirrored");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Room for what a replica is told beside what a client said.
pub(crate) const HEADERS_OF_OURS: usize = 8;
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Who a request is for.
#[derive(Debug)]
pub(crate) struct Authority {
    /// Lower case, no port, no trailing dot.
    pub(crate) host: String,
    /// As it is passed on.
    pub(crate) header: HeaderValue,
}

/// Returns who the request is for, or why it is refused.
pub(crate) fn check(parts: &Parts, client: &Client) -> Result<Authority, Failure> {
    if parts.method == Method::CONNECT && asked_upgrade(parts) == Upgrade::None {
        return Err(Failure::BadRequest("CONNECT is not passed on"));
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    // Two codings, or another one, are read in more than one way (RFC 9112, 6.1).
    if codings.next().is_some_and(|coding| !is_chunked(coding) || codings.next().is_some()) {
        return Err(Failure::BadRequest("its Transfer-Encoding is not `chunked`"));
    }
    let mut named = parts.headers.get_all(header::HOST).iter();
    let host = named.next();
    if named.next().is_some() {
        return Err(Failure::BadRequest("it has more than one Host header"));
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let header = match (host, authority) {
        (None, None) if parts.version == Version::HTTP_10 => client.local_host.clone(),
        (None, Some(_)) if parts.version == Version::HTTP_11 => {
            return Err(Failure::BadRequest("it has no Host header"));
        }
        (None, None) => return Err(Failure::BadRequest("it has no Host header")),
        (Some(host), None) => host.clone(),
        (None, Some(authority)) => HeaderValue::from_str(authority)
            .map_err(|_| Failure::BadRequest("its authority is not a host name"))?,
        (Some(host), Some(authority)) if host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            host.clone()
        }
        (Some(_), Some(_)) => {
            return Err(Failure::BadRequest("its Host header and its address name different hosts"));
        }
    };
    let host = host_name(&header).ok_or(Failure::BadRequest("its Host header is not a host name"))?;
    let host = host.into_owned();
    Ok(Authority { host, header })
}

/// Returns the host of a Host header in lower case; None when it is no host.
fn host_name(header: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = header.to_str().ok()?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let bracketed = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let fits = match bracketed {
        Some(inner) => inner.bytes().all(|byte| legal(byte) || byte == b':'),
        None => host.bytes().all(legal),
    };
    if !fits || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

/// Whether, and how, a client asks to speak another protocol from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    None,
    /// The whole connection (RFC 9110, 7.8).
    Connection,
    /// One stream, for a WebSocket (RFC 8441).
    Stream,
}

pub(crate) fn asked_upgrade(parts: &Parts) -> Upgrade {
    let named = || {
        parts.headers.contains_key(header::UPGRADE)
            && tokens(&parts.headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
    };
    let protocol = parts.extensions.get::<hyper::ext::Protocol>();
    match parts.version {
        Version::HTTP_11 if parts.method != Method::CONNECT && named() => Upgrade::Connection,
        Version::HTTP_2 if parts.method == Method::CONNECT => match protocol {
            Some(protocol) if protocol.as_str() == "websocket" => Upgrade::Stream,
            _ => Upgrade::None,
        },
        _ => Upgrade::None,
    }
}

/// Whether an answer begins a WebSocket.
pub(crate) fn is_websocket(answer: &HeaderMap) -> bool {
    answer.get(header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether an answer is a stream of events, which has no end of its own.
pub(crate) fn is_event_stream(answer: &HeaderMap) -> bool {
    answer.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Draws a request id.
pub(crate) fn new_request_id(random: &Random) -> HeaderValue {
    let id = HeaderValue::from_bytes(&random.hex());
    never_again(id.expect("BUG: hex digits are a header value"))
}

/// Marks a value that no other request has: HTTP/2 need not remember it, at the cost of one that comes again.
fn never_again(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Returns the request id a proxy gave, when it is sane.
pub(crate) fn given_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        !bytes.is_empty() && bytes.len() <= limits::REQUEST_ID_CHARS && bytes.iter().all(plain)
    };
    headers.get(REQUEST_ID).filter(sane).cloned().map(never_again)
}

/// Whether the proxy in front had the request over TLS.
pub(crate) fn came_over_tls(headers: &HeaderMap) -> bool {
    let proto = headers.get_all(FORWARDED_PROTO).iter().next_back().and_then(|proto| proto.to_str().ok());
    let last = proto.and_then(|proto| proto.rsplit(',').next());
    last.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

/// Whether whoever asks is a browser: it names HTML. `*/*` alone is what programs say.
pub(crate) fn reads_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let kinds = lines.flat_map(|line| line.split(','));
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| kind.eq_ignore_ascii_case("text/html"))
}

/// What the edge knows about a request beyond its head.
pub(crate) struct Onward<'r> {
    pub(crate) authority: &'r Authority,
    pub(crate) request_id: &'r HeaderValue,
    pub(crate) client: &'r Client,
    pub(crate) origin: &'r Origin,
    pub(crate) trace: &'r Trace,
    pub(crate) forwarded: Forwarded,
    pub(crate) upgrade: Upgrade,
    pub(crate) random: &'r Random,
}

/// Makes the headers a replica sees of those a client sent.
pub(crate) fn onward(headers: &mut HeaderMap, onward: &Onward<'_>) {
    headers.reserve(HEADERS_OF_OURS);
    let named = named_by_connection(headers);
    let takes_trailers =
        headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let protocols: Vec<HeaderValue> = headers.get_all(header::UPGRADE).iter().cloned().collect();
    let forwarded = forwarded(headers, onward);
    // Few have any: they are looked for before they are removed. What is written anew below replaces what was there.
    let is_written = |name: &HeaderName| {
        *name == header::HOST || *name == REQUEST_ID || forwarded.iter().any(|(given, _)| given == name)
    };
    let is_dropped = |name: &&HeaderName| {
        let of_connection = is_hop_by_hop(name) || named.iter().any(|token| token == name.as_str());
        of_connection || ((is_ours(name) || is_disguised(name)) && !is_written(name))
    };
    while let Some(name) = headers.keys().find(is_dropped).cloned() {
        headers.remove(name);
    }
    join_cookies(headers);
    headers.insert(header::HOST, onward.authority.header.clone());
    headers.insert(REQUEST_ID, onward.request_id.clone());
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if onward.upgrade != Upgrade::None {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.extend(protocols.into_iter().map(|protocol| (header::UPGRADE, protocol)));
    }
    onward.trace.write(headers);
    if onward.upgrade == Upgrade::Stream {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_KEY, websocket_key(onward.random));
    }
    for (name, value) in forwarded {
        headers.insert(name, value);
    }
}

/// Returns 16 bytes in base64. HTTP/2 has no such key; the HTTP/1.1 replica wants one.
fn websocket_key(random: &Random) -> HeaderValue {
    // Hex digits are digits of base64 too; `A` ends 16 bytes.
    let key = [&random.hex()[..21], b"A=="].concat();
    HeaderValue::try_from(key).expect("BUG: digits are a header value")
}

/// Returns what the replica is told of the client.
fn forwarded(inbound: &HeaderMap, onward: &Onward<'_>) -> [(HeaderName, HeaderValue); 4] {
    let client = onward.client;
    let replaces = onward.forwarded == Forwarded::Replaced && !onward.origin.proxied;
    let or_given = |name: HeaderName, value: &HeaderValue| {
        let given = inbound.get(&name).filter(|_| !replaces);
        let value = given.unwrap_or(value).clone();
        (name, value)
    };
    let client_address = if replaces {
        client.address.clone()
    } else if onward.origin.proxied {
        onward.origin.forwarded_for(&client.address)
    } else {
        let before = inbound.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let chain: Vec<&[u8]> = before.chain([client.address.as_bytes()]).collect();
        HeaderValue::from_bytes(&chain.join(&b", "[..])).unwrap_or_else(|_| client.address.clone())
    };
    [
        or_given(FORWARDED_PROTO, &client.scheme),
        or_given(FORWARDED_HOST, &onward.authority.header),
        or_given(FORWARDED_PORT, &client.local_port),
        (FORWARDED_FOR, client_address),
    ]
}

/// Headers of one connection only (RFC 9110, 7.6.1), and those hyper writes anew.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
    )
}

/// Headers that say what only the edge may say. `Expect` is answered by the edge itself.
fn is_ours(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == header::HOST
        || *name == header::EXPECT
        || *name == REQUEST_ID
        || *name == header::FORWARDED
        || text.starts_with("x-forwarded-")
        || text.starts_with("x-medeclipse-")
        || text == "x-real-ip"
}

/// Servers that put headers into an environment, as CGI and WSGI do, read `_` and `-` as the same: a client could say what
/// only the edge may.
fn is_disguised(name: &HeaderName) -> bool {
    if !name.as_str().contains('_') {
        return false;
    }
    let Ok(plain) = HeaderName::try_from(name.as_str().replace('_', "-")) else { return true };
    is_hop_by_hop(&plain) || is_ours(&plain) || plain == header::CONTENT_LENGTH
}

/// Returns what `Connection` names, one after another.
pub(crate) fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Returns the headers that `Connection` declares to be of one connection only; usually none.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let usual = ["close", "keep-alive", "upgrade", "te"];
    tokens(headers).map(str::to_ascii_lowercase).filter(|token| !usual.contains(&token.as_str())).collect()
}

/// HTTP/2 may split cookies over several fields; HTTP/1.1 may not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if lines.nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Returns the path and query the replica sees; the query byte for byte.
pub(crate) fn onward_path(parts: &Parts, place: &Place) -> Result<PathAndQuery, Failure> {
    let whole = parts.uri.path_and_query();
    if !place.target.routes().strip_path || place.prefix == 0 {
        return Ok(whole.cloned().unwrap_or(PathAndQuery::from_static("/")));
    }
    let path = place.inner(parts.uri.path());
    let text = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| Failure::BadRequest("its path cannot be passed on"))
}

/// Rewrites the headers of a replica's answer for the client. Only the edge says that it failed.
pub(crate) fn homeward(headers: &mut HeaderMap, upgraded: Upgrade) {
    let protocol = headers.get(header::UPGRADE).filter(|_| upgraded == Upgrade::Connection).cloned();
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    // Most answers have one of them, or none: they are looked for before they are removed.
    let ends_here = |name: &&HeaderName| {
        matches!(
            name.as_str(),
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
        ) || **name == ERROR
            || **name == REPLAYED
    };
    while let Some(name) = headers.keys().find(ends_here).cloned() {
        headers.remove(name);
    }
    if upgraded == Upgrade::Stream {
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Says who answered.
pub(crate) fn sign(headers: &mut HeaderMap, arm: &ArmRoutes) {
    headers.insert(RELEASE, arm.release_header.clone());
    headers.insert(REVISION, arm.revision_header.clone());
    headers.remove(LABEL);
    if let Some(label) = &arm.label_header {
        headers.insert(LABEL, label.clone());
    }
}

/// Widens the `Path` of a stripped service's cookies to where clients see the service.
pub(crate) fn scope_cookies(headers: &mut HeaderMap, prefix: &str) {
    let scoped = |cookie: &HeaderValue| {
        let text = cookie.to_str().ok()?;
        let part = |part: &str| {
            let (name, value) = part.trim().split_once('=')?;
            let foreign = name.eq_ignore_ascii_case("path") && value.starts_with('/');
            foreign.then(|| format!(" Path={prefix}{}", if value == "/" { "" } else { value }))
        };
        let parts: Vec<String> =
            text.split(';').map(|text| part(text).unwrap_or_else(|| text.to_owned())).collect();
        HeaderValue::try_from(parts.join(";")).ok()
    };
    if let header::Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            *cookie = scoped(cookie).unwrap_or_else(|| cookie.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_lose_port_case_and_trailing_dot() {
        for (header, host) in [
            ("example.org", Some("example.org")),
            ("EXAMPLE.org:8080", Some("example.org")),
            ("example.org.", Some("example.org")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", Some("")),
            ("a b", None),
            ("a/b", None),
            ("user@host", None),
            ("a:b", None),
        ] {
            let header = HeaderValue::from_str(header).unwrap();
            assert_eq!(host_name(&header).as_deref(), host, "{header:?}");
        }
    }

    #[test]
    fn e07_cookies_of_a_stripped_service_are_scoped_to_its_prefix() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=1; Path=/; Secure", "b=2; path=/sub", "c=3"] {
            headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }

        scope_cookies(&mut headers, "/app");

        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; Path=/app; Secure", "b=2; Path=/app/sub", "c=3"]);
    }

    #[test]
    fn headers_of_one_connection_are_found() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("close, X-Secret"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-other"));

        assert_eq!(named_by_connection(&headers), ["x-secret", "x-other"]);
    }
}
