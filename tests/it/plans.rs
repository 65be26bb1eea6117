//! Plans of the hot statements: the same whatever the statistics say, and never a scan of the backlog.

use postgres::Client;
use postrider::enqueue::{Enqueued, Notification, enqueue_many};
use postrider::message::Recipient;

use crate::rig::{LIMIT, Leases, Rig, to_inbox};
use crate::support::wait_until;

const ACQUIRE: &str = include_str!("../../src/store/sql/acquire.sql");
const COMMIT: &str = include_str!("../../src/store/sql/commit.sql");
const LOCKED: &str = include_str!("../../src/store/sql/locked.sql");
const LOOK: &str = include_str!("../../src/store/sql/look.sql");
const CARE: &str = include_str!("../../src/store/sql/care.sql");

/// Lanes of one method, all read from the start.
const LANES: &str = "'{inbox,inbox,inbox,inbox}', '{1,0,2,3}',
    '{-infinity,-infinity,-infinity,-infinity}', array_fill('00000000-0000-0000-0000-000000000000'::uuid, '{4}')";
/// Arguments of a commit of two outcomes, one of which has an inbox entry.
const COMMIT_TWO: &str =
    "array[gen_random_uuid(), gen_random_uuid()], '{1,2}', '{1,5}', '{0,5}', '{t,t}',
    '{250,451}', '{a,b}', '{relay}', '{1,2}', '{1,2}', '{0,1}', '{1,1}', '{0,0}', '{1,1}', gen_random_uuid(),
    jsonb_build_object(gen_random_uuid(), '{}'::jsonb), array[gen_random_uuid()]";

/// Arguments of an acquire of healthy messages.
fn acquire(limit: u32) -> String {
    format!("gen_random_uuid(), 60, {LANES}, {limit}, 1000000, false, false")
}

/// Arguments of a look at all that renews a bell.
fn look() -> String {
    format!("gen_random_uuid(), 60, {LANES}")
}

/// How the planner may come to see the table of messages.
const STATISTICS: [(&str, &str); 6] = [
    ("never analysed", ""),
    ("analysed while empty", "analyze postrider.messages"),
    (
        "vacuumed while drained",
        "call fill(1000); delete from postrider.messages; vacuum analyze postrider.messages",
    ),
    ("analysed with a backlog", "call fill(20000); analyze postrider.messages"),
    (
        "analysed after nine of ten were deleted",
        "call fill(20000); delete from postrider.messages where right(id::text, 1) <> '0';
         vacuum analyze postrider.messages",
    ),
    (
        "believed to be huge",
        "call fill(1000); analyze postrider.messages;
         update pg_class set reltuples = 1e8, relpages = 1e7 where oid = 'postrider.messages'::regclass",
    ),
];

/// Fills the table cheaply, the indexes included.
const FILL: &str = "create procedure fill(n integer) language sql as $$
    insert into postrider.messages (id, notification_id, template_id, method, recipient_id, payload, priority)
    select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'inbox', 'r', '{}', n % 4
      from generate_series(1, n) n $$";

/// A session as a store has it, with the hot statements prepared.
fn hot(rig: &Rig) -> Client {
    let mut client = rig.connector().connect_hot().unwrap();
    let statements = [("acquire", ACQUIRE), ("commit", COMMIT), ("locked", LOCKED), ("look", LOOK)];
    for (name, sql) in statements {
        client.batch_execute(&format!("prepare {name}_ as {sql}")).unwrap();
    }
    client
}

fn explain(client: &mut Client, options: &str, call: &str) -> String {
    let rows = client.query(&format!("explain ({options}) execute {call}"), &[]).unwrap();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// Fails on a plan that reads more of the queue than it needs.
#[track_caller]
fn check_plan(plan: &str, statistics: &str, wanted: &[&str]) {
    for bad in [
        "Seq Scan on messages",
        "Seq Scan on suppressions",
        "Bitmap Heap Scan on messages",
        "Hash Join",
        "Hash Semi Join",
        "Merge Join",
        "Sort",
    ] {
        assert!(!plan.contains(bad), "{bad}, {statistics}:\n{plan}");
    }
    // Each look into the queue from outside is by key, and once for all.
    for (at, _) in plan.match_indices("using messages_pkey on messages m") {
        let condition = plan[at..].lines().nth(1).unwrap_or_default().trim();
        assert!(
            condition.starts_with("Index Cond: (id = ANY ("),
            "{condition}, {statistics}:\n{plan}"
        );
    }
    for (at, _) in plan.match_indices("using suppressions_pkey") {
        let condition = plan[at..].lines().nth(1).unwrap_or_default().trim();
        assert!(condition.starts_with("Index Cond: (address = "), "{statistics}:\n{plan}");
    }
    for part in wanted {
        assert!(plan.contains(part), "no {part}, {statistics}:\n{plan}");
    }
}

#[test]
fn c80_the_plans_of_the_hot_statements_stand_whatever_the_statistics_say() {
    for (name, statements) in STATISTICS {
        let mut rig = Rig::new();
        rig.client.batch_execute(FILL).unwrap();
        for statement in statements.split_terminator(';') {
            rig.client.batch_execute(statement).unwrap();
        }
        let mut client = hot(&rig);
        let due = "Index Scan using messages_due on messages q";
        let plan = explain(&mut client, "costs off", &format!("acquire_({})", acquire(100)));
        let (by_id, by_address) =
            ("Index Scan using messages_pkey on messages m", "using suppressions_pkey");
        check_plan(&plan, name, &[due, by_id, by_address, "using messages_suspects"]);
        let plan = explain(&mut client, "costs off", &format!("commit_({COMMIT_TWO})"));
        check_plan(&plan, name, &[by_id, by_address]);
        let plan = explain(&mut client, "costs off", "locked_(array[gen_random_uuid()])");
        check_plan(&plan, name, &[by_id]);
        let plan = explain(&mut client, "costs off", &format!("look_({})", look()));
        let suspects = "messages_suspects on messages q";
        let expiry = "messages_expiry on messages q";
        check_plan(&plan, name, &["messages_due on messages q", expiry, suspects]);
    }
}

/// Shared buffers that a statement touched.
fn buffers(plan: &str) -> u64 {
    let line = plan.lines().find(|line| line.trim_start().starts_with("Buffers: shared"));
    let words = line.expect(plan).split([' ', '=']);
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}

#[test]
fn the_floor_spares_acquires_and_looks_the_dead_prefix_that_a_pinned_snapshot_keeps() {
    let mut rig = Rig::new();
    rig.client.batch_execute(FILL).unwrap();
    rig.execute("call fill(20000)", &[]);
    let mut reader = rig.db.client();
    let pin = reader.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead);
    let mut pin = pin.start().unwrap();
    pin.query_one("select count(*) from postrider.messages", &[]).unwrap();
    let sql = "select max(due_at)::text from postrider.messages";
    let floor: String = rig.client.query_one(sql, &[]).unwrap().get(0);
    rig.execute("delete from postrider.messages", &[]);
    rig.fill(5);

    let mut client = hot(&rig);
    let mut plan = |statement: &str, arguments: &str, from: &str, id: &str| {
        let arguments = arguments.replace("-infinity", from).replace("00000000-", id);
        let options = "analyze, buffers, costs off, timing off";
        // Rolled back, so that each finds the same.
        client.batch_execute("begin").unwrap();
        let plan = explain(&mut client, options, &format!("{statement}({arguments})"));
        client.batch_execute("rollback").unwrap();
        plan
    };
    for (statement, arguments, sign) in [
        ("acquire_", acquire(100), "Update on messages m (actual rows=5"),
        ("look_", look(), "Index Scan using messages_due on messages q (actual rows=1"),
    ] {
        let from_the_start = plan(statement, &arguments, "-infinity", "00000000-");
        let from_the_floor = plan(statement, &arguments, &format!("\"{floor}\""), "ffffffff-");
        assert!(from_the_floor.contains(sign), "{from_the_floor}");
        let (from_the_start, from_the_floor) = (buffers(&from_the_start), buffers(&from_the_floor));
        assert!(
            from_the_floor * 10 < from_the_start,
            "{statement}: {from_the_floor} buffers from the floor, {from_the_start} from the start"
        );
    }
}

#[test]
fn to_ask_for_keys_past_their_time_does_not_read_all_keys() {
    let mut rig = Rig::new();
    let sql = "insert into postrider.dedupe (key, notification_id, messages, expires_at)
               select gen_random_uuid(), gen_random_uuid(), 1, now() + interval '1 day' from generate_series(1, 30000)";
    rig.execute(sql, &[]);
    let mut client = rig.connector().connect().unwrap();
    client.batch_execute(&format!("analyze postrider.dedupe; prepare care_(uuid, text, int, text, float8, float8, float8, bigint) as {CARE}")).unwrap();
    let call = "care_(gen_random_uuid(), 'host', 1, '1', 1e6, 1e6, 1e6, 20000)";
    let plan = explain(&mut client, "analyze, costs off, timing off", call);
    assert!(!plan.contains("Seq Scan on dedupe"), "{plan}");
}

#[test]
fn to_ask_what_many_recipients_want_looks_at_theirs_alone() {
    let mut rig = Rig::new();
    let sql = "insert into postrider.preferences (recipient_id, template, disabled)
               select 'r' || n, t.name, true from generate_series(1, 50000) n, postrider.templates t";
    rig.execute(sql, &[]);
    rig.execute("analyze postrider.preferences", &[]);
    let many: Vec<_> = (1..=1000)
        .map(|n| Notification {
            recipient: Recipient { id: format!("r{}", 40 * n), ..Recipient::default() },
            ..to_inbox()
        })
        .collect();
    let mut tx = rig.client.transaction().unwrap();
    let results = enqueue_many(&mut tx, &many).unwrap();
    assert!(results.iter().all(|it| *it == Enqueued::Disabled));
    let sql = "select seq_scan, idx_scan from pg_stat_xact_user_tables
                where schemaname = 'postrider' and relname = 'preferences'";
    let row = tx.query_one(sql, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 1000));
}

#[test]
fn a_claim_is_a_hot_update() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    rig.fill(300);
    assert_eq!(store.leases(400, true).len(), 300);
    drop(store); // The session hands in its figures at its end.
    let sql = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables
                where schemaname = 'postrider' and relname = 'messages'";
    let mut figures = (0, 0);
    wait_until(LIMIT, "the figures are in", || {
        let row = rig.db.client().query_one(sql, &[]).unwrap();
        figures = (row.get::<_, i64>(0), row.get::<_, i64>(1));
        300 <= figures.0
    });
    // Each page has room for a second version of each of its rows.
    assert!(figures.0 * 9 <= figures.1 * 10, "{figures:?}");
}

#[test]
fn an_acquire_leases_no_more_than_its_limit_whatever_join_the_planner_takes() {
    let mut rig = Rig::new();
    rig.client.batch_execute(FILL).unwrap();
    // Statistics of an empty table, so that the planner is wrong about everything.
    rig.execute("analyze postrider.messages", &[]);
    rig.execute("call fill(2000)", &[]);
    for settings in [
        "set enable_hashjoin = on",
        "set enable_mergejoin = on; set enable_nestloop = off",
        "set enable_hashjoin = on; set enable_nestloop = off; set enable_indexscan = off",
        "set enable_seqscan = on; set enable_indexscan = off; set enable_bitmapscan = on",
        "reset all; set plan_cache_mode = force_custom_plan",
        "reset all; set enable_hashjoin = off; set enable_mergejoin = off",
    ] {
        let mut client = hot(&rig);
        client.batch_execute(settings).unwrap();
        for limit in [1, 7, 100] {
            client.batch_execute(&format!("execute acquire_({})", acquire(limit))).unwrap();
            let held = "select count(*) from postrider.messages where claim <> 0";
            assert_eq!(rig.number(held), i64::from(limit), "{settings}");
            let sql =
                "update postrider.messages set claim = 0, lease_until = null where claim <> 0";
            rig.execute(sql, &[]);
        }
    }
}
