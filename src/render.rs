//! Templates and Markdown.

pub mod markdown;
