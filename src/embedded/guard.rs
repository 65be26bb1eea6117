//! Files and directories that another user must not swap for others.
//!
//! A superuser of the database has the rights of the server's user, so that user may be hostile.
//! Nothing is opened through a link, and a file is used only after its descriptor has shown what
//! it is and whose. Owners and modes are changed by descriptor, never by path.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::account::Account;
use super::error::EmbeddedError;

#[cfg(test)]
mod tests;

/// More than any file that is read here.
const READ_MAX: u64 = 4096;
/// Write bits of the group and of all others.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Opens a file of user `owner`, for reading and appending. Makes it if it is not there.
pub(super) fn open_file(path: &Path, owner: u32) -> Result<File, EmbeddedError> {
    open(OpenOptions::new().create(true).read(true).append(true).mode(0o600), path, owner)
}

/// Replaces what is in a file of user `owner`. Makes it if it is not there.
pub(super) fn write_file(path: &Path, owner: u32, text: &str) -> Result<(), EmbeddedError> {
    let mut file = open_file(path, owner)?;
    let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(EmbeddedError::io("write", path))
}

/// The start of a file of user `owner`; `None` if it is not there.
pub(super) fn read_file(path: &Path, owner: u32) -> Result<Option<String>, EmbeddedError> {
    let file = match open(OpenOptions::new().read(true), path, owner) {
        Err(EmbeddedError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        res => res?,
    };
    let mut text = String::new();
    let read = file.take(READ_MAX).read_to_string(&mut text);
    read.map_err(EmbeddedError::io("read", path)).map(|_| Some(text))
}

fn open(options: &mut OpenOptions, path: &Path, owner: u32) -> Result<File, EmbeddedError> {
    // Without O_NONBLOCK the opening of a FIFO would wait. A regular file takes no notice of it.
    let file = opened(options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path), path)?;
    let metadata = metadata(&file, path)?;
    if !metadata.is_file() {
        return Err(untrusted(path, "is not a regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(untrusted(path, "has more than one name"));
    }
    check(&metadata, path, owner)?;
    Ok(file)
}

/// Opens a directory itself, for its metadata and changes of them.
pub(super) fn open_dir(path: &Path) -> Result<File, EmbeddedError> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    opened(OpenOptions::new().read(true).custom_flags(flags).open(path), path)
}

/// Opens a directory that belongs to user `owner` and that nobody else can change.
pub(super) fn open_own_dir(path: &Path, owner: u32) -> Result<File, EmbeddedError> {
    let dir = open_dir(path)?;
    check(&metadata(&dir, path)?, path, owner)?;
    Ok(dir)
}

/// Makes a directory, and the missing ones above it. Returns the path without links.
///
/// If we are root, only root may be able to change what the path leads to. If not, the server
/// has our own rights, and nobody gains any by it.
pub(super) fn make_dirs(path: &Path, account: Account) -> Result<PathBuf, EmbeddedError> {
    let path = resolve(path).map_err(EmbeddedError::io("find directory", path))?;
    let check = || if account.is_other() { check_parents(&path, account.ours()) } else { Ok(()) };
    check()?;
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
    made.map_err(EmbeddedError::io("create directory", &path))?;
    // Somebody may have made one of the missing ones first, as in /tmp.
    check()?;
    Ok(path)
}

/// Follows the links of the part that exists.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(err), Some(parent), Some(name)) if err.kind() == io::ErrorKind::NotFound => {
            Ok(resolve(parent)?.join(name))
        }
        (found, ..) => found,
    }
}

/// Whether root and user `owner` alone decide what the path leads to.
pub(super) fn check_parents(path: &Path, owner: u32) -> Result<(), EmbeddedError> {
    for dir in path.ancestors().skip(1) {
        let metadata = match fs::symlink_metadata(dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            res => res.map_err(EmbeddedError::io("look at", dir))?,
        };
        if metadata.uid() != 0 {
            check_owner(&metadata, dir, owner)?;
        }
        // In a sticky directory nobody renames what belongs to others.
        if metadata.mode() & STICKY == 0 {
            check_mode(&metadata, dir)?;
        }
    }
    Ok(())
}

fn check(metadata: &Metadata, path: &Path, owner: u32) -> Result<(), EmbeddedError> {
    check_owner(metadata, path, owner)?;
    check_mode(metadata, path)
}

/// Whether it belongs to user `owner`.
pub(super) fn check_owner(
    metadata: &Metadata,
    path: &Path,
    owner: u32,
) -> Result<(), EmbeddedError> {
    match metadata.uid() {
        uid if uid == owner => Ok(()),
        uid => Err(untrusted(path, &format!("belongs to user {uid} instead of {owner}"))),
    }
}

fn check_mode(metadata: &Metadata, path: &Path) -> Result<(), EmbeddedError> {
    // Root's own group has nobody in it that root does not trust.
    let root_group = if metadata.gid() == 0 { 0o020 } else { 0 };
    match metadata.mode() & OTHERS_WRITE & !root_group {
        0 => Ok(()),
        _ => Err(untrusted(path, "can be changed by other users")),
    }
}

pub(super) fn metadata(file: &File, path: &Path) -> Result<Metadata, EmbeddedError> {
    file.metadata().map_err(EmbeddedError::io("look at", path))
}

fn opened(res: io::Result<File>, path: &Path) -> Result<File, EmbeddedError> {
    // Systems have several codes for a link that they are not to follow.
    let is_link = || fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
    match res {
        Err(_) if is_link() => Err(untrusted(path, "is a link")),
        res => res.map_err(EmbeddedError::io("open", path)),
    }
}

fn untrusted(path: &Path, fault: &str) -> EmbeddedError {
    EmbeddedError::Untrusted { path: path.to_owned(), fault: fault.to_owned() }
}
