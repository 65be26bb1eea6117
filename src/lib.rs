//! Postrider: a durable notification queue in PostgreSQL, and the worker that delivers from it.
//!
//! An application enqueues in its own transaction, with [`enqueue`](enqueue::enqueue()) or the SQL function of
//! the same name. A [`Worker`](worker::Worker) leases due messages, renders them, hands each to its
//! [`Transport`](transport::Transport) under a deadline, and commits what came of it, fenced by the lease.
//! There is no async runtime to set up: everything blocks, on threads that the worker owns and joins.
//!
//! `README.md` says how to use it, `ARCHITECTURE.md` how it works.

// In order of dependency, which is also a good order to read them in: a module
// imports only modules above it. `tests/it/tidy.rs` holds us to that.
pub mod config;
pub mod logging;
pub mod vault;
pub mod endpoint;
pub mod clock;
pub mod payload;
pub mod message;
pub mod outcome;
pub mod retry;
pub mod lease;
pub mod store;
mod telemetry;
pub mod enqueue;
pub mod render;
mod gate;
pub mod transport;
mod destination;
mod library;
mod prepare;
mod delivery;
pub mod worker;
pub mod http;
pub mod embedded;
pub mod sink;

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
