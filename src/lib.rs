//! Postrider: a durable notification queue in PostgreSQL, and the worker that delivers from it.

// In order of dependency, which is also a good order to read them in: a module
// imports only modules above it. `tests/it/tidy.rs` holds us to that.
pub mod config;
pub mod logging;
pub mod message;
pub mod outcome;
pub mod retry;
pub mod render;
pub mod transport;
pub mod embedded;
pub mod sink;
