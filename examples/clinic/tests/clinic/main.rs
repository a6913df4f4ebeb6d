//! Tests the clinic as its users meet it: real processes, real sockets, real stores. See `support` for the harness.
#![allow(clippy::unwrap_used)]

mod databases;
mod faults;
mod files;
mod routes;
mod shutdown;
mod streams;
mod support;
