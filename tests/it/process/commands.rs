//! Each command on a real queue, as scripts use them: one JSON document, an exit code.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::process::{Ended, Process, postrider, run};
use crate::support::service::Service;

/// Runs commands on one queue.
struct Shell {
    service: Service,
}

impl Shell {
    fn new() -> Self {
        Self { service: Service::new() }
    }

    fn run(&self, args: &[&str]) -> Ended {
        run(&self.service.db.url(), args)
    }

    /// What a command prints as JSON.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).json()
    }

    /// The line of a command that fails.
    #[track_caller]
    fn error(&self, args: &[&str]) -> String {
        let ended = self.run(&[args, &["--json"]].concat());
        assert_eq!(ended.stdout, "", "an error is no answer");
        ended.error(1).to_owned()
    }

    fn run_with_input(&self, args: &[&str], input: &str) -> Ended {
        let mut command = postrider(&self.service.db.url(), args);
        command.stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Enqueues for the inbox, and returns the id of the message.
    fn enqueue(&self, n: &str, more: &[&str]) -> String {
        let label = format!("n={n}");
        let args =
            ["enqueue", "hello", "--recipient-id", "ada", "--method", "inbox", "--label", &label];
        let value = self.json(&[&args, more].concat());
        assert_eq!(value["result"], "enqueued");
        value["messages"][0]["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn migrate_makes_the_schema_once() {
    let shell = Shell::new();
    let again = shell.json(&["migrate"]);
    assert_eq!(again["applied"], json!([]));
    assert!(again["version"].is_i64());
}

#[test]
fn templates_are_set_shown_checked_previewed_listed_and_deleted() {
    let shell = Shell::new();
    let set = [
        "template",
        "set",
        "build-failed",
        "--title",
        "Build of {{labels.project}} failed",
        "--body",
        "Look at **{{labels.project}}**.",
        "--method",
        "inbox",
        "--action",
        "View build=https://example.com/{{labels.project}}",
    ];
    let made = shell.json(&set);
    assert_eq!((&made["name"], &made["version"]), (&json!("build-failed"), &json!(1)));
    assert_eq!(shell.json(&set)["version"], 1, "the same again changes nothing");
    let edited = shell.json(&[&set[..5], &["--body", "Other."]].concat());
    assert_eq!((&edited["id"], &edited["version"]), (&made["id"], &json!(2)));
    assert_eq!(shell.json(&set)["version"], 3);

    let shown = shell.json(&["template", "show", "build-failed"]);
    assert_eq!(shown["title"], "Build of {{labels.project}} failed");
    assert_eq!(shown["actions"][0]["label"], "View build");
    assert_eq!(shown["dedupe"], Value::Null);
    let daily = shell.json(&[&set[..], &["--dedupe", "day"]].concat());
    assert_eq!(
        (&daily["version"], shell.json(&["template", "list"])[0]["dedupe"].as_str()),
        (&json!(4), Some("day"))
    );
    assert_eq!(shell.json(&["template", "check", "build-failed"]), json!({"ok": true}));
    assert_eq!(shell.json(&["template", "list"]).as_array().unwrap().len(), 2);

    let preview = ["template", "preview", "build-failed", "--label", "project=engine"];
    let preview = shell.json(&preview);
    assert_eq!(preview["subject"], "Build of engine failed");
    assert_eq!(preview["actions"][0]["url"], "https://example.com/engine");
    assert!(preview["html"].as_str().unwrap().contains("<strong>engine</strong>"));

    assert_eq!(
        shell.json(&["template", "delete", "build-failed"]),
        json!({"deleted": "build-failed"})
    );
    for command in ["show", "check", "preview", "delete"] {
        let line = shell.error(&["template", command, "build-failed"]);
        assert!(line.contains("no template is named `build-failed`"), "{line}");
    }
}

#[test]
fn a_template_that_does_not_compile_is_refused_with_line_and_column() {
    let shell = Shell::new();
    for command in [&["template", "set", "bad"][..], &["template", "check"]] {
        let line = shell.error(&[command, &["--title", "t", "--body", "one\n{{#if}}"]].concat());
        assert!(line.contains("template body, line 2"), "{line}");
    }
    let missing = shell.error(&["template", "preview", "hello"]);
    assert!(missing.contains("labels.n") || missing.contains('n'), "{missing}");
}

#[test]
fn an_enqueue_answers_with_its_messages_or_says_why_there_are_none() {
    let shell = Shell::new();
    let args = ["enqueue", "hello", "--to", "ada@example.com", "--label", "n=1"];
    let enqueued = shell.json(&args);
    assert_eq!(enqueued["result"], "enqueued");
    let methods: Vec<_> =
        enqueued["messages"].as_array().unwrap().iter().map(|it| &it["method"]).collect();
    assert_eq!(methods, ["inbox", "smtp"]);
    assert_eq!(shell.json(&args)["result"], "enqueued", "every enqueue counts");
    let keyed = [&args[..], &["--dedupe-key", "k"]].concat();
    let first = shell.json(&keyed);
    let duplicate = shell.json(&keyed);
    assert_eq!((&duplicate["result"], &duplicate["messages"]), (&json!("duplicate"), &json!([])));
    assert_eq!(duplicate["notification_id"], first["notification_id"]);

    shell.json(&["preference", "set", "ada@example.com", "hello", "off"]);
    let other = ["enqueue", "hello", "--to", "ada@example.com", "--label", "n=2"];
    assert_eq!(shell.json(&other)["result"], "disabled");
    let list = shell.json(&["preference", "list", "ada@example.com"]);
    assert_eq!((list.as_array().unwrap().len(), &list[0]["disabled"]), (1, &json!(true)));
    shell.json(&["preference", "set", "ada@example.com", "hello", "on"]);
    assert_eq!(shell.json(&other)["result"], "enqueued");

    let line = shell.error(&["enqueue", "nothing", "--to", "ada@example.com"]);
    assert!(line.contains("unknown template 'nothing'"), "{line}");
    let nobody = shell.run(&["enqueue", "hello"]);
    assert!(nobody.error(2).contains("--to"), "{nobody:?}");
}

#[test]
fn bad_lines_are_reported_by_number_and_the_others_enqueued() {
    let shell = Shell::new();
    let good = |n: usize| {
        let labels = json!({"n": n});
        let recipient = json!({"id": "ada"});
        json!({"template": "hello", "recipient": recipient, "labels": labels, "methods": ["inbox"]})
            .to_string()
    };
    let unknown = good(3).replace("hello", "nothing");
    let misspelt = good(4).replace("labels", "lables");
    let keyed = good(7).replace("\"labels\"", "\"dedupe_key\": \"k\", \"labels\"");
    let lines =
        [keyed.clone(), "{".into(), good(2), String::new(), unknown, misspelt, keyed, good(5)]
            .join("\n");
    let ended = shell.run_with_input(&["enqueue", "--from", "-", "--json"], &lines);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let summary = ended.document();
    assert_eq!((&summary["enqueued"], &summary["duplicate"]), (&json!(3), &json!(1)));
    let failed = summary["failed"].as_array().unwrap();
    let numbers: Vec<_> = failed.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [2, 5, 6]);
    assert!(failed[1]["error"].as_str().unwrap().contains("unknown template 'nothing'"));
    assert!(failed[2]["error"].as_str().unwrap().contains("lables"));

    let fine = shell.run_with_input(&["enqueue", "--from", "-", "--json"], &good(6));
    assert_eq!(fine.json()["enqueued"], 1);
    let line = shell.error(&["enqueue", "--from", "no-such-file.jsonl"]);
    assert!(line.contains("no-such-file.jsonl"), "{line}");
}

#[test]
fn a_message_is_listed_shown_retried_and_cancelled() {
    let shell = Shell::new();
    let id = shell.enqueue("1", &["--at", "2099-01-01T00:00:00Z"]);
    let listed = shell.json(&["message", "list", "--status", "pending"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(id)));
    assert_eq!(shell.json(&["run", "--until-empty"])["sent"], 0, "it is not due");

    assert_eq!(shell.json(&["message", "retry", &id])["result"], "due");
    assert_eq!(shell.json(&["run", "--until-empty"])["sent"], 1);
    let shown = shell.json(&["message", "show", &id]);
    assert_eq!(shown["status"], "sent");
    assert_eq!(shown["attempts"][0]["outcome"], "sent");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    for command in ["retry", "cancel"] {
        let line = shell.error(&["message", command, &id]);
        assert!(line.contains("is left as it is"), "{line}");
    }

    let doomed = shell.enqueue("2", &["--at", "2099-01-01T00:00:00Z"]);
    assert_eq!(shell.json(&["message", "cancel", &doomed])["result"], "cancelled");
    assert_eq!(shell.json(&["message", "show", &doomed])["status"], "cancelled");
    let nobody = "00000000-0000-7000-8000-000000000000";
    for command in ["show", "retry", "cancel"] {
        let line = shell.error(&["message", command, nobody]);
        assert!(line.contains("no message has the id"), "{line}");
    }
}

#[test]
fn a_failed_message_can_be_retried_with_all_its_attempts() {
    let shell = Shell::new();
    assert!(
        shell
            .error(&["enqueue", "hello", "--to", "a@example.com", "--method", "raven"])
            .contains("raven")
    );
    assert_eq!(shell.json(&["method", "add", "raven"]), json!({"added": "raven"}));
    // Two methods, so two messages: the first by name is the inbox's.
    let id =
        shell.enqueue("1", &["--method", "webhook", "--endpoint", "ftp://example.com/"]).clone();
    let list = shell.json(&["message", "list"]);
    let failed = list.as_array().unwrap().iter().find(|it| it["method"] == "webhook").unwrap();
    let failed = failed["id"].as_str().unwrap();
    assert_ne!(failed, id);
    let tally = shell.json(&["run", "--until-empty"]);
    assert_eq!((&tally["sent"], &tally["ended"]), (&json!(1), &json!(1)));
    let shown = shell.json(&["message", "show", failed]);
    assert_eq!(
        (&shown["status"], &shown["code"]),
        (&json!("permanent_failure"), &json!("bad_url"))
    );
    assert_eq!(shell.json(&["message", "retry", failed])["result"], "due");
    let shown = shell.json(&["message", "show", failed]);
    assert_eq!((&shown["status"], &shown["attempt"]), (&json!("temporary_failure"), &json!(0)));
}

#[test]
fn the_inbox_is_read() {
    let shell = Shell::new();
    let (first, _) = (shell.enqueue("1", &[]), shell.enqueue("2", &[]));
    shell.json(&["run", "--until-empty"]);
    let entries = shell.json(&["inbox", "list", "ada", "--unread"]);
    assert_eq!(entries.as_array().unwrap().len(), 2);
    assert_eq!(entries[1]["content"], "Number 1");
    assert_eq!(shell.json(&["inbox", "read", "ada", &first]), json!({"read": 1}));
    assert_eq!(shell.json(&["inbox", "read", "ada", &first]), json!({"read": 0}));
    assert_eq!(shell.json(&["inbox", "list", "ada", "--unread"]).as_array().unwrap().len(), 1);
    assert_eq!(shell.json(&["inbox", "read", "ada", "--all"]), json!({"read": 1}));
    assert_eq!(shell.json(&["inbox", "list", "ada"]).as_array().unwrap().len(), 2);
    assert_eq!(shell.json(&["inbox", "list", "nobody"]), json!([]));
}

#[test]
fn stats_and_pause_tell_how_the_queue_stands() {
    let shell = Shell::new();
    let empty = shell.json(&["stats"]);
    assert_eq!((&empty["by_status"], &empty["paused"]), (&json!({}), &json!(false)));
    assert_eq!(empty["oldest_ready_seconds"], Value::Null);
    shell.enqueue("1", &[]);
    assert_eq!(shell.json(&["pause"]), json!({"paused": true}));
    let stats = shell.json(&["stats"]);
    assert_eq!((&stats["by_status"], &stats["paused"]), (&json!({"pending": 1}), &json!(true)));
    assert!(0.0 <= stats["oldest_ready_seconds"].as_f64().unwrap());
    assert_eq!(shell.json(&["resume"]), json!({"paused": false}));
    shell.json(&["run", "--until-empty"]);
    assert_eq!(shell.json(&["stats"])["by_status"], json!({"sent": 1}));
}

#[test]
fn tables_for_people_come_without_json() {
    let shell = Shell::new();
    let id = shell.enqueue("1", &[]);
    for (args, word) in [
        (&["message", "list"][..], id.as_str()),
        (&["message", "show", &id], "pending"),
        (&["template", "list"], "hello"),
        (&["template", "show", "hello"], "Number {{labels.n}}"),
        (&["template", "preview", "hello", "--label", "n=7"], "Number 7"),
        (&["inbox", "list", "ada"], "nothing to show"),
        (&["preference", "list"], "nothing to show"),
        (&["stats"], "pending"),
        (&["method", "list"], "webhook"),
        (&["config", "print"], "worker"),
        (&["config", "check"], "fine"),
    ] {
        let ended = shell.run(args);
        assert!(ended.status.success() && ended.stdout.contains(word), "{ended:?}");
        assert!(serde_json::from_str::<Value>(&ended.stdout).is_err(), "{ended:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let shell = Shell::new();
    shell.enqueue("1", &[]);
    let mut command = postrider(&shell.service.db.url(), &["message", "list"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn wrong_usage_is_code_2_and_nothing_on_standard_output() {
    let shell = Shell::new();
    for args in [
        &["message", "show", "no-uuid"][..],
        &["message", "list", "--status", "lost"],
        &["run", "--once", "--until-empty"],
        &["enqueue", "hello", "--to", "ada@example.com", "--priority", "7"],
        &["template", "set", "x"],
        &["no-such-command"],
    ] {
        let mut process = Process::spawn(&mut postrider(&shell.service.db.url(), args));
        let ended = process.wait_within(crate::support::service::LIMIT);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
}
