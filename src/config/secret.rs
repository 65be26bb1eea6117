//! Text that must not be shown, and the files it may come from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest secret file that is read, in octets.
const FILE_MAX: u64 = 64 * 1024;

/// Text that must not be shown. `Debug` prints a placeholder; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What is shown in place of a secret.
    pub(super) const PLACEHOLDER: &str = "<secret>";

    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file, without the blanks and line ends around it.
    pub(super) fn from_file(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        // A limit, since the path may be a device.
        File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
        if FILE_MAX < text.len() as u64 {
            return Err(io::Error::other(format!("is longer than {FILE_MAX} octets")));
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(io::Error::other("is empty"));
        }
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PLACEHOLDER)
    }
}
