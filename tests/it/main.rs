//! The integration tests: one binary, so that they link once and share one server.

mod embedded;
mod support;
mod tidy;
