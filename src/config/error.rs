//! What is wrong with the settings, all of it at once.

use std::collections::BTreeSet;

/// The settings cannot be used. One line per fault; each names the setting and what to change.
/// No line holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct ConfigError {
    faults: Vec<String>,
}

impl ConfigError {
    /// The faults, one line each.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

/// The faults found so far, and the settings they are about.
#[derive(Debug, Default)]
pub(super) struct Faults {
    lines: Vec<String>,
    keys: BTreeSet<&'static str>,
}

impl Faults {
    /// Notes a fault that belongs to no known setting.
    pub(super) fn stray(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Notes a fault of the settings named; what they are follows from each other, so nothing is
    /// said if one of them is at fault already.
    pub(super) fn note(&mut self, keys: &[&'static str], line: String) {
        if keys.iter().any(|key| self.keys.contains(key)) {
            return;
        }
        self.keys.extend(keys);
        self.lines.push(line);
    }

    /// [`note`](Self::note)s the fault unless the condition holds.
    pub(super) fn require(&mut self, holds: bool, keys: &[&'static str], line: impl Into<String>) {
        if !holds {
            self.note(keys, line.into());
        }
    }

    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        if self.lines.is_empty() { Ok(()) } else { Err(ConfigError { faults: self.lines }) }
    }
}
