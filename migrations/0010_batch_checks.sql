-- Many notifications by columns are checked as well as those that come one by one: columns that do not fit together and
-- documents of another form are refused, where they were taken for less than they say.

alter type postrider.enqueue_kind add attribute form text[]; -- what is wrong with its form, as enqueue_form_refusal says it
alter type postrider.enqueue_kind add attribute outline text; -- what the text of a document is like

create or replace function postrider.enqueue_kinds(kinds jsonb) returns postrider.enqueue_kind[]
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if jsonb_typeof(kinds) <> 'array' then
        raise exception using errcode = 'PR004', hint = 'Its elements are objects of what notifications have in common.',
            message = 'invalid kinds: it must be an array, not ' || jsonb_typeof(kinds);
    end if;
    return array(
        with given as (
            select k.no,
                   case
                       when jsonb_typeof(k.kind) <> 'object' then
                           array['PR004', 'its kind must be an object, not ' || jsonb_typeof(k.kind),
                                 'Such as {"template": "welcome", "methods": ["inbox"]}.']
                       when k.kind - '{template,methods,endpoint,created_by,priority,max_attempts}'::text[] <> '{}' then
                           array['PR004', 'its kind has a field that is no argument',
                                 'The fields are template, methods, endpoint, created_by, priority and max_attempts.']
                   end as form,
                   k.kind->>'template' as template,
                   case when k.kind ? 'methods'
                        then array(select jsonb_array_elements_text(nullif(k.kind->'methods', 'null'))) end as asked,
                   k.kind->>'endpoint' as endpoint,
                   coalesce(k.kind->>'created_by', '') as created_by,
                   (k.kind->>'priority')::integer as priority,
                   (k.kind->>'max_attempts')::integer as max_attempts
              from jsonb_array_elements(kinds) with ordinality k(kind, no)
            offset 0),
        found as (
            select g.no, g.form, g.template, t.id, not t.enabled_by_default as disabled,
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
                   k.form is not null
                       or postrider.enqueue_fault(k.id, '{"id": ".", "email": "."}', '{}', k.priority, k.max_attempts, false,
                                                  k.methods, k.endpoint_known, 0) is not null,
                   k.form,
                   '{"data": %, "labels": {%}, "actions": [], "targets": [%], "user_id": "%", "_version": "1.2", '
                       || '"user_name": "%", "user_email": "%", "user_username": "%", "notification_name": '
                       || regexp_replace(to_json(k.template)::text, '[\\%_]', '\\\&', 'g')
                       || ', "notification_template_id": "' || k.id || '"}')::postrider.enqueue_kind
          from known k
         order by k.no);
end
$$;

-- What is wrong with a notification among many, as enqueue_refusal says it; null where nothing is. Its form counts also
-- where the recipient does not want it.
create function postrider.enqueue_batch_refusal(kind postrider.enqueue_kind, document jsonb, disabled boolean,
                                                octets integer) returns text[]
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    recipient jsonb := postrider.enqueue_recipient(document);
    fault     text := postrider.enqueue_fault(kind.template_id, recipient, '{}', kind.priority, kind.max_attempts, disabled,
                                              kind.methods, kind.endpoint_known, octets);
    field     record;
begin
    if kind is null then
        return array['PR004', 'its kind is none of those given', 'kind_nos says which of kinds each is, from 1.'];
    elsif kind.form is not null then
        return kind.form;
    elsif document is null and kind.template_id is not null then
        return array['PR004', 'its content is null', 'Pass the document up to the id of the template.'];
    end if;
    select f.name, f.type, coalesce(jsonb_typeof(document->f.name), 'missing') as found into field
      from (values (1, 'user_id', 'string'), (2, 'user_email', 'string'), (3, 'user_name', 'string'),
                   (4, 'user_username', 'string'), (5, 'labels', 'object'), (6, 'targets', 'array')) f(no, name, type)
     where jsonb_typeof(document->f.name) <> f.type or f.type <> 'string' and not document ? f.name
     order by f.no limit 1;
    if field.type = 'string' then
        return array['PR002', format('invalid recipient: %s must be a string, not %s', field.name, field.found),
                     'Contents are written as by postrider.enqueue_document.'];
    elsif found then
        return array['PR003', format('invalid payload: %s must be an %s, not %s', field.name, field.type, field.found),
                     'Contents are written as by postrider.enqueue_document.'];
    end if;
    select f.key, f.value, coalesce((document->f.key)::text, 'missing') as found into field
      from jsonb_each(jsonb_build_object('_version', '1.2', 'notification_name', kind.template,
                                         'notification_template_id', kind.template_id)) f
     where kind.template_id is not null and not document @> jsonb_build_object(f.key, f.value)
     order by f.key limit 1;
    if found then
        return array['PR003', format('invalid payload: %s must be %s, not %s', field.key, field.value,
                                     left(field.found, 100)),
                     'Contents are written as by postrider.enqueue_document.'];
    end if;
    return postrider.enqueue_refusal(fault, kind.template, recipient, '{}', kind.priority, kind.max_attempts, kind.methods,
                                     kind.endpoint, octets);
end
$$;

create or replace function postrider.enqueue_refuse(no bigint, kind postrider.enqueue_kind, content text) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    document jsonb := content || kind.tail;
    octets   integer := greatest(octet_length(document::text), octet_length(content || kind.tail));
    refusal  text[] := postrider.enqueue_batch_refusal(kind, document, false, octets);
begin
    raise exception using errcode = refusal[1], hint = refusal[3], message = format('notification %s: %s', no, refusal[2]);
end
$$;

-- Enqueues many, as postrider.enqueue_many, for clients that write the documents themselves: contents are those of
-- postrider.enqueue_document as jsonb writes them, up to the id of the template, which is the last field. Where one is
-- rough, it is JSON of another form. Of what a document says its recipient and his address are read from it.
-- Arrays but kind_nos and contents that are null stand for nulls.
--
-- The answer has a place for each message; notifications that have none are disabled, or duplicates.
create or replace function postrider.enqueue_batch(
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
    whos      text[];
    faulty    integer;
    bounds    text := array_dims(contents); -- null where there are none
    misfit    text := case
        when bounds <> '[1:' || cardinality(contents) || ']' then 'contents'
        when array_dims(kind_nos) is distinct from bounds then 'kind_nos'
        when rough is not null and array_dims(rough) is distinct from bounds then 'rough'
        when schedule is not null and array_dims(schedule) is distinct from bounds then 'schedule'
        when expiry is not null and array_dims(expiry) is distinct from bounds then 'expiry'
        when dedupe_keys is not null and array_dims(dedupe_keys) is distinct from bounds then 'dedupe_keys'
    end;
begin
    if misfit is not null then
        raise exception using errcode = 'PR004', hint = 'All but kind_nos and contents may be null.',
            message = format('invalid %s: it must be an array of %s elements counted from 1, as there are contents', misfit,
                             coalesce(cardinality(contents), 0));
    end if;

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
        select p.no, p.kind, p.dedupe_key, p.document, p.document->>'user_id' as who, (p.kind).template_id,
               case when p.rough then p.document::text else p.content end as content,
               coalesce((select f.disabled from postrider.preferences f
                          where f.recipient_id = p.document->>'user_id' and f.template_id = (p.kind).template_id),
                        (p.kind).disabled) as disabled
          from parsed p
        offset 0),
    checked as (
        select f.*,
               -- Which spares most the whole check. To look for each field in the document costs twice as much as this
               -- look at the text, which can be deceived by one that imitates its own end further in, to its own harm.
               ((f.kind).faulty is not false or coalesce(f.who, '') = '' or octet_length(f.content) > 1048576
                or (f.kind).mailed and coalesce(f.document->>'user_email', '') = ''
                or f.content not like (f.kind).outline)
               and postrider.enqueue_batch_refusal(f.kind, f.document, f.disabled, octet_length(f.content)) is not null
                   as faulty
          from found f
        offset 0),
    wanted as (
        select c.*, case when c.faulty then '{-}' when c.disabled then '{}' else (c.kind).methods end as methods
          from checked c
        offset 0),
    spread as (
        select w.*, unnest(w.methods) as method, generate_subscripts(w.methods, 1) as nth from wanted w offset 0)
    select array_agg(s.no), array_agg(s.nth), array_agg(s.method), array_agg(s.document), array_agg(s.who),
           array_agg(case when s.dedupe_key is null then today else 'infinity' end),
           array_agg(postrider.enqueue_key(s.dedupe_key, s.template_id, s.who, s.method, s.content, (s.kind).endpoint)),
           min(s.no) filter (where s.faulty)
      into message_nos, nths, message_methods, documents, whos, days, keys, faulty
      from spread s;
    if faulty is not null then
        perform postrider.enqueue_refuse(faulty + coalesce(first, 1) - 1, kind[kind_nos[faulty]], contents[faulty]);
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
           message_methods[m.m], whos[m.m],
           case when message_methods[m.m] = 'webhook' then (m.kind).endpoint end, (m.kind).created_by,
           case when jsonb_array_length(documents[m.m]->'targets') = 0 then '{}'
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
