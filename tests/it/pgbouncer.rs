//! A worker behind a real PgBouncer in transaction mode, which lends it another session each time.
//!
//! Without PgBouncer on this machine the tests skip, and say so.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use postrider::config::Secret;
use postrider::enqueue::enqueue_many;
use serde_json::json;
use uuid::Uuid;

use crate::lifecycle::{accepting, start};
use crate::support::process::{Process, postrider, run};
use crate::support::service::{LIMIT, Service, to_inbox, webhook};
use crate::support::wait_until;
use crate::traps;

/// Seconds after which it ends though its test was killed.
const LIFETIME: &str = "300";
/// So few that two statements of a worker in a row seldom find the same session.
const SESSIONS: usize = 3;

/// A running PgBouncer before one database. Ends with this value.
struct PgBouncer {
    dir: PathBuf,
    server: Child,
    port: u16,
}

impl PgBouncer {
    /// `None` where there is none to be had.
    fn start(service: &Service) -> Option<Self> {
        let programs = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let Some(program) = programs.into_iter().find(|it| Path::new(it).is_file()) else {
            eprintln!("SKIPPED: this test needs pgbouncer; see .ci/run");
            return None;
        };
        let dir = std::env::temp_dir().join(format!("postrider-pgbouncer-{}", Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server: postgres::Config = service.db.url().parse().unwrap();
        let password = String::from_utf8(server.get_password().unwrap().to_vec()).unwrap();
        let settings = format!(
            "[databases]\n\
             queue = host=127.0.0.1 port={} dbname={} user={} password={password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {SESSIONS}\n\
             server_round_robin = 1\n",
            server.get_ports()[0],
            server.get_dbname().unwrap(),
            server.get_user().unwrap(),
        );
        let file = dir.join("pgbouncer.ini");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIFETIME, program, "-q"]);
        if fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
        {
            command.args(["-u", "nobody"]); // It refuses root.
        }
        let server = command.arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let bouncer = Self { dir, server, port };
        wait_until(LIMIT, "PgBouncer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(bouncer)
    }

    fn url(&self) -> String {
        format!("postgres://anybody@127.0.0.1:{}/queue", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Settings and locks that a worker left in a session that is not its own.
fn left_behind(service: &mut Service) -> i64 {
    let sql = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where d.datname = current_database() and l.locktype = 'advisory' and l.granted";
    service.client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn all_that_a_worker_and_its_commands_do_works_through_pgbouncer() {
    let mut service = Service::new();
    let Some(bouncer) = PgBouncer::start(&service) else { return };
    let sink = accepting();
    let url = bouncer.url();
    let command = |args: &[&str]| {
        let mut command = postrider(&url, args);
        command.env("POSTRIDER_DATABASE__PGBOUNCER", "true");
        Process::spawn(&mut command).wait()
    };
    assert_eq!(command(&["migrate", "--json"]).json()["applied"], json!([]));
    let set =
        ["template", "set", "again", "--title", "T", "--body", "Hello {{user_name}}", "--json"];
    assert_eq!(command(&set).json()["name"], "again");
    let endpoint = format!("--endpoint={}", sink.url("/"));
    let mut args = vec!["enqueue", "again", "--to", "ada@example.com", "--method", "webhook"];
    args.extend([endpoint.as_str(), "--json"]);
    assert_eq!(command(&args).json()["result"], "enqueued");
    for n in 0..300 {
        service.enqueue(&webhook(n, &sink, "/"));
    }
    // Three at once, whose statements would have the same names in the sessions that they share.
    let workers = [(); 3].map(|()| {
        let args = ["run", "--until-empty", "--json", "--set=worker.threads=8"];
        let mut command = postrider(&url, &args);
        Process::spawn(command.env("POSTRIDER_DATABASE__PGBOUNCER", "true"))
    });
    let sent = workers.map(|worker| {
        let ended = worker.wait();
        assert!(!ended.stderr.contains("upkeep"), "{ended:?}");
        assert!(!ended.stderr.contains("cannot be"), "{ended:?}");
        ended.json()["sent"].as_u64().unwrap()
    });
    assert_eq!(sent.iter().sum::<u64>(), 301);
    assert_eq!((sink.arrivals().total(), sink.arrivals().distinct()), (301, 301));
    assert_eq!(command(&["stats", "--json"]).json()["by_status"]["sent"], 301);
    assert_eq!(command(&["message", "list", "--json"]).status.code(), Some(0));
    assert_eq!(left_behind(&mut service), 0);
}

#[test]
fn two_workers_write_each_inbox_entry_once_through_it() {
    let mut service = Service::new();
    let Some(bouncer) = PgBouncer::start(&service) else { return };
    let notifications: Vec<_> = (0..6000).map(to_inbox).collect();
    let mut producers = [(); 2].map(|()| Client::connect(&bouncer.url(), NoTls).unwrap());
    thread::scope(|scope| {
        for (client, half) in producers.iter_mut().zip(notifications.chunks(3000)) {
            scope.spawn(move || enqueue_many(client, half).unwrap());
        }
    });
    let workers = [(); 2].map(|()| {
        let mut command = postrider(&bouncer.url(), &["run", "--until-empty", "--json"]);
        Process::spawn(command.env("POSTRIDER_DATABASE__PGBOUNCER", "true"))
    });
    let sent = workers.map(|worker| worker.wait().json()["sent"].as_u64().unwrap());
    assert_eq!(sent.iter().sum::<u64>(), 6000);
    let entries = service.client.query_one("select count(*) from postrider.inbox", &[]).unwrap();
    assert_eq!(entries.get::<_, i64>(0), 6000);
}

#[test]
fn a_direct_connection_to_listen_on_wakes_the_worker_at_once() {
    let mut service = Service::new();
    let Some(bouncer) = PgBouncer::start(&service) else { return };
    let sink = accepting();
    let mut config = service.config();
    config.database.listen_url = Some(Secret::new(service.db.url()));
    config.database.url = Some(Secret::new(bouncer.url()));
    config.database.pgbouncer = true;
    let worker = start(config);
    // Its next look of its own accord is then far away.
    service.wait_idle(Duration::from_millis(500));
    let began = Instant::now();
    let id = service.enqueue(&webhook(1, &sink, "/"));
    wait_until(LIMIT, "it arrives", || sink.arrivals().total() == 1);
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    service.wait_for(id, "sent");
    worker.stop().unwrap();
}

#[test]
fn without_one_the_worker_says_so_and_looks_for_itself() {
    let mut service = Service::new();
    let Some(bouncer) = PgBouncer::start(&service) else { return };
    let sink = accepting();
    let mut command = postrider(&bouncer.url(), &["run", "--set=worker.fetch_interval=1s"]);
    let worker = Process::spawn(command.env("POSTRIDER_DATABASE__PGBOUNCER", "true"));
    worker.wait_log("no wake-ups through PgBouncer");
    worker.wait_log("set database.listen_url to a direct connection");
    service.wait_idle(Duration::from_millis(200));
    let id = service.enqueue(&webhook(1, &sink, "/"));
    service.wait_for(id, "sent");
    worker.signal(&["TERM"]);
    assert!(worker.wait().status.success());
}

#[test]
fn without_the_setting_a_startup_option_is_all_that_pgbouncer_has_to_ignore() {
    let service = Service::new();
    let Some(bouncer) = PgBouncer::start(&service) else { return };
    let url = format!("{}?options=-c%20search_path%3Dpublic", bouncer.url());
    let ended = run(&url, &["stats"]);
    assert!(ended.error(1).contains("unsupported startup parameter: options"), "{ended:?}");
}

#[test]
fn nothing_that_somebody_else_has_planted_in_public_is_called_through_it() {
    let mut service = Service::new();
    let Some(bouncer) = PgBouncer::start(&service) else { return };
    let _login = traps::set(&service.db);
    let sink = accepting();
    for n in 0..20 {
        service.enqueue(&webhook(n, &sink, "/"));
        service.enqueue(&to_inbox(n));
    }
    for args in
        [&["run", "--until-empty", "--json"][..], &["stats"], &["message", "list"], &["migrate"]]
    {
        let mut command = postrider(&bouncer.url(), args);
        let ended = Process::spawn(command.env("POSTRIDER_DATABASE__PGBOUNCER", "true")).wait();
        assert!(ended.status.success(), "{ended:?}");
        assert!(!traps::caught(&mut service.client), "{args:?}");
    }
    assert_eq!(service.count("sent"), 40);
}
