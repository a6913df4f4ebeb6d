//! Takes header fields out of a head that httparse has read, without copying their values.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Header;
use std::ops::Range;

/// Where the fields of a head are in its bytes.
pub(super) struct Places(Vec<(Range<usize>, Range<usize>)>);

/// Returns where a part of some bytes begins and ends in them.
pub(super) fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

impl Places {
    pub(super) fn of(whole: &[u8], headers: &[Header<'_>]) -> Self {
        let places =
            headers.iter().map(|header| (place(whole, header.name.as_bytes()), place(whole, header.value)));
        Self(places.collect())
    }

    /// Returns where each name begins.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(name, _)| name.start)
    }

    /// Returns the fields, with room for more; None: one has a value that HTTP does not allow.
    pub(super) fn fields(&self, head: &Bytes, more: usize) -> Option<HeaderMap> {
        let mut fields = HeaderMap::with_capacity(self.0.len() + more);
        for (name, value) in &self.0 {
            let name = HeaderName::from_bytes(&head[name.clone()]).ok()?;
            fields.append(name, HeaderValue::from_maybe_shared(head.slice(value.clone())).ok()?);
        }
        Some(fields)
    }
}
