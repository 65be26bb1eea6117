-- Many notifications at once by columns: what they have in common comes once, the document of each is one text.

-- As uuid_v7_at for many: the random bits after the time are drawn once, and counted up (RFC 9562, 6.2, method 2).
create function postrider.uuid_v7_from(ticks bigint, seed bigint) returns uuid
    language sql immutable parallel safe
begin atomic
    select encode(int8send(((ticks >> 12) << 16) | 28672 | (ticks & 4095))
                  || int8send(seed & 4611686018427387903 | (-9223372036854775807 - 1)), 'hex')::uuid;
end;

-- What notifications among many have in common, looked up and checked.
create type postrider.enqueue_kind as (
    template        text,
    template_id     uuid,    -- null: there is none
    tail            text,    -- how the document ends
    disabled        boolean, -- unless the recipient's preference says otherwise
    methods         text[],
    mailed          boolean, -- by one of the methods
    endpoint        text,
    endpoint_known  boolean,
    created_by      text,
    priority        integer,
    max_attempts    integer,
    faulty          boolean); -- as each notification of this kind, unless it is disabled

create function postrider.enqueue_kinds(kinds jsonb) returns postrider.enqueue_kind[]
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        with given as (
            select k.no,
                   k.kind->>'template' as template,
                   case when k.kind ? 'methods' then array(select jsonb_array_elements_text(k.kind->'methods')) end as asked,
                   k.kind->>'endpoint' as endpoint,
                   coalesce(k.kind->>'created_by', '') as created_by,
                   (k.kind->>'priority')::integer as priority,
                   (k.kind->>'max_attempts')::integer as max_attempts
              from jsonb_array_elements(kinds) with ordinality k(kind, no)),
        found as (
            select g.no, g.template, t.id, not t.enabled_by_default as disabled,
                   postrider.enqueue_methods(g.asked, t.method) as methods,
                   coalesce(g.endpoint, t.endpoint) as endpoint,
                   g.created_by, g.priority, g.max_attempts
              from given g
              left join postrider.templates t on t.name = g.template
            offset 0),
        known as (
            select f.*,
                   f.endpoint is null or position('://' in f.endpoint) > 0
                       or exists (select from postrider.endpoints e where e.name = f.endpoint) as endpoint_known
              from found f
            offset 0)
        select row(k.template, k.id, '"' || k.id || '"}', k.disabled, k.methods, 'smtp' = any (k.methods), k.endpoint,
                   k.endpoint_known, k.created_by, coalesce(k.priority, 0), k.max_attempts,
                   postrider.enqueue_fault(k.id, '{"id": ".", "email": "."}', '{}', k.priority, k.max_attempts, false,
                                           k.methods, k.endpoint_known, 0) is not null)::postrider.enqueue_kind
          from known k
         order by k.no);
end
$$;

-- The recipient of a document, as far as the rules ask.
create function postrider.enqueue_recipient(document jsonb) returns jsonb
    language sql immutable parallel safe
begin atomic
    select jsonb_build_object('id', document->>'user_id', 'email', document->>'user_email');
end;

-- Raises the error that a notification among many is refused with.
create function postrider.enqueue_refuse(no bigint, kind postrider.enqueue_kind, content text) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    document  jsonb := content || kind.tail;
    recipient jsonb := postrider.enqueue_recipient(document);
    octets    integer := greatest(octet_length(document::text), octet_length(content || kind.tail));
    fault     text := postrider.enqueue_fault(kind.template_id, recipient, '{}', kind.priority, kind.max_attempts, false,
                                              kind.methods, kind.endpoint_known, octets);
    refusal   text[] := postrider.enqueue_refusal(fault, kind.template, recipient, '{}', kind.priority, kind.max_attempts,
                                                  kind.methods, kind.endpoint, octets);
begin
    raise exception using errcode = refusal[1], hint = refusal[3], message = format('notification %s: %s', no, refusal[2]);
end
$$;

-- Enqueues many, as postrider.enqueue_many, for clients that write the documents themselves: contents are those of
-- postrider.enqueue_document as jsonb writes them, up to the id of the template, which is the last field. Where one is
-- rough, it is JSON of another form. Of what a document says its recipient and his address are read from it.
-- Arrays that are null stand for nulls.
--
-- The answer has a place for each message; notifications that have none are disabled, or duplicates.
create function postrider.enqueue_batch(
    kinds       jsonb,         -- objects of template, methods, endpoint, created_by, priority, max_attempts
    kind_nos    integer[],     -- which of them each notification is, from 1
    contents    text[],
    rough       boolean[],
    schedule    timestamptz[],
    expiry      timestamptz[],
    dedupe_keys text[],
    first       bigint,        -- number of the first, for errors
    out message_ids     uuid[],
    out message_nos     integer[],
    out message_methods text[],
    out duplicates      integer[])
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    -- Others are made for each call, with the arrays as constants in which the way to an element is long.
    set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    kind      postrider.enqueue_kind[] := postrider.enqueue_kinds(kinds);
    today     date := (now() at time zone 'UTC')::date;
    ticks     bigint := postrider.clock_ticks();
    seed      bigint := hashtextextended(gen_random_uuid()::text, 0);
    keys      uuid[];
    days      date[];
    nths      integer[]; -- of the messages of one notification
    documents jsonb[];
    faulty    integer;
begin
    -- Each step computes what the next one uses more than once; offset 0 keeps the planner from merging them.
    with given as (
        select g.no::integer as no, kind[g.kind_no] as kind, g.dedupe_key,
               -- Numbers with an exponent may be far longer as jsonb writes them, whatever the caller says of the text.
               g.rough or g.content ~ '[0-9][eE]' as rough,
               g.content || (kind[g.kind_no]).tail as content
          from unnest(kind_nos, contents, rough, dedupe_keys) with ordinality g(kind_no, content, rough, dedupe_key, no)
        offset 0),
    parsed as (
        select g.*, g.content::jsonb as document from given g offset 0),
    found as (
        select p.no, p.kind, p.dedupe_key, p.document,
               (p.kind).template_id,
               p.document->>'user_id' as who,
               case when p.rough then p.document::text else p.content end as content,
               coalesce((select f.disabled from postrider.preferences f
                          where f.recipient_id = p.document->>'user_id' and f.template_id = (p.kind).template_id),
                        (p.kind).disabled) as disabled
          from parsed p
        offset 0),
    checked as (
        select f.*,
               ((f.kind).faulty or coalesce(f.who, '') = '' or octet_length(f.content) > 1048576
                or (f.kind).mailed and coalesce(f.document->>'user_email', '') = '') -- which spares most the whole check
               and postrider.enqueue_fault(f.template_id, postrider.enqueue_recipient(f.document), '{}', (f.kind).priority,
                                           (f.kind).max_attempts, f.disabled, (f.kind).methods, (f.kind).endpoint_known,
                                           octet_length(f.content)) is not null as faulty
          from found f
        offset 0),
    wanted as (
        select c.*, case when c.faulty then '{-}' when c.disabled then '{}' else (c.kind).methods end as methods
          from checked c
        offset 0),
    spread as (
        select w.*, unnest(w.methods) as method, generate_subscripts(w.methods, 1) as nth from wanted w offset 0)
    select array_agg(s.no), array_agg(s.nth), array_agg(s.method), array_agg(s.document),
           array_agg(case when s.dedupe_key is null then today else 'infinity' end),
           array_agg(postrider.enqueue_key(s.dedupe_key, s.template_id, s.who, s.method, s.content, (s.kind).endpoint)),
           min(s.no) filter (where s.faulty)
      into message_nos, nths, message_methods, documents, days, keys, faulty
      from spread s;
    if faulty is not null then
        perform postrider.enqueue_refuse(faulty + first - 1, kind[kind_nos[faulty]], contents[faulty]);
    end if;

    begin
        -- In the same order as one by one.
        insert into postrider.dedupe (day, key) select u.day, u.key from unnest(days, keys) u(day, key) order by u.key;
    exception when unique_violation then -- Without a conflict, asking for none costs half.
        duplicates := postrider.enqueue_keys(array(
            select row(u.no, null, false, array_agg(u.key), min(u.day), null, null, null, null, null, null, null, null,
                       null, null, null, null)::postrider.enqueue_item
              from unnest(message_nos, keys, days) u(no, key, day)
             group by u.no))::integer[];
    end;

    -- Ids are as far apart as those of enqueues one after the other would be at best, and in the same order.
    message_ids := array(
        select postrider.uuid_v7_from(ticks + 8 * m, seed + m) from generate_series(1, cardinality(keys)) m order by m);
    insert into postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts,
                                    method, recipient_id, endpoint, created_by, targets, payload)
    select message_ids[m.m], message_ids[m.m - nths[m.m] + 1], (m.kind).template_id,
           greatest(schedule[m.no], now()), expiry[m.no], (m.kind).priority, (m.kind).max_attempts,
           message_methods[m.m], documents[m.m]->>'user_id',
           case when message_methods[m.m] = 'webhook' then (m.kind).endpoint end, (m.kind).created_by,
           case when documents[m.m]->'targets' = '[]' then '{}'
                else array(select jsonb_array_elements_text(documents[m.m]->'targets')) end,
           documents[m.m]
      from (select m, message_nos[m] as no, kind[kind_nos[message_nos[m]]] as kind
              from generate_series(1, cardinality(keys)) m
            offset 0) m
     where duplicates is null or m.no <> all (duplicates);
    if found and exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform pg_notify('postrider', '');
    end if;
end
$$;
