//! Connections: TLS and its modes, sockets, odd passwords, and servers that fall silent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;
use postrider::config::{Config, DatabaseConfig, DatabaseTls, Secret};
use postrider::embedded::Postgres;
use postrider::enqueue::Notification;
use postrider::message::Prepared;
use postrider::outcome::{Failure, Receipt};
use postrider::store::StoreError;
use postrider::store::connect::Connector;
use postrider::store::pool::Pool;
use postrider::transport::{Deadline, Transport};
use postrider::worker::Worker;

use crate::rig::{LIMIT, Rig, to_inbox};
use crate::support::{connect, wait_until};

/// A directory that is removed at the end; all users may use it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("pr-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a server may not have removed its socket yet
    }
}

fn config(url: String) -> DatabaseConfig {
    DatabaseConfig { url: Some(Secret::new(url)), ..DatabaseConfig::default() }
}

fn open(config: &DatabaseConfig) -> Result<Client, StoreError> {
    Connector::new(config)?.connect()
}

/// Whether the session is encrypted, as the server sees it.
fn encrypted(client: &mut Client) -> bool {
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    client.query_one(sql, &[]).unwrap().get(0)
}

/// Whether it was built without.
fn speaks_no_tls(server: &Postgres) -> bool {
    let row = connect(&server.url("postgres")).query_one("show ssl_library", &[]).unwrap();
    row.get::<_, String>(0).is_empty()
}

/// Turns TLS on, with a certificate for `localhost`, which is returned.
fn turn_tls_on(server: &Postgres) -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut admin = connect(&server.url("postgres"));
    // Written by the server, whose user must own the key.
    for (name, pem) in
        [("server.crt", pair.cert.pem()), ("server.key", pair.signing_key.serialize_pem())]
    {
        let lines: Vec<String> = pem.lines().map(|line| format!("('{line}')")).collect();
        let rows = lines.join(", ");
        let sql = format!("copy (values {rows}) to program 'umask 077; cat > {name}'");
        admin.batch_execute(&sql).unwrap();
    }
    admin.batch_execute("alter system set ssl = on").unwrap();
    admin.batch_execute("select pg_reload_conf()").unwrap();
    let url = format!("{}?sslmode=require", server.url("postgres"));
    wait_until(LIMIT, "the server speaks TLS", || open(&config(url.clone())).is_ok());
    pair.cert.pem()
}

#[test]
fn each_mode_of_tls_checks_what_it_says_and_no_less() {
    let (server, scratch) = (Postgres::temporary().unwrap(), Scratch::new());
    if speaks_no_tls(&server) {
        return eprintln!("SKIPPED: this test needs a PostgreSQL that was built with TLS");
    }
    let by_address = server.url("postgres");
    let by_name = by_address.replace("127.0.0.1", "localhost");

    let needs_tls =
        DatabaseConfig { tls: Some(DatabaseTls::Require), ..config(by_address.clone()) };
    let refused = open(&needs_tls).err().unwrap().to_string();
    assert!(refused.contains("database.tls"), "{refused}");
    assert!(!encrypted(&mut open(&config(by_address.clone())).unwrap()));

    let ca_file = Some(scratch.file("ca.pem", &turn_tls_on(&server)));
    let attempt = |tls, url: &str, ca_file| {
        let database = DatabaseConfig { tls: Some(tls), ca_file, ..config(url.to_owned()) };
        open(&database).map(|mut client| encrypted(&mut client))
    };
    assert_eq!(attempt(DatabaseTls::Disable, &by_address, None), Ok(false));
    assert_eq!(attempt(DatabaseTls::Prefer, &by_address, None), Ok(true));
    assert_eq!(attempt(DatabaseTls::Require, &by_address, None), Ok(true));
    assert_eq!(attempt(DatabaseTls::VerifyCa, &by_address, ca_file.clone()), Ok(true));
    assert_eq!(attempt(DatabaseTls::VerifyFull, &by_name, ca_file.clone()), Ok(true));
    assert!(encrypted(&mut open(&config(by_address.clone())).unwrap()), "preferred");

    let stranger = attempt(DatabaseTls::VerifyCa, &by_name, None).unwrap_err().to_string();
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    let misnamed = attempt(DatabaseTls::VerifyFull, &by_address, ca_file).unwrap_err().to_string();
    assert!(misnamed.contains("not valid for name"), "{misnamed}");
}

#[test]
fn a_queue_is_reached_over_a_socket_in_the_file_system() {
    let scratch = Scratch::new();
    let dir = scratch.0.to_str().unwrap();
    let server = Postgres::temporary_with(&[("unix_socket_directories", dir)]).unwrap();
    let tcp: postgres::Config = server.url("postgres").parse().unwrap();
    let password = String::from_utf8(tcp.get_password().unwrap().to_vec()).unwrap();
    let port = tcp.get_ports()[0];
    let encoded = dir.replace('/', "%2F");
    for url in [
        format!("postgres://postgres:{password}@{encoded}:{port}/postgres"),
        format!("postgres:///postgres?host={dir}&port={port}&user=postgres&password={password}"),
        format!("host={dir} port={port} user=postgres password={password} dbname=postgres"),
    ] {
        let mut client = open(&config(url)).unwrap();
        let sql = "select inet_server_addr() is null";
        assert!(client.query_one(sql, &[]).unwrap().get::<_, bool>(0));
    }
}

#[test]
fn c74_a_password_may_hold_any_character_and_no_error_shows_it() {
    let rig = Rig::new();
    let role = format!("odd_{}", uuid::Uuid::new_v4().simple());
    let server: postgres::Config = rig.db.url().parse().unwrap();
    let (port, dbname) = (server.get_ports()[0], server.get_dbname().unwrap());
    let mut admin = rig.db.client();
    admin.batch_execute(&format!("create role {role} login")).unwrap();
    for password in ["p@ss", "p#w", "p/w", "100%", "a b'c\\d", "é;:?&=+"] {
        let set = format!("alter role {role} password '{}'", password.replace('\'', "''"));
        admin.batch_execute(&set).unwrap();
        let octets: Vec<String> = password.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let encoded = octets.concat();
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        for url in [
            format!("postgres://{role}:{encoded}@127.0.0.1:{port}/{dbname}"),
            format!("host=127.0.0.1 port={port} user={role} password='{quoted}' dbname={dbname}"),
        ] {
            open(&config(url.clone())).unwrap_or_else(|err| panic!("{password}: {err}"));
            let wrong =
                open(&config(url.replace(&encoded, "wrong-%21").replace(&quoted, "wrong-!")));
            let text = wrong.err().unwrap().to_string();
            assert!(!text.contains("wrong") && text.contains("28P01"), "{text}");
        }
    }
    admin.batch_execute(&format!("drop role {role}")).unwrap();
}

/// Sessions of ours that are stopped. They go on when this is dropped, also by a failed test,
/// whose database could not be dropped else.
struct Frozen(Vec<i32>);

impl Frozen {
    /// Stops the sessions of the rig's database that carry our application name, once all of them
    /// have been idle for a while: one that was stopped with a lock in its hand, or with a latch
    /// inside the server, would stop everybody.
    fn sessions(rig: &mut Rig) -> Self {
        let ours = "pg_stat_activity
                     where datname = current_database() and application_name = 'postrider'";
        let busy = format!(
            "select count(*) from {ours}
                and (state <> 'idle' or now() - interval '300 ms' < state_change)"
        );
        wait_until(LIMIT, "all sessions are idle", || {
            rig.client.query_one(&busy, &[]).unwrap().get::<_, i64>(0) == 0
        });
        let pids = rig.client.query(&format!("select pid from {ours}"), &[]).unwrap();
        let frozen = Self(pids.iter().map(|row| row.get(0)).collect());
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, name: &str) {
        for pid in &self.0 {
            let status = Command::new("kill").args([name, &pid.to_string()]).status();
            assert!(status.unwrap().success());
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

fn hasty(rig: &Rig) -> DatabaseConfig {
    DatabaseConfig { statement_timeout: Duration::from_millis(500), ..rig.config() }
}

#[test]
fn a_statement_of_a_session_that_is_frozen_ends_in_time_and_the_next_one_works() {
    let mut rig = Rig::new();
    let connector = Connector::new(&hasty(&rig)).unwrap();
    let mut client = connector.connect().unwrap();
    client.batch_execute("select 1").unwrap();
    let frozen = Frozen::sessions(&mut rig);
    assert_eq!(frozen.0.len(), 1);
    let began = Instant::now();
    let failed = client.batch_execute("select 1");
    let took = began.elapsed();
    drop(client); // also in time
    assert!(failed.is_err() && took < Duration::from_secs(10), "{took:?}");
    assert!(Duration::from_millis(1_500) <= took, "the server gets its time: {took:?}");
    connector.connect().unwrap().batch_execute("select 1").unwrap();
}

#[test]
fn a_pooled_connection_whose_session_is_frozen_is_replaced() {
    let mut rig = Rig::new();
    let pool = Pool::new(&DatabaseConfig { pool_size: 1, ..hasty(&rig) }).unwrap();
    drop(pool.get().unwrap());
    let _frozen = Frozen::sessions(&mut rig);
    wait_until(LIMIT, "the pool has a connection that works", || {
        pool.get().is_ok_and(|mut client| client.batch_execute("select 1").is_ok())
    });
}

/// Counts what it is given.
struct Counting(AtomicUsize);

impl Transport for Counting {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Receipt::default())
    }
}

#[test]
fn c55_a_worker_whose_sessions_are_all_frozen_opens_new_ones_and_delivers() {
    let mut rig = Rig::new();
    let mut config = Config { database: hasty(&rig), ..Config::default() };
    config.worker.threads = 4;
    // Long enough that its poller sleeps now and then, and short enough for this test.
    config.worker.fetch_interval = Duration::from_secs(2);
    let counting = Arc::new(Counting(AtomicUsize::new(0)));
    let worker = Worker::new(config).unwrap().with_transport("count", counting.clone());
    let running = worker.start().unwrap();
    let delivered = || counting.0.load(Ordering::SeqCst);
    let counted = || Notification { methods: vec!["count".into()], ..to_inbox() };
    rig.put(&counted());
    wait_until(LIMIT, "the first message is delivered", || delivered() == 1);

    let frozen = Frozen::sessions(&mut rig);
    assert!(2 <= frozen.0.len(), "{:?}", frozen.0);
    rig.put(&counted());
    wait_until(LIMIT, "a message is delivered meanwhile", || delivered() == 2);
    wait_until(LIMIT, "and its outcome recorded", || rig.count("history") == 2);
    drop(frozen);
    assert_eq!(running.stop().unwrap().lost, 0);
    assert_eq!(delivered(), 2, "each once");
}
