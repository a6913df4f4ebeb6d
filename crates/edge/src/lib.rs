//! Carries requests to the replicas of each target and counts what became of them. Read `forward` for one request's walk.
//! Knows no engine and no driver: it serves from the last table it was given, also when whoever gave it is dead.
//! See `manifest::edge` for what it is told and `meter::wire` for what it reports.

// It panics where nothing can be written, and so would end a process for a full disk.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access_log;
mod admin;
mod asset;
mod balance;
mod body;
mod claim;
mod client;
mod client_io;
mod client_stream;
mod clock;
mod complain;
mod config;
mod control;
mod converse;
mod count;
mod direct;
mod door;
mod drain;
mod exchange;
mod failing;
mod failure;
mod forward;
mod frames;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gather;
mod grpc;
mod guard;
pub mod handover;
mod headers;
mod ledger;
mod life;
pub mod limits;
mod listener;
mod maintenance;
mod mirror;
mod multiplex;
mod outlier;
mod pool;
mod prove;
mod proxy;
mod random;
mod redact;
mod repeats;
mod ring;
mod route;
mod seal;
mod shield;
mod sockets;
mod split;
mod stop;
mod store;
mod tables;
mod tls;
mod upgrade;
mod wire;
mod worker;

pub use config::{EdgeConfig, Forwarded, Waits};
pub use life::{Edge, EdgeError, run};
