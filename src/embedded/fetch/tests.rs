//! What a fetch leaves in the cache, with packages of our own making.

use std::env::consts::{ARCH, OS};
use std::process::Command;

use super::super::binaries::tests::{Root, make_programs, ours};
use super::package::make_links;
use super::*;

/// SHA-256 of `x`.
const DIGEST: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
/// Set in a process that plays the caller in a directory with traps.
const TRAPPED: &str = "POSTRIDER_TEST_TRAPPED";

const RUNS: Package = Package {
    client: "one",
    version: "1",
    digests: &[(OS, ARCH, DIGEST)],
    bin: "deep/bin",
    download: |download, _| fs::write(download.join("archive"), "x"),
    unpack: |_, unpacked| {
        make_programs(&unpacked.join("deep/bin"), "echo 'postgres (PostgreSQL) 18.1'");
        Ok(())
    },
};
const BROKEN: Package = Package {
    client: "two",
    unpack: |_, unpacked| {
        make_programs(&unpacked.join("deep/bin"), "echo 'library not found' >&2; exit 127");
        Ok(())
    },
    ..RUNS
};
const AWAY: Package =
    Package { client: "three", download: |_, _| Err(io::Error::other("no network")), ..RUNS };

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_package_that_runs_gets_its_name_and_replaces_what_a_killed_fetch_left() {
    let root = Root::new();
    fs::create_dir_all(root.0.join("unfinished/unpacked/deep/bin/initdb")).unwrap();
    fs::create_dir_all(root.0.join("one-1/half")).unwrap();
    assert!(install(&RUNS, &root.0, ours()).unwrap().is_some());
    assert_eq!(names(&root.0), ["one-1"]);
    assert_eq!(names(&root.0.join("one-1")), ["deep"]);
}

#[test]
fn a_package_that_does_not_run_or_does_not_come_leaves_nothing() {
    let root = Root::new();
    assert!(install(&BROKEN, &root.0, ours()).unwrap().is_none());
    assert_eq!(install(&AWAY, &root.0, ours()).unwrap_err().to_string(), "no network");
    assert!(names(&root.0).is_empty());
}

#[test]
fn an_archive_with_another_digest_is_not_even_unpacked() {
    const OTHER: Package = Package {
        download: |download, _| fs::write(download.join("archive"), "y"),
        unpack: |_, _| panic!("it was unpacked"),
        ..RUNS
    };
    let root = Root::new();
    let err = install(&OTHER, &root.0, ours()).unwrap_err().to_string();
    assert!(err.starts_with("its archive has SHA-256 a1fce436"), "{err}");
    assert!(err.ends_with(DIGEST), "{err}");
    assert!(names(&root.0).is_empty());
}

#[test]
fn a_package_that_is_not_made_for_this_machine_is_not_asked_for() {
    const FOREIGN: Package =
        Package { digests: &[], download: |_, _| panic!("it was asked for"), ..RUNS };
    let root = Root::new();
    let err = install(&FOREIGN, &root.0, ours()).unwrap_err().to_string();
    assert!(err.contains(ARCH), "{err}");
}

#[test]
fn each_package_is_pinned_for_every_system_that_we_support() {
    for package in &PACKAGES {
        let systems = ["linux", "macos"].map(|os| ["x86_64", "aarch64"].map(|arch| (os, arch)));
        for (os, arch) in systems.concat() {
            let found = package.digests.iter().find(|it| (it.0, it.1) == (os, arch));
            let (.., digest) = found.unwrap();
            assert!(digest.len() == 64 && digest.bytes().all(|it| it.is_ascii_hexdigit()));
        }
    }
}

#[test]
fn code_in_the_callers_directory_is_not_run() {
    let root = Root::new();
    for module in ["pip.py", "zipfile.py", "sitecustomize.py"] {
        let code = format!("open({:?}, 'w').close()\n", root.0.join("trapped"));
        fs::write(root.0.join(module), code).unwrap();
    }
    // The working directory is the whole process's, so the caller is one of its own.
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "embedded::fetch::tests::trapped_caller"])
        .current_dir(&root.0)
        .env(TRAPPED, "1")
        .env("PYTHONPATH", &root.0)
        .env("PIP_INDEX_URL", "file:///nowhere")
        .env("PIP_NO_INDEX", "1")
        .env_remove("PIP_FIND_LINKS")
        .status();
    assert!(status.unwrap().success());
    assert!(!names(&root.0).contains(&"trapped".to_owned()), "{:?}", names(&root.0));
}

/// Not a test of its own but the caller in the test above.
#[test]
fn trapped_caller() {
    if env::var_os(TRAPPED).is_none() {
        return;
    }
    let root = Root::new();
    let (download, archive) = (root.0.join("download"), root.0.join("archive"));
    fs::create_dir(&download).unwrap();
    fs::write(&archive, "x").unwrap();
    let wheel = &PACKAGES[0];
    // Both fail, since there is neither an index nor an archive.
    assert!((wheel.download)(&download, DIGEST).is_err());
    assert!((wheel.unpack)(&archive, &root.0).is_err());
}

#[test]
fn listed_links_are_made_inside_the_package_only() {
    let root = Root::new();
    let package = root.0.join("package");
    fs::create_dir_all(package.join("native/lib")).unwrap();
    fs::write(package.join("native/lib/libx.so.1.2"), "x").unwrap();
    let list = r#"[{"source": "native/lib/libx.so.1.2", "target": "native/lib/libx.so.1"},
        {"source": "native/lib/libx.so.1.2", "target": "../outside"},
        {"source": "native/lib/libx.so.1.2", "target": "/outside"}]"#;
    fs::write(package.join("native/pg-symlinks.json"), list).unwrap();
    make_links(&package).unwrap();
    make_links(&package).unwrap();
    assert_eq!(fs::read(package.join("native/lib/libx.so.1")).unwrap(), b"x");
    assert_eq!(names(&root.0), ["package"]);
    assert_eq!(names(&package.join("native/lib")).len(), 2);
}

#[test]
fn a_command_gets_search_paths_and_what_is_named_and_nothing_else() {
    let printed = run(&mut command("env", &["CARGO_PKG_NAME"]), Duration::from_secs(10)).unwrap();
    let names: Vec<&str> = printed.lines().filter_map(|it| Some(it.split_once('=')?.0)).collect();
    assert!(names.contains(&"CARGO_PKG_NAME") && names.contains(&"PATH"), "{names:?}");
    let known = ["CARGO_PKG_NAME", "PATH", "LD_LIBRARY_PATH"];
    assert!(names.iter().all(|it| known.contains(it)), "{names:?}");
}

#[test]
fn a_command_that_hangs_is_ended_at_its_limit() {
    let err = run(command("sleep", &[]).arg("600"), Duration::from_millis(50)).unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::TimedOut);
}
