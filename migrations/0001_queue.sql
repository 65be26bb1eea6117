-- The queue: live messages, what became of them, and the small tables beside it.
--
-- messages holds live rows only; the statement that records an outcome moves the row to history.
-- A claim is a HOT update: none of the columns it changes is indexed, and each page keeps
-- room for one new version of each of its rows.

create type postrider.status as enum (
    'pending', 'leased', 'temporary_failure',                                -- live
    'sent', 'permanent_failure', 'inhibited', 'cancelled', 'expired');       -- finished

-- A time-ordered id (RFC 9562, 5.7): milliseconds, then 12 bits of the fraction, then random bits.
-- PostgreSQL has its own only from version 18 on.
create function postrider.uuid_v7() returns uuid
    language plpgsql volatile parallel safe
    set search_path = pg_catalog, pg_temp
as $$
declare
    micros bigint := (date_part('epoch', clock_timestamp()) * 1000000)::bigint;
begin
    return (lpad(to_hex(micros / 1000), 12, '0')
        || '7' || lpad(to_hex((micros % 1000) * 4096 / 1000), 3, '0')
        || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid;
end
$$;

create table postrider.templates (
    id                 uuid        primary key default gen_random_uuid(),
    name               text        not null unique check (name <> ''),
    title              text        not null,
    body               text        not null,
    actions            jsonb       not null default '[]' check (jsonb_typeof(actions) = 'array'),
    method             text,                 -- null: the default methods
    endpoint           text,                 -- for webhooks; null: the configured one
    group_name         text,
    enabled_by_default boolean     not null default true,
    version            integer     not null default 1,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now()
);

-- Workers keep compiled templates by (id, version), so every edit must raise the version,
-- also one made with plain SQL.
create function postrider.raise_template_version() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    new.version := old.version + 1;
    new.updated_at := now();
    return new;
end
$$;

create trigger raise_version before update on postrider.templates
    for each row execute function postrider.raise_template_version();

create table postrider.endpoints (
    name       text        primary key check (name <> '' and position('://' in name) = 0),
    url        text        not null,
    created_at timestamptz not null default now()
);

create sequence postrider.claims;

create table postrider.messages (
    id              uuid        primary key default postrider.uuid_v7(),
    notification_id uuid        not null,
    template_id     uuid        not null,          -- no foreign key: its locks would cost every enqueue
    claim           bigint      not null default 0, -- fence of the lease, from postrider.claims; 0: none
    due_at          timestamptz not null default now(),
    lease_until     timestamptz,
    claimed_by      uuid,                           -- for people only
    created_at      timestamptz not null default now(),
    expires_at      timestamptz,
    priority        smallint    not null default 0 check (priority between 0 and 3), -- 0 goes first
    attempt         integer     not null default 0,
    max_attempts    integer     check (max_attempts > 0), -- null: as the worker is configured
    method          text        not null,
    recipient_id    text        not null,
    endpoint        text,
    last_error      text,
    created_by      text        not null default '',
    targets         text[]      not null default '{}',
    payload         jsonb       not null,
    check ((claim = 0) = (lease_until is null))
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 200000
);

-- The id stands here as its octets, so that no look-up by id can take this index: on an empty table it
-- would cost the planner as much as the key, and the plan would be kept when the table is full.
create index messages_due on postrider.messages (priority, due_at, uuid_send(id));
-- For upkeep; a claim changes nothing of it, and most messages are not in it.
create index messages_expiry on postrider.messages (expires_at) where expires_at is not null;

-- Sent messages and all others are kept for different times, each in partitions by day. The
-- default partitions only catch what comes while no janitor has made the next days.
create table postrider.history (
    id              uuid             not null,
    notification_id uuid             not null,
    template_id     uuid             not null,
    claim           bigint           not null,
    created_at      timestamptz      not null,
    finished_at     timestamptz      not null default now(),
    outcome         postrider.status not null
        check (outcome in ('sent', 'permanent_failure', 'inhibited', 'cancelled', 'expired')),
    priority        smallint         not null,
    attempt         integer          not null,
    max_attempts    integer,
    method          text             not null,
    recipient_id    text             not null,
    endpoint        text,
    code            text,
    note            text,
    created_by      text             not null,
    targets         text[]           not null,
    payload         jsonb            not null
) partition by list (outcome);

create table postrider.history_sent partition of postrider.history
    for values in ('sent') partition by range (finished_at);
create table postrider.history_sent_default partition of postrider.history_sent default;
create table postrider.history_failed partition of postrider.history
    default partition by range (finished_at);
create table postrider.history_failed_default partition of postrider.history_failed default;

-- Ids are time-ordered, so block ranges find one without the cost of a tree.
create index history_id on postrider.history using brin (id uuid_minmax_multi_ops);

-- What each attempt came to; a success at the first try has no row.
create table postrider.attempts (
    message_id  uuid        not null,
    claim       bigint      not null,
    attempt     integer     not null,
    notifier    uuid        not null,
    started_at  timestamptz not null,
    finished_at timestamptz not null,
    outcome     text        not null,
    code        text,
    detail      text        check (octet_length(detail) <= 512),
    primary key (message_id, claim)
);
create index attempts_finished on postrider.attempts using brin (finished_at);

create table postrider.preferences (
    recipient_id text        not null,
    template_id  uuid        not null references postrider.templates on delete cascade,
    disabled     boolean     not null,
    updated_at   timestamptz not null default now(),
    primary key (recipient_id, template_id)
);

create table postrider.inbox (
    id           uuid        primary key,           -- the message's, so a repeat cannot write twice
    recipient_id text        not null,
    template_id  uuid        not null,
    targets      text[]      not null,
    title        text        not null,
    content      text        not null,
    icon         text        not null default '',
    actions      jsonb       not null default '[]',
    created_at   timestamptz not null,
    read_at      timestamptz
);
create index inbox_recipient on postrider.inbox (recipient_id, created_at desc, id desc);

-- Automatic keys hold for a day; a key that the application chose stands at day infinity.
create table postrider.dedupe (
    day        date        not null,
    key        bytea       not null,
    created_at timestamptz not null default now(),
    primary key (day, key)
);

create table postrider.settings (
    name  text  primary key,
    value jsonb not null
);
insert into postrider.settings (name, value) values
    ('paused', 'false'), ('default_methods', '["smtp"]'), ('inbox_enabled', 'true');

-- An idle worker leaves its name here, and enqueue rings only then: a NOTIFY in every
-- transaction would make producers commit one after the other.
create unlogged table postrider.doorbell (
    worker_id   uuid        primary key,
    armed_until timestamptz not null
) with (fillfactor = 50);

-- Heartbeats, for people only.
create unlogged table postrider.workers (
    id           uuid        primary key,
    host         text        not null,
    pid          integer     not null,
    version      text        not null,
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
) with (fillfactor = 50);

-- Live and finished messages, with the statuses that users see.
create view postrider.all_messages as
    select id, notification_id, template_id, method, recipient_id, endpoint,
           (case when lease_until >= now() then 'leased'
                 when last_error is not null then 'temporary_failure'
                 else 'pending' end)::postrider.status as status,
           priority, attempt, max_attempts, created_at, due_at, lease_until, claimed_by, expires_at,
           null::timestamptz as finished_at, null::text as code, last_error as reason,
           created_by, targets, payload
      from postrider.messages
    union all
    select id, notification_id, template_id, method, recipient_id, endpoint, outcome,
           priority, attempt, max_attempts, created_at, null, null, null, null,
           finished_at, code, note, created_by, targets, payload
      from postrider.history;
