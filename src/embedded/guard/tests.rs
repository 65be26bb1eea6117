//! What is refused, with traps of our own making.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::super::binaries::tests::{Root, ours};
use super::*;

/// What the error says of the path, and the path.
fn fault(res: Result<impl Sized, EmbeddedError>) -> (String, PathBuf) {
    match res {
        Err(EmbeddedError::Untrusted { path, fault }) => (fault, path),
        Err(err) => panic!("{err}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn a_file_that_is_not_plainly_ours_is_refused_and_what_it_leads_to_is_left_alone() {
    let (root, ours) = (Root::new(), ours().ours());
    let (victim, trap) = (root.0.join("victim"), root.0.join("trap"));
    let refused = |said: &str| {
        for res in [write_file(&trap, ours, "x"), read_file(&trap, ours).map(drop)] {
            assert_eq!(fault(res), (said.to_owned(), trap.clone()));
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "years of work");
        fs::remove_file(&trap).unwrap();
    };
    fs::write(&victim, "years of work").unwrap();

    symlink(&victim, &trap).unwrap();
    refused("is a link");
    fs::hard_link(&victim, &trap).unwrap();
    refused("has more than one name");
    assert!(std::process::Command::new("mkfifo").arg(&trap).status().unwrap().success());
    refused("is not a regular file");
    fs::write(&trap, "").unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o602)).unwrap();
    refused("can be changed by other users");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let root = Root::new();
    let (path, ours) = (root.0.join("file"), ours().ours());
    write_file(&path, ours, "x").unwrap();
    let (said, _) = fault(read_file(&path, ours + 1));
    assert_eq!(said, format!("belongs to user {ours} instead of {}", ours + 1));
    assert_eq!(read_file(&path, ours).unwrap().as_deref(), Some("x"));
}

#[test]
fn a_link_to_a_missing_file_makes_none() {
    let root = Root::new();
    let (target, link) = (root.0.join("target"), root.0.join("link"));
    symlink(&target, &link).unwrap();
    assert_eq!(fault(write_file(&link, ours().ours(), "x")).0, "is a link");
    assert!(!target.exists());
}

#[test]
fn a_socket_in_place_of_a_file_is_an_error() {
    let root = Root::new();
    let path = root.0.join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    assert!(read_file(&path, ours().ours()).is_err());
}

#[test]
fn a_link_in_place_of_a_directory_is_refused() {
    let root = Root::new();
    let link = root.0.join("link");
    symlink(&root.0, &link).unwrap();
    assert_eq!(fault(open_dir(&link)).0, "is a link");
}

#[test]
fn a_path_is_refused_where_others_decide_what_it_leads_to() {
    let (root, ours) = (Root::new(), ours().ours());
    let middle = root.0.join("middle");
    let path = middle.join("new/base");
    fs::create_dir(&middle).unwrap();
    check_parents(&path, ours).unwrap();

    fs::set_permissions(&middle, fs::Permissions::from_mode(0o757)).unwrap();
    assert_eq!(
        fault(check_parents(&path, ours)),
        ("can be changed by other users".into(), middle.clone())
    );
    fs::set_permissions(&middle, fs::Permissions::from_mode(0o1777)).unwrap();
    check_parents(&path, ours).unwrap();

    fs::set_permissions(&middle, fs::Permissions::from_mode(0o755)).unwrap();
    // Root may be the owner of anything, so another user's view needs a directory not of root.
    if ours != 0 {
        assert_eq!(fault(check_parents(&path, ours + 1)).1, middle);
    }
}

#[test]
fn links_above_a_directory_are_followed_once() {
    let root = Root::new();
    let (real, link) = (root.0.join("real"), root.0.join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let made = make_dirs(&link.join("a/b"), ours()).unwrap();
    assert_eq!(made, real.canonicalize().unwrap().join("a/b"));
    assert!(made.is_dir());
}
