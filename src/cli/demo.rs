//! `demo`: the main job from end to end, on a database and with far ends of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use postgres::Client;
use postrider::config::{AllowPrivate, Config, Secret, SmtpTls};
use postrider::embedded::Postgres;
use postrider::enqueue;
use postrider::message::MailFields;
use postrider::render::samples::samples;
use postrider::store::admin::templates::{self, Dedupe, NewTemplate};
use postrider::store::admin::{self, messages};
use postrider::store::connect::Connector;
use postrider::store::migrate;
use postrider::worker::{Until, Worker};

use uuid::Uuid;

use super::output::{Failed, Output};

mod expect;
mod peers;
mod report;

use expect::{Expectations, Line};
use peers::Peers;

/// The notifications, as JSON Lines.
const INPUT: &str = include_str!("../../tests/data/notifications.jsonl");
/// Longer than any pause between two attempts.
const WAIT: Duration = Duration::from_secs(5);
/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);
/// The whole demo takes a few seconds.
const LIMIT: Duration = Duration::from_mins(2);
/// More messages than the input makes.
const MESSAGES_MAX: i64 = 100_000;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Keeps the database, the mails and the requests in this directory, which must be empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(self, output: Output) -> Result<(), Failed> {
        let began = Instant::now();
        let step = |text: &str| eprintln!("[{:5.1} s] {text}", began.elapsed().as_secs_f64());
        let arrivals = self.arrivals_dir()?;
        step("starting a private PostgreSQL");
        let server = self.server()?;
        let peers = Arc::new(Peers::start(&arrivals).map_err(failed("start the sinks"))?);
        step(&format!("SMTP sink on {}, webhook sink on {}", peers.smtp(), peers.webhook()));
        let config = config(&server, &peers);
        let mut client = Connector::new(&config.database)?.connect()?;
        migrate::migrate(&mut client)?;
        load(&mut client, &peers)?;
        let expected = enqueue_all(&mut client)?;
        step(&format!(
            "{} notifications became {} messages for {} templates",
            INPUT.lines().count(),
            expected.messages(),
            samples().len()
        ));
        work(config, &mut client, &step)?;
        let messages = messages::list(&mut client, None, MESSAGES_MAX)?;
        let report = report::Report::new(&messages, &expected, began.elapsed());
        output.print(&report, |report| report.text(&arrivals))?;
        let places = format!("mails and webhook requests as they arrived: {}", arrivals.display());
        step(&places);
        drop(client);
        drop(server);
        match report.unexpected() {
            0 => Ok(()),
            n => Err(Failed::new(format!("{n} messages are not in the state the input expects"))),
        }
    }

    fn server(&self) -> Result<Postgres, Failed> {
        let server = match &self.keep {
            Some(dir) => Postgres::in_dir(&dir.join("postgres")),
            None => Postgres::temporary(),
        };
        server.map_err(|err| Failed::new(err.to_string()))
    }

    /// Where the sinks write what arrives: an empty directory, or a new one.
    fn arrivals_dir(&self) -> Result<PathBuf, Failed> {
        let Some(dir) = &self.keep else {
            let name = format!("postrider-demo-{}", Uuid::new_v4().simple());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir(&dir).map_err(failed("create the directory for arrivals"))?;
            return Ok(dir);
        };
        fs::create_dir_all(dir).map_err(failed("create the directory"))?;
        let mut entries = fs::read_dir(dir).map_err(failed("read the directory"))?;
        if entries.next().is_some() {
            let dir = dir.display();
            return Err(Failed::usage(format!("--keep {dir}: it is not empty; name another one")));
        }
        Ok(dir.clone())
    }
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Failed {
    move |err| Failed::new(format!("{what}: {err}"))
}

/// Settings as an operator would make them, but in a hurry.
fn config(server: &Postgres, peers: &Peers) -> Config {
    let mut config = Config::default();
    config.database.url = Some(Secret::new(server.url("postgres")));
    config.worker.threads = 16;
    config.worker.dispatch_timeout = Duration::from_secs(1);
    config.worker.lease_period = Duration::from_secs(10);
    config.retry.schedule = Some(vec![Duration::from_millis(200), Duration::from_millis(400)]);
    config.smtp.host = Some(peers.smtp().ip().to_string());
    config.smtp.port = peers.smtp().port();
    config.smtp.tls = Some(SmtpTls::None);
    config.smtp.from = Some("Postrider demo <noreply@example.com>".into());
    config.webhook.endpoint = Some(peers.webhook());
    config.webhook.allow_private = AllowPrivate::All;
    config.webhook.secret = Some(Secret::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    config.branding.app_name = "Demo".into();
    config.branding.base_url = "https://app.example.com".into();
    config
}

fn load(client: &mut Client, peers: &Peers) -> Result<(), Failed> {
    for sample in samples() {
        let template = NewTemplate {
            id: Some(sample.id),
            name: sample.name,
            title: sample.title,
            body: sample.body,
            actions: sample.actions,
            mail: MailFields::default(),
            method: sample.method,
            endpoint: None,
            group: Some(sample.group),
            enabled_by_default: sample.enabled_by_default,
            dedupe: Some(Dedupe::Day),
        };
        templates::set(client, &template)?;
    }
    for (name, url) in peers.endpoints() {
        admin::set_endpoint(client, name, &url)?;
    }
    Ok(())
}

fn enqueue_all(client: &mut Client) -> Result<Expectations, Failed> {
    let mut expected = Expectations::default();
    for (number, text) in (1..).zip(INPUT.lines()) {
        let wrong =
            |err: &dyn std::fmt::Display| Failed::new(format!("input line {number}: {err}"));
        let line = Line::parse(text).map_err(|err| wrong(&err))?;
        let enqueued = enqueue::enqueue(client, &line.notification).map_err(|err| wrong(&err))?;
        expected.note(&line.expect, &enqueued);
    }
    Ok(expected)
}

/// Lets a worker empty the queue, and tells how far it is.
fn work(config: Config, client: &mut Client, step: &impl Fn(&str)) -> Result<(), Failed> {
    let worker = Worker::new(config).map_err(|err| Failed::new(err.to_string()))?;
    let worker = worker.until(Until::Empty(WAIT));
    let running = worker.start().map_err(|err| Failed::new(err.to_string()))?;
    let began = Instant::now();
    while running.is_running() && began.elapsed() < LIMIT {
        thread::sleep(PROGRESS);
        let stats = admin::stats(client)?;
        let counts: Vec<String> =
            stats.by_status.iter().map(|(status, n)| format!("{status} {n}")).collect();
        step(&counts.join(", "));
    }
    running.stop().map_err(|err| Failed::new(err.to_string()))?;
    Ok(())
}
