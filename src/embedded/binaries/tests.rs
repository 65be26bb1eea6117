//! Which programs are taken, with programs of our own making.

use uuid::Uuid;

use super::*;

#[test]
fn the_version_is_read_from_every_form_of_the_answer() {
    assert_eq!(major("postgres (PostgreSQL) 17.2"), Some(17));
    assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
    assert_eq!(major("postgres (PostgreSQL) 19beta2"), Some(19));
    assert_eq!(major("postgres (EnterpriseDB) 17"), None);
    assert_eq!(major("bash: postgres: not found"), None);
}

#[test]
fn versions_are_sorted_as_numbers() {
    let root = Root::new();
    for name in ["postgresql@9.6", "postgresql", "postgresql@17", "postgresql@16", "redis"] {
        fs::create_dir(root.0.join(name)).unwrap();
    }
    let found = versions(root.0.to_str().unwrap(), "postgresql", "bin");
    let names = ["postgresql@17", "postgresql@16", "postgresql@9.6", "postgresql"];
    assert_eq!(found, names.map(|name| root.0.join(name).join("bin")));
    assert!(versions("/does/not/exist", "", "bin").is_empty());
}

#[test]
fn the_first_that_runs_is_taken_and_the_wanted_version_before_it() {
    let root = Root::new();
    let broken = root.programs("broken", "exit 1");
    let old = root.programs("old", "echo 'postgres (PostgreSQL) 13.9'");
    let newer = root.programs("newer", "echo 'postgres (PostgreSQL) 18.1'");
    let older = root.programs("older", "echo 'postgres (PostgreSQL) 15.4'");
    let choose = |wanted| {
        let missing = root.0.join("missing");
        let all = [missing, broken.clone(), old.clone(), newer.clone(), older.clone()];
        choose(all, ours(), wanted)
    };
    let newer = Some(Binaries { bin: newer.clone(), major: 18 });
    assert_eq!(choose(None), newer);
    assert_eq!(choose(Some(15)), Some(Binaries { bin: older.clone(), major: 15 }));
    assert_eq!(choose(Some(16)), newer, "to be named in the error");
}

#[test]
fn a_server_without_initdb_is_not_taken() {
    let root = Root::new();
    let bin = root.programs("bin", "echo 'postgres (PostgreSQL) 18.1'");
    fs::remove_file(bin.join("initdb")).unwrap();
    assert_eq!(choose([bin], ours(), None), None);
}

/// The account of this process.
pub(in super::super) fn ours() -> Account {
    Account::ours_alone().unwrap()
}

/// A directory that goes with this value.
pub(in super::super) struct Root(pub(in super::super) PathBuf);

impl Root {
    pub(in super::super) fn new() -> Self {
        let root = env::temp_dir().join(format!("postrider-test-{}", Uuid::new_v4()));
        fs::create_dir(&root).unwrap();
        Self(root)
    }

    fn programs(&self, name: &str, script: &str) -> PathBuf {
        make_programs(&self.0.join(name), script);
        self.0.join(name)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // the test has its result
    }
}

/// Makes a directory with an `initdb` and a `postgres` that run `script`.
pub(in super::super) fn make_programs(bin: &Path, script: &str) {
    // Written by another process: had we a program open for writing, a child that another test
    // starts at that moment would inherit it, and nobody could run it ("text file busy").
    let make = "mkdir -p \"$1\" && cd \"$1\" && printf '#!/bin/sh\\n%s\\n' \"$2\" >initdb && \
                chmod +x initdb && cp initdb postgres";
    let status = std::process::Command::new("sh")
        .args(["-c", make, "sh"])
        .arg(bin)
        .arg(script)
        .status()
        .unwrap();
    assert!(status.success());
}
