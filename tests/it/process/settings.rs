//! What the binary says about its settings: what is wrong with them, and never a secret.

use std::process::{Command, Stdio};

use crate::support::process::{Ended, Process, postrider, run};
use crate::support::service::Service;

/// Nothing listens there.
const NOWHERE: &str = "postgres://127.0.0.1:1/nowhere";

/// What must never be seen, each in another setting.
const SECRETS: [&str; 4] =
    ["marker-db", "marker-smtp", "bWFya2VyLXNlY3JldC1vZi0yNC1vY3RldHM=", "marker-path"];

/// With a secret in each setting that takes one.
fn with_secrets(args: &[&str]) -> Command {
    let mut command = postrider("postgres://ada:marker-db@127.0.0.1:1/nowhere", args);
    command.env("POSTRIDER_SMTP__HOST", "127.0.0.1");
    command.env("POSTRIDER_SMTP__FROM", "post@example.com");
    command.env("POSTRIDER_SMTP__USERNAME", "ada");
    command.env("POSTRIDER_SMTP__PASSWORD", "marker-smtp");
    command.env("POSTRIDER_WEBHOOK__SECRET", format!("whsec_{}", SECRETS[2]));
    command.env("POSTRIDER_WEBHOOK__ENDPOINT", "https://example.com/marker-path");
    command.env("POSTRIDER_LOG__LEVEL", "trace").stdin(Stdio::null());
    command
}

#[track_caller]
fn check_no_secret(ended: &Ended) {
    for secret in SECRETS {
        let seen = ended.stdout.contains(secret) || ended.stderr.contains(secret);
        assert!(!seen, "{secret} is seen in {ended:?}");
    }
}

#[test]
fn c28_no_secret_is_printed_or_logged() {
    let bad_flag = ["run", "--no-such-flag"];
    let commands: [&[&str]; 6] = [
        &["--help"],
        &bad_flag,
        &["config", "print"],
        &["config", "print", "--json"],
        &["config", "check"],
        &["stats"],
    ];
    for args in commands {
        check_no_secret(&Process::spawn(&mut with_secrets(args)).wait());
    }
    let printed = Process::spawn(&mut with_secrets(&["config", "print", "--json"])).wait();
    assert!(printed.json().to_string().contains("<secret>"));

    let worker = Process::spawn(&mut with_secrets(&["run"]));
    worker.wait_log("waiting for the database");
    worker.signal(&["TERM"]);
    check_no_secret(&worker.wait());
}

#[test]
fn wrong_settings_are_refused_in_one_line_that_names_them() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--set", "worker.thread=4"], &["worker.thread", "worker.threads"]),
        (&["--set", "worker.fetch_interval=15"], &["worker.fetch_interval", "15s"]),
        (&["--set", "worker.fetch_interval=0s"], &["worker.fetch_interval"]),
        (
            &["--set", "worker.dispatch_timeout=2m"],
            &["worker.dispatch_timeout", "worker.lease_period"],
        ),
        (&["--set", "worker.threads=0"], &["worker.threads"]),
        (&["--config", "no-such-file.toml"], &["no-such-file.toml"]),
    ];
    for (settings, words) in cases {
        let args = [&["run", "--once"], settings].concat();
        let ended = run(NOWHERE, &args);
        let line = ended.error(2);
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn an_unknown_variable_of_ours_is_refused() {
    let mut command = postrider(NOWHERE, &["config", "check"]);
    let ended = Process::spawn(command.env("POSTRIDER_WORKER__THREAD", "4")).wait();
    assert!(ended.error(2).contains("POSTRIDER_WORKER__THREADS"), "{ended:?}");
}

#[test]
fn a_missing_database_url_is_a_wrong_setting_for_every_command() {
    for args in [&["run"][..], &["run", "--once"], &["stats"], &["migrate"], &["pause"]] {
        let ended = run("", args);
        assert!(ended.error(2).contains("POSTRIDER_DATABASE_URL"), "{ended:?}");
    }
}

#[test]
fn c76_a_default_method_that_cannot_be_carried_is_refused_at_the_start() {
    let service = Service::new();
    let url = service.db.url();
    for command in [&["run", "--once"][..], &["config", "check"]] {
        let args = [command, &["--set", "worker.default_methods=smtp"]].concat();
        let ended = run(&url, &args);
        assert!(ended.error(2).contains("smtp.host"), "{ended:?}");
        let args = [command, &["--set", "worker.default_methods=sms"]].concat();
        let ended = run(&url, &args);
        assert!(ended.error(2).contains("sms"), "{ended:?}");
    }
}

#[test]
fn a_database_that_is_away_is_a_failure_and_not_a_wrong_setting() {
    for args in [&["stats"][..], &["run", "--once"], &["run", "--until-empty"]] {
        let ended = run(NOWHERE, args);
        let line = ended.error(1);
        assert!(line.contains("database is not available"), "{line}");
    }
}

#[test]
fn a_database_without_the_schema_says_how_to_get_it() {
    let service = Service::new();
    let url = service.db.url();
    let bare = format!("{}/postgres", url.rsplit_once('/').unwrap().0);
    for args in [&["stats"][..], &["run"], &["run", "--once"]] {
        let ended = run(&bare, args);
        assert!(ended.error(1).contains("postrider migrate"), "{ended:?}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = [
        "demo",
        "run",
        "migrate",
        "enqueue",
        "template set",
        "template list",
        "template show",
        "template check",
        "template preview",
        "template delete",
        "message list",
        "message show",
        "message retry",
        "message cancel",
        "inbox list",
        "inbox read",
        "preference set",
        "preference list",
        "pause",
        "resume",
        "stats",
        "config check",
        "config print",
    ];
    for command in commands {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let ended = run(NOWHERE, &args);
        assert!(ended.status.success(), "{ended:?}");
        assert!(
            ended.stdout.contains(&format!("Example: postrider {command}"))
                || ended.stdout.contains("Example: postrider") && ended.stdout.contains(command),
            "{command}: {}",
            ended.stdout
        );
    }
}
