-- The queue: live messages, what became of them, and the small tables beside it.
--
-- messages holds live rows only; the statement that records an outcome moves the row to history.
-- A claim is a HOT update: nothing that it changes is indexed, and each page keeps room for a
-- second version of its rows.
--
-- Each limit stands here as a CHECK and in postrider.argument_fault, which says what is wrong.

create type postrider.status as enum (
    'pending', 'leased', 'temporary_failure',                                -- live
    'sent', 'permanent_failure', 'inhibited', 'cancelled', 'expired');       -- finished

-- An id that holds a time in ticks of 1/4096 ms since 1970 (RFC 9562, 6.2, method 3): milliseconds,
-- 12 bits of the fraction, random bits. PostgreSQL has its own only from version 18 on.
create function postrider.uuid_v7_at(ticks bigint) returns uuid
    language sql volatile parallel safe
begin atomic
    select encode(overlay(uuid_send(gen_random_uuid())
        placing int8send(((ticks >> 12) << 16) | 28672 | (ticks & 4095)) from 1 for 8), 'hex')::uuid;
end;

create function postrider.clock_ticks() returns bigint
    language sql volatile parallel safe
begin atomic
    select (date_part('epoch', clock_timestamp()) * 4096000)::bigint;
end;

create function postrider.uuid_v7() returns uuid
    language plpgsql volatile parallel safe
    set search_path = pg_catalog, pg_temp
as $$
declare
    ticks bigint := postrider.clock_ticks();
begin
    return postrider.uuid_v7_at(ticks);
end
$$;

create table postrider.templates (
    id                 uuid        primary key default gen_random_uuid(),
    name               text        not null unique check (octet_length(name) between 1 and 255),
    title              text        not null check (octet_length(title) <= 65536),
    body               text        not null check (octet_length(body) <= 1048576),
    actions            jsonb       not null default '[]'
        check (jsonb_typeof(actions) = 'array' and pg_column_size(actions) <= 65536),
    method             text        check (octet_length(method) <= 63),    -- null: the default methods
    endpoint           text        check (octet_length(endpoint) <= 2048), -- null: the default endpoint
    group_name         text        check (octet_length(group_name) <= 255),
    enabled_by_default boolean     not null default true,
    dedupe             text        check (dedupe = 'day'), -- the same content is enqueued once a UTC day
    from_address       text        check (octet_length(from_address) <= 1024),  -- null: smtp.from
    reply_to           text        check (octet_length(reply_to) <= 1024),
    unsubscribe_url    text        check (octet_length(unsubscribe_url) <= 4096), -- handlebars
    thread_key         text        check (octet_length(thread_key) <= 4096),      -- handlebars
    version            integer     not null default 1,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now()
);

-- Workers keep compiled templates by (id, version), so every edit raises the version, also one made
-- with plain SQL.
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

-- Named webhook endpoints.
create table postrider.endpoints (
    name            text        primary key
        check (octet_length(name) between 1 and 255 and position('://' in name) = 0),
    url             text        not null check (octet_length(url) <= 2048),
    format          text        not null default 'standard'
        check (format in ('standard', 'cloudevents', 'slack', 'teams', 'discord', 'template')),
    template        text        check (octet_length(template) <= 262144), -- handlebars that yield JSON
    -- [{"key": text, "expires_at": Unix seconds or null}], the current one first; keys may be sealed.
    secrets         jsonb       not null default '[]',
    headers         jsonb       not null default '{}', -- name to value; values may be sealed
    fail_fast_4xx   boolean     not null default false,
    max_concurrent  integer     check (max_concurrent > 0), -- null: as the worker is configured
    authorities     text        check (octet_length(authorities) <= 262144),        -- PEM
    client_certificate text     check (octet_length(client_certificate) <= 262144), -- PEM, with its chain
    -- Never in clear: somebody who reads it could pass for us.
    client_key      text        check (client_key like 'sealed.%' and octet_length(client_key) <= 65536),
    disabled_at     timestamptz,
    disabled_reason text        check (octet_length(disabled_reason) <= 1024),
    version         integer     not null default 1,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    check ((format = 'template') = (template is not null)),
    check (jsonb_typeof(secrets) = 'array' and jsonb_array_length(secrets) <= 10
           and pg_column_size(secrets) <= 65536),
    check (jsonb_typeof(headers) = 'object' and pg_column_size(headers) <= 65536),
    check ((client_certificate is null) = (client_key is null)),
    check ((disabled_at is null) = (disabled_reason is null))
);

-- Workers keep endpoints by (name, version), as they keep templates. A name that is given to another
-- endpoint after a deletion starts at a version of its own.
create sequence postrider.endpoint_versions as integer start 2 cycle;

create function postrider.raise_endpoint_version() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    new.version := nextval('postrider.endpoint_versions');
    new.updated_at := now();
    return new;
end
$$;

create trigger raise_version before insert or update on postrider.endpoints
    for each row execute function postrider.raise_endpoint_version();

-- Names of transports: what an enqueue may name. A worker publishes those that it has.
create table postrider.methods (
    name text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$')
);
insert into postrider.methods (name) values ('inbox'), ('smtp'), ('webhook');

create sequence postrider.claims;

create table postrider.messages (
    id              uuid        primary key default postrider.uuid_v7(),
    notification_id uuid        not null,
    template_id     uuid        not null,           -- no foreign key: its locks would cost every enqueue
    claimed_by      uuid,                           -- for people only
    dedupe_key      uuid,                           -- of the notification, in postrider.dedupe
    claim           bigint      not null default 0, -- fence of the lease, from postrider.claims; 0: none
    started         bigint      not null default 0, -- claim under which a suspect's delivery began
    due_at          timestamptz not null default now(),
    first_due_at    timestamptz not null default now(),
    created_at      timestamptz not null default now(),
    lease_until     timestamptz,
    expires_at      timestamptz,
    held_since      timestamptz,                    -- postponed without an attempt since then; null: not held
    size            integer     not null default 0, -- bytes of the payload as text
    attempt         integer     not null default 0, -- deliveries that began and whose outcome is recorded
    max_attempts    integer,                        -- null: as the worker is configured
    lapses          smallint    not null default 0, -- leases that ran out while a suspect was delivered
    priority        smallint    not null default 1 check (priority between 0 and 3), -- 0 goes first
    suspect         boolean     not null default false, -- a lease of it ran out: it goes alone
    method          text        not null,
    recipient_id    text        not null,
    endpoint        text,                           -- URL, or a name from postrider.endpoints
    destination     text,                           -- of the last attempt: relay, endpoint:NAME, url:ORIGIN
    code            text,                           -- of the last failure
    last_error      text,
    created_by      text        not null default '',
    targets         text[]      not null default '{}',
    payload         jsonb       not null,
    check ((claim = 0) = (lease_until is null)),
    check (due_at >= '1970-01-01 00:00:00+00'), -- where a worker begins to read
    check (isfinite(due_at) and isfinite(created_at) and isfinite(first_due_at) and isfinite(expires_at)),
    check (max_attempts between 1 and 1000),
    check (attempt between 0 and 1000000 and lapses between 0 and 1000),
    check (octet_length(method) between 1 and 63),
    check (octet_length(recipient_id) between 1 and 255),
    check (octet_length(endpoint) <= 2048),
    check (octet_length(created_by) <= 255),
    -- A worker reads them with the message; its own are shorter.
    check (octet_length(code) <= 255 and octet_length(last_error) <= 4096 and octet_length(destination) <= 8192),
    check (size between 0 and 1048576 and pg_column_size(payload) <= 4194304),
    -- One dimension, counted from 1, as clients read it.
    check (targets = '{}' or array_ndims(targets) = 1 and array_lower(targets, 1) = 1
           and cardinality(targets) <= 64 and octet_length(array_to_string(targets, '')) <= 16320
           and array_position(targets, null) is null)
) with (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 200000
);

-- A lane is a method and a priority: a worker reads only what it can carry. The id stands here as
-- bytes, so that no look-up by id can take this index: on an empty table it would cost the planner
-- as much as the key, and the plan would be kept when the table is full.
create index messages_due on postrider.messages (method, priority, due_at, uuid_send(id));
-- For upkeep; a claim changes nothing of it, and most messages are not in it.
create index messages_expiry on postrider.messages (expires_at) where expires_at is not null;
create index messages_suspects on postrider.messages (priority, due_at) where suspect;

-- Sent messages and all others are kept for different times, each in partitions by day. The
-- default partitions only catch what comes while no janitor has made the next days.
create table postrider.history (
    id               uuid             not null,
    notification_id  uuid             not null,
    template_id      uuid             not null,
    dedupe_key       uuid,
    claim            bigint           not null,
    created_at       timestamptz      not null,
    first_due_at     timestamptz      not null default now(),
    expires_at       timestamptz,
    finished_at      timestamptz      not null default now(),
    outcome          postrider.status not null
        check (outcome in ('sent', 'permanent_failure', 'inhibited', 'cancelled', 'expired')),
    priority         smallint         not null,
    lapses           smallint         not null default 0,
    attempt          integer          not null,
    max_attempts     integer,
    size             integer          not null default 0,
    template_version integer,
    method           text             not null,
    recipient_id     text             not null,
    endpoint         text,
    destination      text,
    code             text,
    note             text,
    created_by       text             not null,
    targets          text[]           not null,
    payload          jsonb            not null,
    primary key (id, outcome, finished_at) -- a table without a key cannot be replicated
) partition by list (outcome);

create table postrider.history_sent partition of postrider.history
    for values in ('sent') partition by range (finished_at);
create table postrider.history_sent_default partition of postrider.history_sent default;
create table postrider.history_failed partition of postrider.history
    default partition by range (finished_at);
create table postrider.history_failed_default partition of postrider.history_failed default;

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

-- What recipients said; it outlives the template.
create table postrider.preferences (
    recipient_id text        not null check (octet_length(recipient_id) between 1 and 255),
    template     text        not null check (octet_length(template) between 1 and 255),
    disabled     boolean     not null,
    updated_at   timestamptz not null default now(),
    primary key (recipient_id, template)
);

create table postrider.inbox (
    id           uuid        primary key,           -- the message's, so a repeat cannot write twice
    recipient_id text        not null check (octet_length(recipient_id) <= 255),
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

-- Keys of notifications that are to be enqueued once.
create table postrider.dedupe (
    key             uuid        primary key, -- see postrider.enqueue_key
    notification_id uuid        not null,
    messages        smallint    not null check (0 <= messages), -- live or sent; at 0 the key is free
    expires_at      timestamptz not null
);
create index dedupe_expiry on postrider.dedupe (expires_at);

-- A message that ends undelivered gives up its hold on the key, however it ends.
create function postrider.free_dedupe_key() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update postrider.dedupe d set messages = greatest(d.messages - 1, 0)
     where d.key = new.dedupe_key and d.notification_id = new.notification_id;
    return null;
end
$$;

create trigger free_dedupe_key after insert on postrider.history
    for each row when (new.dedupe_key is not null and new.outcome <> 'sent')
    execute function postrider.free_dedupe_key();

-- Addresses that are not written to any more. The statement that records a refusal for good also
-- writes it here; a message to such an address ends without a delivery.
create table postrider.suppressions (
    address    text        primary key
        check (address <> '' and octet_length(address) <= 320 and address = lower(address)),
    code       text        not null,
    reason     text        not null,
    created_at timestamptz not null default now()
);

create table postrider.settings (
    name  text  primary key,
    value jsonb not null check (pg_column_size(value) <= 4096) -- an enqueue reads some
);
insert into postrider.settings (name, value) values
    ('paused', 'false'), ('default_methods', '["smtp"]'), ('inbox_enabled', 'true'),
    ('bell', '"auto"'), ('dedupe_retention', '"30 days"'),
    ('upkeep', 'null'); -- a worker at the upkeep, and a migration, holds this row locked

-- An idle worker leaves its name here, and enqueue rings only then: a NOTIFY in every
-- transaction would make producers commit one after the other.
create unlogged table postrider.doorbell (
    worker_id   uuid        primary key,
    armed_until timestamptz not null
) with (fillfactor = 50);

-- PostgreSQL refuses to PREPARE a transaction that has notified. So the bell rings where no
-- transaction can be prepared, or where the operator says so.
create function postrider.bell_is_silent() returns boolean
    language sql stable
begin atomic
    select case (select s.value from postrider.settings s where s.name = 'bell')
               when '"on"' then false
               when '"off"' then true
               else current_setting('max_prepared_transactions') <> '0'
           end;
end;

-- Wakes the workers that wait for it.
create function postrider.ring() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not postrider.bell_is_silent() then
        perform pg_notify('postrider', '');
    end if;
end
$$;

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
           null::timestamptz as finished_at, code, last_error as reason, destination,
           created_by, targets, payload
      from postrider.messages
    union all
    select id, notification_id, template_id, method, recipient_id, endpoint, outcome,
           priority, attempt, max_attempts, created_at, null, null, null, expires_at,
           finished_at, code, note, destination, created_by, targets, payload
      from postrider.history;
