//! Takes the chunked coding of an answer apart (RFC 9112, 7.1). Refuses what is not written as the standard says: a bare line
//! feed, a size that is none, a chunk longer than its size.

use crate::limits;
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use httparse::{EMPTY_HEADER, Status};

/// What comes next of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More must be read before anything can be said.
    More,
}

/// The coding is broken: nobody could say where the answer ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// Bytes of the chunk still to come.
    Data(u64),
    /// The line end behind a chunk.
    DataEnd,
    Trailers,
    Done,
}

/// Where in a chunked body its reader is.
#[derive(Debug)]
pub(super) struct Chunks(State);

impl Chunks {
    pub(super) fn new() -> Self {
        Self(State::Size)
    }

    pub(super) fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Takes the next piece out of what was read.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Broken> {
        loop {
            match self.0 {
                State::Size => match take_line(buffer)? {
                    None => return Ok(Piece::More),
                    Some(line) => {
                        let size = size(&line)?;
                        self.0 = if size == 0 { State::Trailers } else { State::Data(size) };
                    }
                },
                State::Data(_) if buffer.is_empty() => return Ok(Piece::More),
                State::Data(left) => {
                    let taken = left.min(buffer.len() as u64);
                    self.0 = if taken == left { State::DataEnd } else { State::Data(left - taken) };
                    return Ok(Piece::Data(buffer.split_to(taken as usize).freeze()));
                }
                State::DataEnd if buffer.len() < 2 => return Ok(Piece::More),
                State::DataEnd if buffer.starts_with(b"\r\n") => {
                    buffer.advance(2);
                    self.0 = State::Size;
                }
                State::DataEnd => return Err(Broken),
                State::Trailers => return self.trailers(buffer),
                State::Done => return Ok(Piece::End),
            }
        }
    }

    /// Goes on to the end if it has been read already and nothing but the end is left.
    pub(super) fn settle(&mut self, buffer: &mut BytesMut) {
        if self.0 == State::DataEnd && buffer[..] == *b"\r\n0\r\n\r\n" {
            buffer.clear();
            self.0 = State::Done;
        }
    }

    fn trailers(&mut self, buffer: &mut BytesMut) -> Result<Piece, Broken> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.0 = State::Done;
            return Ok(Piece::End);
        }
        let mut headers = [EMPTY_HEADER; limits::TRAILERS];
        match httparse::parse_headers(buffer, &mut headers) {
            Ok(Status::Complete((length, fields))) => {
                let places = super::fields::Places::of(buffer, fields);
                let trailers = buffer.split_to(length).freeze();
                self.0 = State::Done;
                places.fields(&trailers, 0).map(Piece::Trailers).ok_or(Broken)
            }
            Ok(Status::Partial) if buffer.len() < limits::CHUNK_LINE_BYTES => Ok(Piece::More),
            Ok(Status::Partial) | Err(_) => Err(Broken),
        }
    }
}

/// Takes a line out of what was read, without its end.
fn take_line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Broken> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        return if buffer.len() < limits::CHUNK_LINE_BYTES { Ok(None) } else { Err(Broken) };
    };
    let mut line = buffer.split_to(end + 1);
    if end == 0 || line[end - 1] != b'\r' || line[..end - 1].contains(&b'\r') {
        return Err(Broken);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// Reads a chunk's size; extensions behind it are nobody's.
fn size(line: &[u8]) -> Result<u64, Broken> {
    let text = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    if text.is_empty() || text.len() > 15 || !text.iter().all(u8::is_ascii_hexdigit) {
        return Err(Broken);
    }
    let text = std::str::from_utf8(text).map_err(|_| Broken)?;
    u64::from_str_radix(text, 16).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The content of a body, its trailers and what is left behind its end.
    type Whole = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Reads a body that comes in these pieces.
    fn read(pieces: &[&[u8]]) -> Result<Whole, Broken> {
        let (mut chunks, mut buffer) = (Chunks::new(), BytesMut::new());
        let (mut content, mut trailers) = (Vec::new(), None);
        let mut pieces = pieces.iter();
        loop {
            match chunks.next(&mut buffer)? {
                Piece::Data(data) => {
                    content.extend_from_slice(&data);
                    chunks.settle(&mut buffer);
                }
                Piece::Trailers(fields) => trailers = Some(fields),
                Piece::End => return Ok((content, trailers, buffer.to_vec())),
                Piece::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Err(Broken),
                },
            }
        }
    }

    #[test]
    fn a_chunked_body_is_read_to_its_end_and_no_further() {
        let body = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\nHTTP";

        let (content, trailers, left) = read(&[body]).unwrap();

        assert_eq!(content, b"hello world");
        assert_eq!(trailers.unwrap()["x-sum"], "1");
        assert_eq!(left, b"HTTP");
    }

    #[test]
    fn what_is_not_chunked_as_the_standard_says_is_refused() {
        for body in [
            &b"\r\n0\r\n\r\n"[..],
            b"-1\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloo\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"ffffffffffffffffff\r\n",
            b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
            b"5\r\nhello\r\n0\r\n",
        ] {
            assert_eq!(read(&[body]), Err(Broken), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(read(&[&[b'1'; limits::CHUNK_LINE_BYTES]]), Err(Broken));
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_in_whatever_pieces_it_comes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1..20_usize, 1..40),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let (mut pieces, mut rest) = (Vec::new(), &body[..]);
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }

            let (content, trailers, left) = read(&pieces).unwrap();

            prop_assert_eq!(content, chunks.concat());
            prop_assert!(trailers.is_none() && left.is_empty());
        }
    }
}
