//! Far ends of our own, for the demo, the tests and the benchmarks.

pub mod http;
pub mod smtp;
