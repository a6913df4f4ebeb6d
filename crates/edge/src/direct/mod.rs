//! Speaks HTTP/1.1 for plain requests, those without a body, on both sides and without a task between: the way most requests go.
//! Whatever is not plain, or not quite right, is given to hyper byte for byte, which answers or refuses it; see `converse`.
//! Read `serve` for the client's side and `ask` for the replica's.

mod ask;
mod chunks;
mod content;
mod fields;
mod head;
mod outgoing;
mod plain;
mod serve;

#[cfg(test)]
mod tests;

pub(crate) use ask::{Trouble, ask};
pub(crate) use content::Content;
pub(crate) use serve::{Next, serve};
