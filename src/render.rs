//! render

pub mod mail;
