//! The private PostgreSQL, for real: it starts, keeps what it should, and never outlives its owner.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use postgres::{Client, NoTls};
use postrider::embedded::{EmbeddedError, Postgres};
use uuid::Uuid;

use crate::support::{connect, wait_until};

/// Long enough for a loaded machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Set in a process that plays the owner.
const OWNER: &str = "POSTRIDER_TEST_OWNER";

#[test]
fn a_temporary_server_is_ready_private_and_leaves_nothing_behind() {
    let server = Postgres::temporary().unwrap();
    let (url, directory) = (server.url("postgres"), server.directory().to_owned());
    assert_eq!(show(&url, "server_encoding"), "UTF8");
    assert_eq!(show(&url, "fsync"), "on");
    assert_eq!(show(&url, "listen_addresses"), "127.0.0.1");
    assert_ne!(port(&url), 5432);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);

    server.stop().unwrap();
    assert!(!directory.exists());
    assert!(!listens(&url));
}

#[test]
fn the_password_is_asked_for_and_not_shown() {
    let server = Postgres::temporary().unwrap();
    let url = server.url("postgres");
    let password = url.split([':', '@']).nth(2).unwrap();
    assert!(!format!("{server:?}").contains(password));
    let err = Client::connect(&url.replace(password, "guess"), NoTls).err().unwrap();
    assert!(format!("{:?}", err.as_db_error()).contains("password authentication failed"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_for_our_process_group_does_not_reach_the_server() {
    let group = |process: &str| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap().to_owned()
    };
    let server = Postgres::temporary().unwrap();
    let pid_file =
        fs::read_to_string(server.directory().join("server/data/postmaster.pid")).unwrap();
    assert_ne!(group(pid_file.lines().next().unwrap()), group("self"));
}

#[test]
fn the_server_gets_nothing_of_our_environment_but_search_paths() {
    let server = Postgres::temporary().unwrap();
    let mut client = connect(&server.url("postgres"));
    client.batch_execute("create temp table env (line text); copy env from program 'env'").unwrap();
    let rows = client.query("select split_part(line, '=', 1) from env", &[]).unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(names.iter().any(|name| name == "TZ"));
    let foreign = |name: &&String| env::var_os(name).is_some() && !name.ends_with("PATH");
    // What the shells between us and `env` set of themselves.
    let shells = ["PWD", "OLDPWD", "SHLVL", "_"];
    let found: Vec<_> =
        names.iter().filter(foreign).filter(|it| !shells.contains(&&***it)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn settings_of_the_caller_win() {
    let settings = [("max_connections", "7"), ("application_name", "a b")];
    let server = Postgres::temporary_with(&settings).unwrap();
    assert_eq!(show(&server.url("postgres"), "max_connections"), "7");
    assert_eq!(show(&server.url("postgres"), "application_name"), "a b");
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let err = Postgres::temporary_with(&[("shared_buffers", "plenty")]).unwrap_err().to_string();
    assert!(err.contains("invalid value for parameter \"shared_buffers\""), "{err}");
}

#[test]
fn a_kept_directory_keeps_data_password_and_port() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("new/data dir");
    let server = Postgres::in_dir(&directory).unwrap();
    let url = server.url("postgres");
    connect(&url).batch_execute("create table kept ()").unwrap();
    server.stop().unwrap();
    assert!(!listens(&url));

    let server = Postgres::in_dir(&directory).unwrap();
    assert_eq!(server.url("postgres"), url);
    connect(&url).batch_execute("table kept").unwrap();
    server.stop().unwrap();

    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port(&url))).unwrap();
    let server = Postgres::in_dir(&directory).unwrap();
    assert_ne!(server.url("postgres"), url);
    connect(&server.url("postgres")).batch_execute("table kept").unwrap();
}

#[test]
fn a_second_server_in_one_directory_is_refused_and_harms_nothing() {
    let scratch = Scratch::new();
    let server = Postgres::in_dir(&scratch.0).unwrap();
    let err = Postgres::in_dir(&scratch.0).unwrap_err();
    assert!(matches!(err, EmbeddedError::InUse(_)), "{err}");
    connect(&server.url("postgres")).batch_execute("select").unwrap();
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("thesis.txt"), "years of work").unwrap();
    let err = Postgres::in_dir(&scratch.0).unwrap_err();
    assert!(matches!(err, EmbeddedError::NotOurs(_)), "{err}");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
}

#[test]
fn data_of_another_major_version_are_refused_with_both_numbers() {
    let scratch = Scratch::new();
    Postgres::in_dir(&scratch.0).unwrap().stop().unwrap();
    fs::write(scratch.0.join("server/data/PG_VERSION"), "9\n").unwrap();
    let err = Postgres::in_dir(&scratch.0).unwrap_err();
    let EmbeddedError::Version { data, found, .. } = err else { panic!("{err}") };
    assert_eq!(data, 9);
    assert!(14 <= found);
}

#[test]
fn a_directory_of_an_earlier_build_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("data")).unwrap();
    fs::write(scratch.0.join("server.log"), "of before").unwrap();
    let err = Postgres::in_dir(&scratch.0).unwrap_err();
    assert!(matches!(err, EmbeddedError::Earlier(_)), "{err}");
    assert_eq!(fs::read_to_string(scratch.0.join("server.log")).unwrap(), "of before");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
}

#[test]
fn a_log_that_another_program_keeps_is_not_taken_for_ours() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("server.log"), "years of work").unwrap();
    let err = Postgres::in_dir(&scratch.0).unwrap_err();
    assert!(matches!(err, EmbeddedError::NotOurs(_)), "{err}");
    assert_eq!(fs::read_to_string(scratch.0.join("server.log")).unwrap(), "years of work");
}

#[test]
fn a_link_in_place_of_a_file_of_ours_is_refused_and_its_target_left_alone() {
    let scratch = Scratch::new();
    let (base, victim) = (scratch.0.join("base"), scratch.0.join("victim"));
    Postgres::in_dir(&base).unwrap().stop().unwrap();
    for name in ["server.log", "password", "port"] {
        fs::write(&victim, "years of work").unwrap();
        let before = fs::metadata(&victim).unwrap();
        let (file, kept) = (base.join(name), scratch.0.join("kept"));
        fs::rename(&file, &kept).unwrap();
        symlink(&victim, &file).unwrap();

        let err = Postgres::in_dir(&base).unwrap_err();
        let EmbeddedError::Untrusted { path, fault } = err else { panic!("{name}: {err}") };
        assert_eq!((path, &*fault), (file.clone(), "is a link"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "years of work");
        assert_eq!(fs::metadata(&victim).unwrap().uid(), before.uid());
        fs::rename(&kept, &file).unwrap();
    }
    Postgres::in_dir(&base).unwrap().stop().unwrap();
}

#[test]
fn the_servers_user_can_plant_nothing_beside_its_part_of_the_directory() {
    let scratch = Scratch::new();
    if fs::metadata(&scratch.0).unwrap().uid() != 0 {
        return; // the server's user is ours
    }
    let base = scratch.0.join("base");
    let server = Postgres::in_dir(&base).unwrap();
    let mut client = connect(&server.url("postgres"));
    let mut shell =
        |command: &str| client.batch_execute(&format!("copy (select) to program '{command}'"));
    let base = base.display();
    shell(&format!("cat >{base}/server/planted")).unwrap();
    for trap in [
        format!("ln -s /etc/hostname {base}/planted"),
        format!("ln -sf /etc/hostname {base}/password"),
        format!("mv {base}/server {base}/gone"),
        format!("cat {base}/password"),
    ] {
        assert!(shell(&trap).is_err(), "{trap}");
    }
}

#[test]
fn a_directory_that_another_user_can_swap_is_refused() {
    let scratch = Scratch::new();
    if fs::metadata(&scratch.0).unwrap().uid() != 0 {
        return; // whoever can swap it has no more rights than the server
    }
    let parent = scratch.0.join("parent");
    fs::create_dir(&parent).unwrap();
    chown(&parent, Some(65534), None).unwrap();
    let err = Postgres::in_dir(&parent.join("base")).unwrap_err();
    assert!(matches!(&err, EmbeddedError::Untrusted { path, .. } if *path == parent), "{err}");
    assert!(is_empty(&parent));
}

#[test]
fn a_program_that_is_only_asked_for_its_version_gets_no_secret() {
    let scratch = Scratch::new();
    let dump = scratch.0.join("dump");
    let script = format!("#!/bin/sh\nenv >{}\nexit 1\n", dump.display());
    // Written by another process: a child of another test could inherit our open file.
    let make = "cat >initdb && chmod +x initdb && cp initdb postgres";
    let mut writer = Command::new("sh")
        .args(["-c", make])
        .current_dir(&scratch.0)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());

    let output = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(["run", "--embedded", "--data-dir"])
        .arg(scratch.0.join("base"))
        .env("POSTRIDER_PG_BIN", &scratch.0)
        .env("POSTRIDER_SMTP__PASSWORD", "hunter2")
        .env("POSTRIDER_WEBHOOK__ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let found = fs::read_to_string(&dump).unwrap();
    assert!(found.contains("PATH="), "{found}");
    assert!(!found.contains("POSTRIDER"), "{found}");
}

#[test]
fn after_a_crash_the_server_starts_again_with_its_data_on_the_same_port() {
    let mut server = Postgres::temporary().unwrap();
    let url = server.url("postgres");
    let mut client = connect(&url);
    client.batch_execute("create table committed ()").unwrap();
    server.crash().unwrap();
    assert!(client.batch_execute("table committed").is_err());
    assert!(!listens(&url));

    server.start().unwrap();
    assert_eq!(server.url("postgres"), url);
    connect(&url).batch_execute("table committed").unwrap();
}

#[test]
fn a_port_taken_after_a_crash_is_an_error_until_it_is_free() {
    let mut server = Postgres::temporary().unwrap();
    let url = server.url("postgres");
    server.crash().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port(&url))).unwrap();
    let err = server.start().unwrap_err();
    assert!(matches!(err, EmbeddedError::Start(_)), "{err}");
    drop(taken);
    server.start().unwrap();
    connect(&url);
}

#[test]
fn a_server_ends_with_its_killed_owner_and_its_directory_goes() {
    let scratch = Scratch::new();
    let mut owner = spawn_owner(&scratch.0);
    let stdout = BufReader::new(owner.stdout.take().unwrap());
    let url = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.find("postgres://").map(|start| line[start..].to_owned()));
    let url = url.expect("the owner prints the URL");
    let _session = connect(&url); // does not keep the server
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until(LIMIT, "the server is gone", || !listens(&url));
    wait_until(LIMIT, "the directory is gone", || is_empty(&scratch.0));
}

#[test]
fn an_owner_killed_while_the_cluster_is_made_leaves_nothing_either() {
    let scratch = Scratch::new();
    let mut owner = spawn_owner(&scratch.0);
    wait_until(LIMIT, "the cluster is being made", || {
        let entries = fs::read_dir(&scratch.0).unwrap();
        entries.flatten().any(|entry| entry.path().join("server/data.new").exists())
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until(LIMIT, "the directory is gone", || is_empty(&scratch.0));
}

/// Not a test of its own but the owner in the tests above, in a process that they can kill.
#[test]
fn owner() {
    if env::var_os(OWNER).is_none() {
        return;
    }
    let server = Postgres::temporary().unwrap();
    println!("{}", server.url("postgres"));
    // Until the test closes the pipe or ends.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn spawn_owner(temp_dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "embedded::owner", "--nocapture"])
        .env(OWNER, "1")
        .env("TMPDIR", temp_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// An empty directory in which every user may make others.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("postrider-test-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a failed test may have left a server in it
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

fn show(url: &str, setting: &str) -> String {
    connect(url).query_one(&format!("show {setting}"), &[]).unwrap().get(0)
}

fn port(url: &str) -> u16 {
    url.rsplit([':', '/']).nth(1).unwrap().parse().unwrap()
}

fn listens(url: &str) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port(url))).is_ok()
}
