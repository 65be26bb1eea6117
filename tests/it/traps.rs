//! Functions and operators that somebody else has put where sessions look for names.

use postgres::Client;
use postrider::clock::Clock;
use postrider::config::Config;
use postrider::store::connect::Connector;
use postrider::store::upkeep::{Upkeep, WorkerInfo};
use postrider::store::{admin, figures};
use uuid::Uuid;

use crate::lifecycle::accepting;
use crate::login::Login;
use crate::support::process::run;
use crate::support::service::{Service, webhook};
use crate::support::{TestDb, database_with};

/// Each fits a call in our statements better than the function of PostgreSQL's own, and counts beyond a
/// transaction that is rolled back.
const TRAPS: &str = "
    create sequence public.called;
    grant usage on sequence public.called to public;
    create function public.called() returns void language plpgsql as
        'begin perform pg_catalog.nextval(''public.called''::pg_catalog.regclass); end';
    create function public.width_bucket(uuid, uuid[]) returns int language plpgsql as
        'begin perform public.called(); return 1; end';
    create function public.nextval(text) returns bigint language plpgsql as
        'begin perform public.called(); return pg_catalog.nextval($1::pg_catalog.regclass); end';
    create function public.cardinality(uuid[]) returns int language plpgsql as
        'begin perform public.called(); return 0; end';
    create function public.cardinality(text[]) returns int language plpgsql as
        'begin perform public.called(); return 0; end';
    create function public.overlaps(text[], text[]) returns boolean language plpgsql as
        'begin perform public.called(); return false; end';
    create operator public.&& (leftarg = text[], rightarg = text[], function = public.overlaps);
    create function public.same(uuid, uuid) returns boolean language plpgsql as
        'begin perform public.called(); return true; end';
    create operator public.= (leftarg = uuid, rightarg = uuid, function = public.same);
    create function public.same(oid, regclass) returns boolean language plpgsql as
        'begin perform public.called(); return true; end';
    create operator public.= (leftarg = oid, rightarg = regclass, function = public.same);
    create function public.same(oid, regnamespace) returns boolean language plpgsql as
        'begin perform public.called(); return true; end';
    create operator public.= (leftarg = oid, rightarg = regnamespace, function = public.same);";

/// Sets the traps, as a login that may create in `public`, which everybody may before PostgreSQL 15.
pub(crate) fn set(db: &TestDb) -> Login {
    let mut login = Login::new(db);
    login.admin("grant create on schema public to LOGIN");
    login.client().batch_execute(TRAPS).unwrap();
    login
}

/// Whether somebody has stepped into one.
pub(crate) fn caught(client: &mut Client) -> bool {
    client.query_one("select is_called from public.called", &[]).unwrap().get(0)
}

#[test]
fn no_command_and_no_worker_calls_what_somebody_else_has_planted_in_public() {
    let db = database_with("encoding 'UTF8' locale 'C' template template0");
    let _login = set(&db);
    let (url, sink) = (db.url(), accepting());
    let endpoint = format!("--url={}", sink.url("/"));
    for args in [
        &["migrate", "--roles"][..],
        &["migrate"],
        &["template", "set", "hello", "--title", "T", "--body", "B"],
        &["endpoint", "set", "ops", &endpoint],
        &[
            "enqueue",
            "hello",
            "--to",
            "ada@example.com",
            "--method",
            "webhook",
            "--endpoint",
            "ops",
        ],
        &["enqueue", "hello", "--to", "ada@example.com", "--method", "inbox"],
        &["run", "--until-empty"],
        &["stats"],
        &["message", "list"],
        &["inbox", "list", "ada@example.com"],
        &["preference", "set", "ada", "hello", "off"],
        &["suppression", "add", "ada@example.com"],
        &["pause"],
        &["resume"],
    ] {
        let ended = run(&url, args);
        assert!(ended.status.success(), "{args:?}: {ended:?}");
        assert!(!caught(&mut db.client()), "{args:?}");
    }
    assert_eq!(sink.arrivals().total(), 1);
}

#[test]
fn what_the_library_asks_on_a_connection_of_its_caller_calls_nothing_planted_either() {
    let mut service = Service::new();
    let _login = set(&service.db);
    let sink = accepting();
    service.enqueue(&webhook(1, &sink, "/"));
    admin::stats(&mut service.client).unwrap();
    figures::read(&mut service.client).unwrap();
    admin::messages::list(&mut service.client, None, 10).unwrap();
    postrider::store::migrate::check(&mut service.client).unwrap();
    postrider::store::migrate::migrate(&mut service.client).unwrap();
    assert!(!caught(&mut service.client));
}

#[test]
fn the_upkeep_calls_nothing_planted() {
    let mut service = Service::new();
    let _login = set(&service.db);
    let connector = Connector::new(&service.config().database).unwrap();
    let worker = WorkerInfo { id: Uuid::new_v4(), host: "h".into() };
    Upkeep::new(connector, Config::default().retention).round(&worker, &Clock::default(), drop);
    assert!(!caught(&mut service.client));
}
