//! The user that the server runs as: PostgreSQL refuses root.

use std::fs::File;
use std::io;
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::error::EmbeddedError;
use super::process::{command, run};

/// Users that exist for having few rights, best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
const ID_MAX: Duration = Duration::from_secs(10);

/// Who we are, and who owns the server's processes and files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    /// Our user id.
    ours: u32,
    /// `None` if the server runs as we do.
    other: Option<User>,
}

#[derive(Debug, Clone, Copy)]
struct User {
    /// For messages.
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Ours for the server, too, unless we are root.
    pub(super) fn choose() -> Result<Self, EmbeddedError> {
        let account = Self::ours_alone()?;
        if account.ours != 0 {
            return Ok(account);
        }
        let found = UNPRIVILEGED.into_iter().find_map(|name| {
            let (uid, gid) = (id(&["-u", name])?, id(&["-g", name])?);
            (uid != 0).then_some(User { name, uid, gid })
        });
        let other = found.ok_or(EmbeddedError::NoAccount)?;
        Ok(Self { other: Some(other), ..account })
    }

    /// Ours for the server, too, also if we are root.
    pub(super) fn ours_alone() -> Result<Self, EmbeddedError> {
        let unknown = || EmbeddedError::io("ask for our user id with", Path::new("id -u"));
        let ours = id(&["-u"]).ok_or_else(|| unknown()(io::ErrorKind::NotFound.into()))?;
        Ok(Self { ours, other: None })
    }

    /// Name of the server's user for messages.
    pub(super) fn name(self) -> &'static str {
        self.other.map_or("this user", |it| it.name)
    }

    /// Our user id.
    pub(super) fn ours(self) -> u32 {
        self.ours
    }

    /// The server's user id.
    pub(super) fn servers(self) -> u32 {
        self.other.map_or(self.ours, |it| it.uid)
    }

    /// Whether the server's user is another than we are.
    pub(super) fn is_other(self) -> bool {
        self.other.is_some()
    }

    /// Makes the command run as the server's user.
    pub(super) fn apply(self, command: &mut Command) -> &mut Command {
        match self.other {
            None => command,
            // The standard library drops root's supplementary groups along with the user.
            Some(User { uid, gid, .. }) => command.uid(uid).gid(gid),
        }
    }

    /// Gives an open file or directory to the server's user.
    pub(super) fn hand_over(self, file: &File, path: &Path) -> Result<(), EmbeddedError> {
        match self.other {
            None => Ok(()),
            Some(User { uid, gid, .. }) => {
                fchown(file, Some(uid), Some(gid)).map_err(EmbeddedError::io("hand over", path))
            }
        }
    }
}

/// What `id` says; `None` where it has no answer, as for an unknown user.
fn id(args: &[&str]) -> Option<u32> {
    run(command("id", &[]).args(args), ID_MAX).ok()?.trim().parse().ok()
}
