//! sink

pub mod smtp;
