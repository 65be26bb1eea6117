//! The integration tests: one binary, so that they link once and share one server.

#![allow(clippy::unwrap_used)] // tests; clippy exempts only those inside `#[test]`

mod clock;
mod connect;
mod embedded;
mod enqueue;
mod http;
mod migrate;
mod model;
mod rig;
mod roles;
mod support;
mod tidy;
mod webhook;
