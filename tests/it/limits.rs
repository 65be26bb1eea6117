//! Limits of an enqueue's arguments: each has an error that names it, by every way, and what is too
//! large costs the server little more than reading it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::arguments::ARGUMENTS;
use crate::memory::private_memory;
use crate::rig::{Leases, Rig, ids};
use crate::roles::member_of;
use crate::support::connect;

/// An argument and an expression for it; the others are as they should be.
fn value(name: &str, argument: &str, expression: &str) -> Option<String> {
    match name {
        _ if name == argument => Some(expression.to_owned()),
        "template" => Some("'greeting'".into()),
        "recipient" => Some(r#"'{"id": "ada"}'"#.into()),
        "methods" => Some("'{inbox}'".into()),
        _ => None,
    }
}

/// The three ways to say it in SQL.
fn calls(argument: &str, expression: &str) -> [String; 3] {
    let (mut one, mut columns, mut fields) = (Vec::new(), Vec::new(), Vec::new());
    for (name, of_one, of_many) in ARGUMENTS {
        let Some(value) = value(name, argument, expression) else {
            columns.push("null".to_owned());
            continue;
        };
        let many = if of_one == of_many {
            format!("({value})::{of_one}")
        } else {
            format!("to_jsonb(({value})::{of_one})")
        };
        one.push(format!("{name} => ({value})::{of_one}"));
        fields.push(format!("'{name}', {many}"));
        columns.push(format!("array[{many}]"));
    }
    [
        format!("select result from postrider.enqueue_result({})", one.join(", ")),
        format!("select result from postrider.enqueue_columns({})", columns.join(", ")),
        format!(
            "select result from postrider.enqueue_many(jsonb_build_array(jsonb_build_object({})))",
            fields.join(", ")
        ),
    ]
}

#[track_caller]
fn assert_refused(client: &mut Client, sql: &str, code: &str, text: &str) {
    let short = || sql.chars().take(300).collect::<String>();
    let err = client.query(sql, &[]).err().unwrap_or_else(|| panic!("taken: {}", short()));
    assert_eq!(err.code().map(SqlState::code), Some(code), "{}: {err:?}", short());
    let db = err.as_db_error().unwrap();
    assert!(db.message().contains(text), "{}: {err:?}", short());
    assert!(db.hint().is_some(), "{err:?}");
}

const X: &str = "repeat('x', ";

#[test]
fn each_argument_has_a_limit_and_an_error_that_names_it_by_every_way() {
    let mut rig = Rig::new();
    let id = |bytes: u32| format!("jsonb_build_object('id', {X}{bytes}))");
    let field =
        |name: &str, bytes: u32| format!("jsonb_build_object('id', 'ada', '{name}', {X}{bytes}))");
    let x = |bytes: u32| format!("{X}{bytes})");
    let nulls = |count: u32| format!("to_jsonb(array_fill(null::int, array[{count}]))");
    let deep = |levels: usize| format!("'{}{}'", "[".repeat(levels), "]".repeat(levels));
    let list = |count: u32, of: &str| format!("array_fill({of}, array[{count}])");
    // The largest that is taken, and the smallest that is not.
    #[rustfmt::skip]
    let cases = [
        ("recipient", id(255), id(256), "PR002", "invalid recipient: its id has more than 255"),
        ("recipient", field("email", 254), field("email", 255), "PR002", "invalid recipient 'ada': its email"),
        ("recipient", field("name", 1024), field("name", 1025), "PR002", "invalid recipient 'ada': its name"),
        ("recipient", field("username", 1024), field("username", 1025), "PR002", "its name and username"),
        ("recipient", field("more", 65_000), field("more", 66_000), "PR002", "invalid recipient: it has more than 64 KiB"),
        ("data", format!("to_jsonb({})", x((1 << 20) - 300)), format!("to_jsonb({})", x(1 << 20)), "PR003", "more than 1 MiB"),
        ("labels", format!("jsonb_build_object('a', {})", x((1 << 20) - 300)), format!("jsonb_build_object('a', {})", x(1 << 20)), "PR003", "more than 1 MiB"),
        ("data", nulls(19_998), nulls(20_000), "PR003", "more than 20,000 values"),
        ("data", deep(64), deep(65), "PR003", "deeper than 64 levels"),
        ("targets", list(64, &x(255)), list(65, "'x'::text"), "PR004", "invalid targets"),
        ("targets", "array['x']".into(), format!("array[{}]", x(256)), "PR004", "invalid targets"),
        ("created_by", x(255), x(256), "PR004", "invalid created_by"),
        ("methods", list(16, "'inbox'::text"), list(17, "'inbox'::text"), "PR004", "invalid methods"),
        ("priority", "3".into(), "4".into(), "PR004", "invalid priority 4"),
        ("priority", "0".into(), "-1".into(), "PR004", "invalid priority -1"),
        ("schedule_at", "'9999-12-31'".into(), "'infinity'".into(), "PR004", "invalid schedule_at"),
        ("expires_at", "'9999-12-31'".into(), "'10000-01-02'".into(), "PR004", "invalid expires_at"),
        ("dedupe_key", x(255), x(256), "PR004", "invalid dedupe_key"),
        ("max_attempts", "1000".into(), "1001".into(), "PR004", "invalid max_attempts 1001"),
        ("max_attempts", "1".into(), "0".into(), "PR004", "invalid max_attempts 0"),
        ("endpoint", format!("'http://' || {}", x(2041)), format!("'http://' || {}", x(2042)), "PR005", "invalid endpoint"),
    ];
    for (argument, most, more, code, text) in &cases {
        for sql in calls(argument, most) {
            rig.client.query(&sql, &[]).unwrap_or_else(|err| panic!("{argument} {most}: {err:?}"));
        }
        for sql in calls(argument, more) {
            assert_refused(&mut rig.client, &sql, code, text);
        }
    }
    for sql in calls("template", &x(256)) {
        assert_refused(&mut rig.client, &sql, "PR001", "unknown template 'xxx");
    }
}

#[test]
fn what_no_reader_could_read_is_refused_by_every_way() {
    let mut rig = Rig::new();
    for (argument, expression, code, text) in [
        ("targets", "'{a,null}'", "PR004", "invalid targets"),
        ("methods", "'{inbox,null}'", "PR004", "invalid methods"),
        ("recipient", r#"'{"id": true}'"#, "PR002", "needs an id"),
        ("recipient", r#"'{"id": {"a": 1}}'"#, "PR002", "needs an id"),
        ("recipient", r#"'{"id": ""}'"#, "PR002", "needs an id"),
        ("recipient", "'[\"id\"]'", "PR002", "needs an id"),
        ("recipient", "'null'", "PR002", "needs an id"),
        ("recipient", "null", "PR002", "needs an id"),
        ("recipient", r#"'{"id": 1e131071}'"#, "PR002", "its id has more than 255"),
        ("recipient", r#"'{"id": "ada", "email": 7}'"#, "PR002", "'ada': its email"),
        ("recipient", r#"'{"id": "ada", "name": ["a"]}'"#, "PR002", "'ada': its name"),
        ("labels", "'[]'", "PR003", "labels must be an object, not array"),
    ] {
        for sql in calls(argument, expression) {
            assert_refused(&mut rig.client, &sql, code, text);
        }
    }
    // Only one of the ways has arrays of more than one form.
    for (argument, expression) in [
        ("targets", "array[['a', 'b'], ['c', 'd']]"),
        ("targets", "'[0:1]={a,b}'"),
        ("methods", "'[0:0]={webhook}'"),
        ("methods", "'{{inbox},{smtp}}'"),
    ] {
        let [one, ..] = calls(argument, expression);
        assert_refused(&mut rig.client, &one, "PR004", &format!("invalid {argument}"));
    }
    for (targets, methods) in
        [("'7'", "'[\"inbox\"]'"), ("'[[\"a\"]]'", "'[\"inbox\"]'"), ("null", "'{}'")]
    {
        let sql = format!(
            r#"select * from postrider.enqueue_columns('{{greeting}}', array['{{"id": "a"}}'::jsonb],
                targets => array[{targets}::jsonb], methods => array[{methods}::jsonb])"#
        );
        assert_refused(&mut rig.client, &sql, "PR004", "notification 1: invalid ");
    }
    assert_eq!((rig.count("messages"), rig.count("dedupe")), (0, 0));
}

#[test]
fn a_call_has_a_limit_in_notifications_and_in_bytes() {
    let mut rig = Rig::new();
    let many = |count: u32, data: &str| {
        format!(
            "select count(*) from postrider.enqueue_many((select jsonb_agg(jsonb_build_object('template', 'greeting',
                'recipient', jsonb_build_object('id', 'r' || g), 'methods', '[\"inbox\"]'::jsonb, 'data', {data}))
               from generate_series(1, {count}) g))"
        )
    };
    let text = "too much for one call: at most 10,000 notifications and 16 MiB";
    assert_eq!(rig.number(&many(10_000, "null")), 10_000);
    assert_refused(&mut rig.client, &many(10_001, "null"), "PR004", text);
    assert_eq!(rig.number(&many(15, "repeat('x', 1000000)")), 15);
    assert_refused(&mut rig.client, &many(18, "repeat('x', 1000000)"), "PR004", text);
    // As text, too: each of these is a few bytes in memory, and 900 KB written out.
    let numbers = "(select jsonb_agg(1e131071) from generate_series(1, 7))";
    assert_eq!(rig.number(&many(16, numbers)), 16);
    assert_refused(&mut rig.client, &many(30, numbers), "PR004", text);
    for columns in [
        "array_fill('greeting'::text, array[10001]), array_fill('{\"id\": 7}'::jsonb, array[10001])",
        "'{greeting}', array['{\"id\": 7}'::jsonb], priority => array_fill(1, array[5000000])",
        "'{greeting}', array['{\"id\": 7}'::jsonb], endpoint => array[repeat('x', 17000000)]",
    ] {
        let sql = format!("select * from postrider.enqueue_columns({columns})");
        assert_refused(&mut rig.client, &sql, "PR004", text);
    }
}

/// How many KiB a new session takes at most for a statement, and for how long.
fn cost(url: &str, sql: &str) -> (i64, Duration) {
    let mut client = connect(url);
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let (before, done) = (private_memory(pid), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(private_memory(pid));
                thread::yield_now();
            }
            most
        });
        let began = Instant::now();
        let _ = client.simple_query(sql); // mostly refused, which other tests are about
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        (watch.join().unwrap() - before, took)
    })
}

#[test]
fn a_setting_that_a_worker_may_write_cannot_make_an_enqueue_expensive() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_worker");
    let mut worker = login.client();
    let arm =
        "insert into postrider.doorbell values (gen_random_uuid(), now() + interval '1 hour')";
    rig.client.batch_execute(arm).unwrap();
    for (name, value) in [
        ("bell", "to_jsonb(repeat('x', 50000000))"),
        ("bell", "(select jsonb_agg('1e131071'::jsonb) from generate_series(1, 1000))"),
        ("dedupe_retention", "(select jsonb_agg('1e131071'::jsonb) from generate_series(1, 1000))"),
    ] {
        let sql = format!("update postrider.settings set value = {value} where name = '{name}'");
        let _ = worker.batch_execute(&sql); // refused, or harmless
        for key in ["null", "'key'"] {
            let call = format!(
                "select postrider.enqueue('greeting', '{{\"id\": \"ada\"}}', methods => '{{inbox}}',
                     dedupe_key => {key})"
            );
            check_cost(&rig.db.url(), &format!("{name} is {value}"), "select 1", &call);
        }
    }
}

#[test]
fn a_message_is_due_when_a_worker_reads_at_the_earliest() {
    let mut rig = Rig::new();
    let id = rig.fill(1)[0];
    let due = |time: &str| format!("update postrider.messages set due_at = '{time}'");
    let err = rig.client.batch_execute(&due("1969-12-31 23:59:59+00")).unwrap_err();
    assert_eq!(err.code(), Some(&SqlState::CHECK_VIOLATION), "{err:?}");
    rig.client.batch_execute(&due("1970-01-01 00:00:00+00")).unwrap();
    assert_eq!(ids(&rig.store().leases(10, true)), [id]);
}

#[test]
fn what_a_worker_notes_on_a_message_is_short() {
    let mut rig = Rig::new();
    rig.fill(1);
    for (column, most) in [("code", 255), ("last_error", 4096), ("destination", 8192)] {
        let note = |bytes| format!("update postrider.messages set {column} = repeat('x', {bytes})");
        rig.client.batch_execute(&note(most)).unwrap();
        let err = rig.client.batch_execute(&note(most + 1)).unwrap_err();
        assert_eq!(err.code(), Some(&SqlState::CHECK_VIOLATION), "{err:?}");
    }
}

/// Arguments that are large, or become so where they are copied or written out.
fn heavy() -> Vec<(&'static str, String)> {
    let x = "repeat('x', 100000000)";
    let numbers = |count: u32, number: &str| {
        format!("(select jsonb_agg('{number}'::jsonb) from generate_series(1, {count}))")
    };
    let of =
        |field: &str, value: &str| format!("jsonb_build_object('id', 'ada', '{field}', {value})");
    let nulls = "(select jsonb_agg(null::text) from generate_series(1, 390000))";
    vec![
        ("template", x.into()),
        ("recipient", format!("jsonb_build_object('id', {x})")),
        ("recipient", of("email", x)),
        ("recipient", format!("jsonb_build_object('id', {})", numbers(5000, "1e131071"))),
        ("recipient", of("name", &numbers(5000, "1e131071"))),
        ("recipient", of("more", &numbers(5000, "1e131071"))),
        ("labels", format!("jsonb_build_object('a', {x})")),
        ("labels", "(select jsonb_object_agg(g::text, null::text) from generate_series(1, 100000) g)".into()),
        ("data", format!("to_jsonb({x})")),
        ("data", numbers(8000, "1e131071")),
        ("data", numbers(120, "1e131071")),
        ("data", numbers(19_000, "0e-16383")),
        ("data", numbers(19_000, "1e-16000")),
        ("data", numbers(19_000, "-1e19")),
        ("data", nulls.into()),
        ("data", r"to_jsonb(repeat(e'\u0001', 1000000))".into()),
        ("data", "(repeat('[', 6000) || repeat(']', 6000))::jsonb".into()),
        ("data", r#"(select jsonb_agg((repeat('{"a":', 8) || '1' || repeat('}', 8))::jsonb) from generate_series(1, 9000))"#.into()),
        ("targets", "array_fill('x'::text, array[100, 3000])".into()),
        ("targets", "array_fill(repeat('x', 1500000), array[64])".into()),
        ("targets", "array_fill(null::text, array[2000000])".into()),
        ("methods", "array_fill('inbox'::text, array[500000])".into()),
        ("methods", "array_fill(repeat('x', 6000000), array[16])".into()),
        ("created_by", x.into()),
        ("dedupe_key", x.into()),
        ("endpoint", x.into()),
    ]
}

/// Most KiB beyond reading the argument.
const SPARE: i64 = 64 << 10;

fn check_cost(url: &str, what: &str, read: &str, call: &str) {
    let (reading, read_in) = cost(url, read);
    let (calling, called_in) = cost(url, call);
    let more = calling - reading;
    assert!(more < SPARE, "{what}: {more} KiB beyond the {reading} of reading");
    let took = called_in.saturating_sub(read_in);
    assert!(took < Duration::from_secs(3), "{what}: {took:?} beyond {read_in:?}");
}

#[test]
fn an_argument_of_any_size_costs_the_server_little_more_than_reading_it() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_enqueue");
    for (at, (argument, expression)) in heavy().into_iter().enumerate() {
        let types = ARGUMENTS.iter().find(|it| it.0 == argument).unwrap();
        let calls = calls(argument, &expression);
        let of_many = if types.1 == types.2 { "" } else { "to_jsonb" };
        let value = format!("{of_many}(({expression})::{})", types.1);
        let reads = [
            format!("select pg_column_size(({expression})::{})", types.1),
            format!("select pg_column_size(array[{value}])"),
            format!(
                "select pg_column_size(jsonb_build_array(jsonb_build_object('{argument}', {value})))"
            ),
        ];
        for (no, (read, call)) in reads.iter().zip(&calls).enumerate() {
            let url = if (at + no) % 2 == 0 { rig.db.url() } else { login.url.clone() };
            check_cost(&url, &format!("{no} {argument} {expression:.60}"), read, call);
        }
    }
}

#[test]
fn arguments_from_a_table_cost_the_server_little_more_than_unpacking_them() {
    let mut rig = Rig::new();
    let large = "'{\"id\": \"ada\"}'::jsonb || jsonb_build_object('text', repeat('x', 100000000))";
    rig.client
        .batch_execute(&format!(
            "create table public.kept as select {large} as doc,
                array_fill(repeat('x', 1000000), array[90]) as list, repeat('x', 100000000) as text"
        ))
        .unwrap();
    let packed = "select pg_column_size(doc) < 2000000 from public.kept";
    assert!(rig.client.query_one(packed, &[]).unwrap().get::<_, bool>(0));
    let (doc, list, text) = ("pg_column_size(doc #> '{}')", "cardinality(list)", "length(text)");
    for (read, arguments) in [
        (doc, "'greeting', doc"),
        (doc, "'greeting', '{\"id\": \"ada\"}', labels => doc"),
        (doc, "'greeting', '{\"id\": \"ada\"}', data => doc"),
        (list, "'greeting', '{\"id\": \"ada\"}', targets => list"),
        (list, "'greeting', '{\"id\": \"ada\"}', methods => list"),
        (text, "'greeting', '{\"id\": \"ada\"}', dedupe_key => text"),
        (text, "text, '{\"id\": \"ada\"}'"),
    ] {
        let read = format!("select {read} from public.kept");
        let call = format!("select e.* from public.kept, postrider.enqueue_result({arguments}) e");
        check_cost(&rig.db.url(), arguments, &read, &call);
    }
    let read = format!("select {doc} from public.kept");
    let call = "select e.* from public.kept, postrider.enqueue_many(doc) e";
    check_cost(&rig.db.url(), "many", &read, call);
    let read = format!("select {list} from public.kept");
    let call = "select e.* from public.kept,
                postrider.enqueue_columns(list, array['{\"id\": \"ada\"}'::jsonb]) e";
    check_cost(&rig.db.url(), "columns", &read, call);
}

#[test]
fn a_call_of_the_largest_size_costs_the_server_little_more_than_reading_it() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_enqueue");
    rig.client
        .batch_execute(
            "create table public.kept (doc jsonb); alter table public.kept alter doc set storage external;
             create table public.columns (t text[], r jsonb[], d jsonb[]);
             alter table public.columns alter t set storage external, alter r set storage external,
                 alter d set storage external;
             grant select on public.kept, public.columns to public",
        )
        .unwrap();
    for (count, data) in [
        (10_000, "to_jsonb(repeat('x', 1300))"),
        (15, "to_jsonb(repeat('x', 1000000))"),
        (10_000, "(select jsonb_agg(null::text) from generate_series(1, 300))"),
        (190, "(select jsonb_agg(null::text) from generate_series(1, 19900))"),
        (10_000, "(select jsonb_agg(1e131071) from generate_series(1, 7))"),
        (10_000, "'1e1500'::jsonb"),
    ] {
        let fill = format!(
            "truncate public.kept, public.columns;
             insert into public.kept select jsonb_agg(jsonb_build_object('template', 'greeting', 'data', {data},
                 'recipient', jsonb_build_object('id', 'r' || g), 'methods', '[\"inbox\"]'::jsonb))
               from generate_series(1, {count}) g;
             insert into public.columns
             select array_agg('greeting'::text), array_agg(n->'recipient'), array_agg(n->'data')
               from public.kept, jsonb_array_elements(doc) n"
        );
        rig.client.batch_execute(&fill).unwrap();
        let read = "select jsonb_array_length(doc) from public.kept";
        let call = "select count(*) from public.kept, postrider.enqueue_many(doc)";
        check_cost(&login.url, &format!("{count} {data}"), read, call);
        let read = "select cardinality(t), cardinality(r), cardinality(d) from public.columns";
        let call = "select count(*) from public.columns, postrider.enqueue_columns(t, r, null, d)";
        check_cost(&rig.db.url(), &format!("columns of {count} {data}"), read, call);
    }
}
