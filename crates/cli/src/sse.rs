//! Reads server-sent events: bytes in, events out. Knows nothing of what they say; see `follow`.
//! After WHATWG HTML, "Server-sent events", 9.2.6: `id`, `data`, comments; `event` and `retry` are not used by the engine.

use crate::client::ClientError;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;

/// The longest event taken: a snapshot of a release with its settings is a few KiB.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where following goes on after this event.
    pub id: Option<String>,
    pub data: String,
}

/// A stream of events over one connection.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    parser: Parser,
}

impl Stream {
    pub fn new(body: Incoming) -> Self {
        Self { body, parser: Parser::default() }
    }

    /// Returns the next event, or None at the end. May be cancelled and called again without losing one.
    pub async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        loop {
            if let Some(message) = self.parser.ready.pop_front() {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Broken { cause: error.to_string() }),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.parser.feed(&bytes)?;
                    }
                }
            }
        }
    }
}

/// Puts lines and events together from pieces of any size.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
    ready: VecDeque<Message>,
}

impl Parser {
    fn feed(&mut self, bytes: &Bytes) -> Result<(), ClientError> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                self.take(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            }
            let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if held > EVENT_BYTES_MAX {
                let cause = format!("an event is longer than {EVENT_BYTES_MAX} bytes");
                return Err(ClientError::Unreadable { request: "/v1/events".to_owned(), cause });
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                self.ready.push_back(Message { id: self.id.clone(), data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments (no field name) keep the connection alive; other fields are not ours.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    const STREAM: &str = ": hello\n\nid: web@local:1\ndata: {\"a\":1}\n\nid:web@local:2\r\ndata: one\ndata: two\n\nevent: x\nid: 3\n\ndata: last\n\n";

    fn parsed(pieces: &[&[u8]]) -> Vec<Message> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.feed(&Bytes::copy_from_slice(piece)).unwrap();
        }
        parser.ready.into()
    }

    #[test]
    fn comments_and_events_without_data_are_skipped() {
        let messages = parsed(&[STREAM.as_bytes()]);

        let texts: Vec<_> =
            messages.iter().map(|message| (message.id.as_deref(), message.data.as_str())).collect();
        assert_eq!(
            texts,
            [(Some("web@local:1"), "{\"a\":1}"), (Some("web@local:2"), "one\ntwo"), (Some("3"), "last")]
        );
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let long = Bytes::from(vec![b'x'; EVENT_BYTES_MAX + 1]);

        assert!(parser.feed(&long).is_err());
    }

    proptest! {
        #[test]
        fn the_same_events_come_whatever_the_pieces(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            let bytes = STREAM.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();

            assert_eq!(parsed(&pieces), parsed(&[bytes]));
        }
    }
}
