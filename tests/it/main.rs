//! The integration tests: one binary, one module per area.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod webhook;
