//! The integration tests: one binary, so that they link once and share one server.

#![allow(clippy::unwrap_used)] // tests; clippy exempts only those inside `#[test]`

#[path = "../shared/arguments.rs"]
mod arguments;
mod bad_input;
mod clock;
mod connect;
mod dedupe;
mod dependencies;
mod dkim;
mod embedded;
mod endpoints;
mod enqueue;
mod enqueue_many;
mod http;
mod lifecycle;
mod limits;
mod login;
mod mail;
#[path = "../shared/process.rs"]
mod memory;
mod migrate;
mod model;
mod pgbouncer;
mod plans;
mod postfix;
mod process;
mod queue;
mod rig;
mod roles;
mod support;
mod test_send;
mod tidy;
mod traps;
mod two_phase;
#[path = "../shared/wait.rs"]
mod wait;
mod webhook;
