//! Markdown.

/// Plain text of a Markdown source.
pub fn to_plain(source: &str) -> String {
    source.to_owned()
}
