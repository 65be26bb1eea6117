//! The user that the server runs as: PostgreSQL refuses root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::error::EmbeddedError;
use super::process::run;

/// Users that exist for having few rights, best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
const ID_MAX: Duration = Duration::from_secs(10);

/// Who owns the server's processes and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Whoever we are.
    Ours,
    /// We are root, so somebody else.
    Other {
        /// For messages.
        name: &'static str,
        uid: u32,
        gid: u32,
    },
}

impl Account {
    /// Ours, unless we are root.
    pub(super) fn choose() -> Result<Self, EmbeddedError> {
        if id(&["-u"]) != Some(0) {
            return Ok(Self::Ours);
        }
        let found = UNPRIVILEGED.into_iter().find_map(|name| {
            let (uid, gid) = (id(&["-u", name])?, id(&["-g", name])?);
            (uid != 0).then_some(Self::Other { name, uid, gid })
        });
        found.ok_or(EmbeddedError::NoAccount)
    }

    /// Name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "this user",
            Self::Other { name, .. } => name,
        }
    }

    /// Makes the command run as this user.
    pub(super) fn apply(self, command: &mut Command) -> &mut Command {
        match self {
            Self::Ours => command,
            // The standard library drops root's supplementary groups along with the user.
            Self::Other { uid, gid, .. } => command.uid(uid).gid(gid),
        }
    }

    /// Gives a file or directory to this user.
    pub(super) fn own(self, path: &Path) -> Result<(), EmbeddedError> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(uid), Some(gid)).map_err(EmbeddedError::io("hand over", path))
            }
        }
    }
}

/// What `id` says; `None` where it has no answer, as for an unknown user.
fn id(args: &[&str]) -> Option<u32> {
    run(Command::new("id").args(args), ID_MAX).ok()?.trim().parse().ok()
}
