//! Follows the framing of a client's HTTP/1 requests beside hyper: where a head begins, and whether it claims two lengths.
//! Refuses nothing itself: `client_io` does. hyper normalises `Content-Length` with `Transfer-Encoding` away before anybody sees it, and its
//! head timer also runs on idle connections; this is what `client_io` needs to do both properly.

use std::io::BufRead;

/// Where in the stream of requests a connection is.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// The start of a line whose end has not come yet. Bounded by the head limit of hyper, which closes before.
    partial: Vec<u8>,
    lengths: Lengths,
    /// Heads read to their end.
    heads: u64,
    /// The first head with two lengths. hyper closes the connection after answering it, so one is enough.
    ambiguous: Option<u64>,
    /// A line of a chunked body ended without its CR, or has a CR or NUL in it. hyper looks for the end of trailers where others
    /// do not: from here on nobody could say where the next request begins.
    malformed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte of a head.
    Idle,
    Head,
    /// Bytes of a body of known length still to come.
    Fixed(u64),
    ChunkSize,
    /// Bytes of a chunk and its line end still to come.
    Chunk(u64),
    Trailers,
    /// Another protocol, or nonsense that hyper refuses: nothing more is learned.
    Opaque,
}

#[derive(Debug, Default, Clone, Copy)]
struct Lengths {
    length: Option<u64>,
    /// How many characters the length was written with.
    written: usize,
    /// The same length, written in two ways: one of them may be read as another number.
    twofold: bool,
    chunked: bool,
    broken: bool,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Idle,
            partial: Vec::new(),
            lengths: Lengths::default(),
            heads: 0,
            ambiguous: None,
            malformed: false,
        }
    }

    /// Takes in what was read from the client.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Opaque => return,
                State::Fixed(left) => bytes = self.skip(bytes, left, State::Fixed, State::Idle),
                State::Chunk(left) => bytes = self.skip(bytes, left, State::Chunk, State::ChunkSize),
                State::Idle | State::Head | State::ChunkSize | State::Trailers => bytes = self.lines(bytes),
            }
        }
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        self.state == State::Head || (self.state == State::Idle && !self.partial.is_empty())
    }

    /// Returns how many heads have been read to their end.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether all that was read belongs to requests that have been read to their end.
    pub(crate) fn is_between(&self) -> bool {
        self.state == State::Idle && self.partial.is_empty()
    }

    /// Returns the number, from 0, of the first request that claims two lengths.
    pub(crate) fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// Whether a chunked body was framed in a way that two parsers read in two ways.
    pub(crate) fn is_malformed(&self) -> bool {
        self.malformed
    }

    fn skip<'b>(&mut self, bytes: &'b [u8], left: u64, more: fn(u64) -> State, done: State) -> &'b [u8] {
        let taken = left.min(bytes.len() as u64);
        self.state = if taken == left { done } else { more(left - taken) };
        &bytes[taken as usize..]
    }

    /// Takes one line, or keeps its start for later. Returns what follows.
    fn lines<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        // `skip_until` searches with the C library's vectorised memchr, which safe code has no other way to reach.
        let mut rest = bytes;
        let taken = rest.skip_until(b'\n').unwrap_or(bytes.len());
        let line = &bytes[..taken];
        if !line.ends_with(b"\n") {
            self.partial.extend_from_slice(line);
        } else if self.partial.is_empty() {
            self.line(line);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(line);
            self.line(&whole);
        }
        &bytes[taken..]
    }

    fn line(&mut self, line: &[u8]) {
        let chunked = matches!(self.state, State::ChunkSize | State::Trailers);
        let is_whole =
            line.strip_suffix(b"\r\n").is_some_and(|line| !line.contains(&0) && !line.contains(&b'\r'));
        if chunked && !is_whole {
            self.malformed = true;
            self.state = State::Opaque;
            return;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            // Empty lines before a request are legal (RFC 9112, 2.2).
            State::Idle if line.is_empty() => {}
            State::Idle if line.starts_with(b"PRI ") || line.starts_with(b"CONNECT ") => {
                self.state = State::Opaque;
            }
            State::Idle => {
                self.lengths = Lengths::default();
                self.state = State::Head;
            }
            State::Head if line.is_empty() => self.end_head(),
            State::Head => self.field(line),
            State::ChunkSize => self.chunk_size(line),
            State::Trailers if line.is_empty() => self.state = State::Idle,
            State::Trailers => {}
            State::Fixed(_) | State::Chunk(_) | State::Opaque => {}
        }
    }

    fn field(&mut self, line: &[u8]) {
        if !matches!(line[0], b'c' | b'C' | b't' | b'T') {
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            let Lengths { length: before, written, .. } = self.lengths;
            self.lengths.twofold |= before.is_some() && before == length && written != value.len();
            self.lengths.broken |= length.is_none();
            (self.lengths.length, self.lengths.written) = (length, value.len());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.lengths.chunked = true;
        }
    }

    fn end_head(&mut self) {
        let Lengths { length, chunked, broken, twofold, .. } = self.lengths;
        if (twofold || (chunked && (length.is_some() || broken))) && self.ambiguous.is_none() {
            self.ambiguous = Some(self.heads);
        }
        self.heads += 1;
        self.state = match (chunked, length) {
            _ if broken || twofold => State::Opaque,
            (true, Some(_)) => State::Opaque,
            (true, None) => State::ChunkSize,
            (false, None | Some(0)) => State::Idle,
            (false, Some(left)) => State::Fixed(left),
        };
    }

    fn chunk_size(&mut self, line: &[u8]) {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size =
            std::str::from_utf8(&line[..digits]).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        self.state = match size {
            None => State::Opaque,
            Some(0) => State::Trailers,
            Some(size) => State::Chunk(size.saturating_add(2)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TALK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nTE: x\
        POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\n\r\n\r\r\n0\r\nContent-Length: 1\r\n\r\n\
        \r\nPOST /c HTTP/1.1\nContent-Length: 0\nTransfer-Encoding: chunked\n\n";

    #[test]
    fn the_request_with_two_lengths_is_found_among_others() {
        let mut framing = Framing::new();

        framing.feed(TALK);

        assert_eq!(framing.ambiguous(), Some(3));
    }

    #[test]
    fn a_head_is_open_from_its_first_byte_to_its_empty_line() {
        let mut framing = Framing::new();

        assert!(!framing.in_head());
        framing.feed(b"G");
        assert!(framing.in_head());
        framing.feed(b"ET / HTTP/1.1\r\nHost: a\r\n\r");
        assert!(framing.in_head());
        framing.feed(b"\n");
        assert!(!framing.in_head());
    }

    #[test]
    fn trailers_that_end_in_two_places_are_malformed() {
        let mut framing = Framing::new();

        framing.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA:\n\n");
        assert!(framing.is_malformed());

        framing.feed(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!((framing.heads, framing.ambiguous()), (1, None));
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_changes_nothing(cuts in prop::collection::vec(1usize..40, 0..40)) {
            let mut framing = Framing::new();
            let mut rest = TALK;
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                framing.feed(now);
                rest = later;
            }
            framing.feed(rest);

            prop_assert_eq!(framing.ambiguous(), Some(3));
            prop_assert_eq!(framing.heads, 4);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            Framing::new().feed(&bytes);
        }
    }
}
