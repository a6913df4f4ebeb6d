//! Writes what went wrong to standard error, which is the edge's log. Never fails: an edge that ends because it cannot
//! complain, on a full disk, would end what it complains about.

use std::fmt;
use std::io::Write;

/// Writes one line; it is lost where it cannot be written.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _lost = writeln!(std::io::stderr().lock(), "edge: {text}");
}
