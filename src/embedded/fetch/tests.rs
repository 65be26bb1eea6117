//! What a fetch leaves in the cache, with packages of our own making.

use super::super::binaries::tests::{Root, make_programs};
use super::*;

const RUNS: Package = Package {
    name: "one",
    bin: "deep/bin",
    get: |_, unpacked| {
        make_programs(&unpacked.join("deep/bin"), "echo 'postgres (PostgreSQL) 18.1'");
        Ok(())
    },
};
const BROKEN: Package = Package {
    name: "two",
    bin: "deep/bin",
    get: |_, unpacked| {
        make_programs(&unpacked.join("deep/bin"), "echo 'library not found' >&2; exit 127");
        Ok(())
    },
};
const AWAY: Package =
    Package { name: "three", bin: "deep/bin", get: |_, _| Err(io::Error::other("no network")) };

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_package_that_runs_gets_its_name_and_replaces_what_a_killed_fetch_left() {
    let root = Root::new();
    fs::create_dir_all(root.0.join("unfinished/unpacked/deep/bin/initdb")).unwrap();
    fs::create_dir_all(root.0.join("one/half")).unwrap();
    assert!(install(&RUNS, &root.0, Account::Ours).unwrap().is_some());
    assert_eq!(names(&root.0), ["one"]);
    assert_eq!(names(&root.0.join("one")), ["deep"]);
}

#[test]
fn a_package_that_does_not_run_or_does_not_come_leaves_nothing() {
    let root = Root::new();
    assert!(install(&BROKEN, &root.0, Account::Ours).unwrap().is_none());
    assert_eq!(install(&AWAY, &root.0, Account::Ours).unwrap_err().to_string(), "no network");
    assert!(names(&root.0).is_empty());
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
fn a_command_that_hangs_is_ended_at_its_limit() {
    let err = run(Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::TimedOut);
}
