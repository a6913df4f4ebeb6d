//! Continues the trace of a request: a valid `traceparent` keeps its trace and its sampled flag, anything else begins anew.
//! Records no spans; the edge is one hop with an id of its own. Source: W3C Trace Context, level 1.

use crate::random::{Random, hex};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Characters of a `tracestate` that is passed on; the standard asks for 512 at least.
const STATE_MAX: usize = 2048;

/// The trace of one request: 32 hex digits, the edge's own 16, and the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    trace: u128,
    span: u64,
    sampled: bool,
    /// Whether the client began it.
    continued: bool,
}

impl Trace {
    /// Continues the trace the headers name, or begins one.
    pub(crate) fn of(headers: &HeaderMap, random: &Random) -> Self {
        let mut named = headers.get_all(TRACEPARENT).iter();
        let known = named.next().and_then(|value| parse(value.as_bytes()));
        // Twice is no valid one.
        let known = known.filter(|_| named.next().is_none());
        let span = random.next().max(1);
        match known {
            Some((trace, sampled)) => Self { trace, span, sampled, continued: true },
            None => {
                let trace = u128::from(random.next()) << 64 | u128::from(random.next().max(1));
                Self { trace, span, sampled: false, continued: false }
            }
        }
    }

    pub(crate) fn id(&self) -> u128 {
        self.trace
    }

    pub(crate) fn span(&self) -> u64 {
        self.span
    }

    /// Writes the headers the replica sees; `headers` holds those of the client.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], self.trace);
        hex(&mut text[36..52], u128::from(self.span));
        text[54] = if self.sampled { b'1' } else { b'0' };
        headers
            .insert(TRACEPARENT, HeaderValue::from_bytes(&text).expect("BUG: hex digits are a header value"));
        let length: usize = headers.get_all(TRACESTATE).iter().map(HeaderValue::len).sum();
        // The state belongs to the trace that ended here.
        if !self.continued || length > STATE_MAX {
            headers.remove(TRACESTATE);
        }
    }
}

/// Reads the trace id and the sampled flag. A later version may say more behind the flags.
fn parse(text: &[u8]) -> Option<(u128, bool)> {
    let fits = text.len() == 55 || (text.len() > 55 && text[55] == b'-' && &text[..2] != b"00");
    if !fits || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
        return None;
    }
    let version = number(&text[..2])?;
    let (trace, span, flags) = (number(&text[3..35])?, number(&text[36..52])?, number(&text[53..55])?);
    (version != 0xff && trace != 0 && span != 0).then_some((trace, flags & 1 == 1))
}

/// Reads lower-case hex digits.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn passed_on(parents: &[&[u8]], state: &[&'static str]) -> (HeaderMap, Trace) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(parent).unwrap());
        }
        for line in state {
            headers.append(TRACESTATE, HeaderValue::from_static(line));
        }
        let trace = Trace::of(&headers, &Random::seeded());
        trace.write(&mut headers);
        (headers, trace)
    }

    #[test]
    fn a_valid_trace_goes_on_with_its_flag_and_its_state_and_a_span_of_ours() {
        for flags in ["00", "01", "03"] {
            let parent = format!("{}{flags}", &VALID[..53]);
            let (headers, _) = passed_on(&[parent.as_bytes()], &["a=1,b=2", "c=3"]);

            let onward = headers[TRACEPARENT].to_str().unwrap();
            assert_eq!(onward[..36], VALID[..36]);
            assert_ne!(onward[36..52], VALID[36..52]);
            assert_eq!(onward.as_bytes()[54] == b'1', flags != "00");
            assert_eq!(headers.get_all(TRACESTATE).iter().count(), 2);
        }
    }

    #[test]
    fn what_is_not_valid_is_replaced_with_its_state() {
        let upper = VALID.to_uppercase();
        for parents in [
            &[][..],
            &[b"".as_slice()],
            &[VALID.as_bytes(), VALID.as_bytes()],
            &[upper.as_bytes()],
            &[b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &[b"00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &[b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &[b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"],
            &[b"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &[b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x"],
        ] {
            let (headers, trace) = passed_on(parents, &["a=1"]);

            let onward = headers[TRACEPARENT].to_str().unwrap();
            assert!(
                parse(onward.as_bytes()) == Some((trace.id(), false)) && !headers.contains_key(TRACESTATE)
            );
            assert!(!onward.contains("0af7651916cd43dd"), "{onward}");
        }
    }

    #[test]
    fn a_later_version_is_continued_as_ours() {
        let (headers, _) = passed_on(&[b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"], &[]);

        assert!(headers[TRACEPARENT].to_str().unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    }

    proptest! {
        #[test]
        fn whatever_comes_something_valid_goes_on(parent in prop::collection::vec(32u8..127, 0..80)) {
            let (headers, trace) = passed_on(&[&parent], &[]);

            prop_assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
            prop_assert_eq!(parse(headers[TRACEPARENT].as_bytes()).map(|(id, _)| id), Some(trace.id()));
        }
    }
}
