//! Reads the status of a gRPC answer, which says 200 also when it failed. Changes nothing; see `ledger` for what follows.

use http::{HeaderMap, HeaderValue, header};

/// UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS: the server's own failures.
/// Source: gRPC, "Status codes and their use in gRPC".
const FAILURES: [&[u8]; 5] = [b"2", b"4", b"13", b"14", b"15"];

/// A method every gRPC server may have (grpc.health.v1).
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// An empty message: not compressed, no bytes.
pub(crate) const EMPTY_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

/// Whether an answer with these headers says how it ended in `grpc-status`, there or in its trailers.
pub(crate) fn is_grpc(head: &HeaderMap) -> bool {
    let start = head.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..16));
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

/// Whether headers or trailers name a failure of the server.
pub(crate) fn has_failed(fields: &HeaderMap) -> bool {
    fields.get("grpc-status").is_some_and(|status| FAILURES.contains(&status.as_bytes().trim_ascii()))
}

/// Returns the trailers of a call that is broken off and may be made again.
pub(crate) fn unavailable(why: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from_static("14"));
    trailers.insert("grpc-message", HeaderValue::from_static(why));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn the_failures_of_the_server_are_five() {
        let failed = (0..=16).filter(|code: &u32| {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-status", HeaderValue::from(*code));
            has_failed(&fields)
        });

        assert_eq!(failed.collect::<Vec<_>>(), [2, 4, 13, 14, 15]);
        assert!(!has_failed(&HeaderMap::new()));
    }

    #[test]
    fn an_answer_is_grpc_by_its_content_type() {
        assert!(is_grpc(&fields("content-type", "application/grpc+proto")));
        assert!(!is_grpc(&fields("content-type", "application/json")));
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
