//! Runs an edge in this process on real sockets, with replicas and clients that play their parts. One binary, to link once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod acme;
mod assets;
mod counts;
mod drain;
mod guard;
mod hostile;
mod http2;
mod long;
mod maintenance;
mod mirror;
mod mixed;
mod pages;
mod process;
mod restart;
mod routing;
mod shield;
mod smuggling;
mod splits;
mod streams;
mod support;
mod switches;
mod tls;
mod upstream;
mod websockets;
