//! What the database refuses, or somebody has locked, holds up no other outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use postgres::Client;
use postrider::enqueue::{Notification, enqueue_many};
use postrider::message::{MessageId, Prepared};
use postrider::outcome::{Failure, Receipt};
use postrider::sink::http::{Reply, WebhookSink};
use postrider::sink::smtp::{SinkReply, SmtpSink, SmtpSinkOptions};
use postrider::transport::{Deadline, Transport};
use postrider::worker::Worker;

use super::{accepting, start};
use crate::support::service::{LIMIT, Service, mail_to, notification, webhook};
use crate::support::wait_until;

/// A thousand outcomes, one of which is at fault, are written within this time on a loaded machine.
const SOON: Duration = Duration::from_secs(10);

/// A function that makes more of a text that begins with `bad` than an index takes.
const WIDE: &str = "create function wide(text) returns text immutable language sql as $$
    select case when $1 like 'bad%' then (select string_agg(md5($1 || n), '') from generate_series(1, 300) n)
                else $1 end $$";

fn to(n: usize, recipient: &str) -> Notification {
    let mut notification = notification(n, "inbox");
    notification.recipient.id = recipient.into();
    notification
}

fn mail(n: usize, address: &str) -> Notification {
    let mut mail = notification(n, "smtp");
    mail.recipient.email = Some(address.into());
    mail
}

/// A relay that knows everybody but one.
fn relay_without(nobody: &'static str) -> SmtpSink {
    SmtpSink::start(SmtpSinkOptions {
        recipient: Box::new(move |address| match address {
            it if it == nobody => SinkReply::new(550, "5.1.1 no such user"),
            _ => SinkReply::accept(),
        }),
        ..SmtpSinkOptions::default()
    })
    .unwrap()
}

/// The one message to this recipient.
fn of(client: &mut Client, recipient: &str) -> MessageId {
    let sql = "select id from postrider.all_messages where recipient_id = $1";
    MessageId(client.query_one(sql, &[&recipient]).unwrap().get(0))
}

#[test]
fn a_trigger_that_refuses_one_of_a_thousand_entries_costs_that_message_alone() {
    let mut service = Service::new();
    let trigger = "create function barred() returns trigger language plpgsql as $$ begin
            if new.recipient_id = 'r500' then raise exception 'r500 is barred'; end if; return new; end $$;
        create trigger barred after insert on postrider.inbox for each row execute function barred()";
    service.client.batch_execute(trigger).unwrap();
    let all: Vec<_> = (0..1000).map(|n| to(n, &format!("r{n}"))).collect();
    enqueue_many(&mut service.client, &all).unwrap();
    let mut config = service.config();
    config.worker.in_flight_max = Some(1000);
    let began = Instant::now();
    let worker = start(config);
    service.wait_count("sent", 999);
    service.wait_count("permanent_failure", 1);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let tally = worker.stop().unwrap();
    assert_eq!((tally.sent, tally.ended, tally.refused, tally.lost), (999, 1, 1, 0));
    let barred = of(&mut service.client, "r500");
    let message = service.message(barred).message;
    assert_eq!((message.code.as_deref(), message.attempt), (Some("refused"), 1));
    let reason = message.reason.unwrap();
    assert_eq!(reason, "the database refused the inbox entry (SQLSTATE P0001)");
    let sql = "select count(*) from postrider.inbox";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 999);
}

#[test]
fn what_is_too_long_for_an_index_costs_its_message_alone() {
    let mut service = Service::new();
    let indexes = "create index on postrider.inbox (wide(recipient_id));
                   create index on postrider.suppressions (wide(address))";
    service.client.batch_execute(&format!("{WIDE}; {indexes}")).unwrap();
    let mails = relay_without("bad@example.com");
    let hooks = accepting();
    let mut config = service.config();
    mail_to(&mut config, &mails);
    let entry = service.enqueue(&to(1, "bad recipient"));
    let address = service.enqueue(&mail(2, "bad@example.com"));
    let mut others: Vec<MessageId> =
        (3..10).map(|n| service.enqueue(&webhook(n, &hooks, "/"))).collect();
    others.extend((10..20).map(|n| service.enqueue(&mail(n, "ada@example.com"))));
    others.extend((20..30).map(|n| service.enqueue(&to(n, "ada"))));
    let worker = start(config);
    service.wait_count("sent", i64::try_from(others.len()).unwrap());
    service.wait_count("permanent_failure", 2);
    let tally = worker.stop().unwrap();
    assert_eq!((tally.sent, tally.ended, tally.refused), (others.len(), 2, 2));
    for (id, what) in [(entry, "the inbox entry"), (address, "to suppress the address")] {
        let reason = service.message(id).message.reason.unwrap();
        assert_eq!(reason, format!("the database refused {what} (SQLSTATE 54000)"));
    }
}

#[test]
fn a_row_that_somebody_has_locked_waits_alone_and_is_delivered_once() {
    let mut service = Service::new();
    let (open, gate) = bounded::<()>(0);
    let sink = WebhookSink::start(move |request| {
        if request.path == "/gate" {
            let _ = gate.recv_timeout(LIMIT); // Until it is opened.
        }
        Reply::status(200)
    })
    .unwrap();
    let locked = service.enqueue(&webhook(1, &sink, "/gate"));
    let worker = start(service.config());
    wait_until(LIMIT, "it is under way", || sink.arrivals().count(locked) == 1);
    let mut other = service.db.client();
    let mut tx = other.transaction().unwrap();
    tx.execute("select from postrider.messages where id = $1 for update", &[&locked.0]).unwrap();
    drop(open);
    // Some in its batch, others long after.
    let began = Instant::now();
    for n in 2..22 {
        let id = service.enqueue(&webhook(n, &sink, "/"));
        service.wait_for(id, "sent");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    wait_until(LIMIT, "it was locked for seconds", || Duration::from_secs(3) < began.elapsed());
    assert_eq!(service.status(locked), "leased");
    tx.rollback().unwrap();
    let freed = Instant::now();
    service.wait_for(locked, "sent");
    assert!(freed.elapsed() < Duration::from_secs(3), "{:?}", freed.elapsed());
    assert_eq!(worker.stop().unwrap().sent, 21);
    assert_eq!((sink.arrivals().total(), sink.arrivals().count(locked)), (21, 1));
}

#[test]
fn a_lock_on_anything_else_that_an_outcome_needs_holds_up_no_other_one() {
    let mut service = Service::new();
    let mails = relay_without("eve@example.com");
    let mut config = service.config();
    mail_to(&mut config, &mails);
    // A commit that writes the same key has to wait for the end of this transaction.
    let mut other = service.db.client();
    let mut tx = other.transaction().unwrap();
    let add = "insert into postrider.suppressions (address, code, reason) values ('eve@example.com', '', '')";
    tx.batch_execute(add).unwrap();
    let waiting = service.enqueue(&mail(1, "eve@example.com"));
    let others: Vec<MessageId> =
        (2..12).map(|n| service.enqueue(&mail(n, "ada@example.com"))).collect();
    let worker = start(config);
    let began = Instant::now();
    service.wait_count("sent", i64::try_from(others.len()).unwrap());
    wait_until(LIMIT, "it was locked for seconds", || Duration::from_secs(4) < began.elapsed());
    for n in 12..22 {
        let id = service.enqueue(&mail(n, "ada@example.com"));
        service.wait_for(id, "sent");
    }
    assert!(began.elapsed() < Duration::from_secs(4) + SOON, "{:?}", began.elapsed());
    assert_eq!(service.status(waiting), "leased");
    tx.rollback().unwrap();
    let freed = Instant::now();
    service.wait_for(waiting, "permanent_failure");
    assert!(freed.elapsed() < Duration::from_secs(4), "{:?}", freed.elapsed());
    let tally = worker.stop().unwrap();
    assert_eq!((tally.sent, tally.ended, tally.refused), (20, 1, 0));
    let sql = "select count(*) from postrider.suppressions where code = '550'";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 1);
}

/// Does what the text of the message says.
struct Talkative;

impl Transport for Talkative {
    fn deliver(&self, message: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        let detail = Some("2.0.0 принято".to_owned());
        match message.body.trim() {
            "Number 1" => Ok(Receipt { code: Some("250".into()), detail, inbox: None }),
            "Number 2" => Err(Failure::temporary("http_503", "недоступен")),
            _ => Ok(Receipt::default()),
        }
    }
}

#[test]
fn what_was_sent_stays_sent_and_what_was_deferred_stays_deferred_when_the_note_cannot_be_stored() {
    let mut service = Service::new();
    let ascii = "alter table postrider.history add check (note !~ '[^ -~]');
                 alter table postrider.messages add check (last_error !~ '[^ -~]')";
    service.client.batch_execute(ascii).unwrap();
    let [sent, deferred, plain] = [1, 2, 3].map(|n| service.enqueue(&notification(n, "talk")));
    let worker = Worker::new(service.config()).unwrap().with_transport("talk", Arc::new(Talkative));
    let worker = worker.start().unwrap();
    service.wait_for(sent, "sent");
    service.wait_for(deferred, "temporary_failure");
    service.wait_for(plain, "sent");
    let tally = worker.stop().unwrap();
    assert_eq!((tally.sent, tally.deferred, tally.refused), (2, 1, 2));
    let message = service.message(sent).message;
    assert_eq!(message.code.as_deref(), Some("250"));
    for id in [sent, deferred] {
        let reason = service.message(id).message.reason.unwrap();
        assert_eq!(reason, "the database refused the note (SQLSTATE 23514)");
    }
    assert_eq!(service.message(deferred).attempts[0].code.as_deref(), Some("http_503"));
}
