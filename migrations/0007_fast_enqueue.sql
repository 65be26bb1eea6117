-- Enqueueing made cheap: one notification costs three short statements, many together cost three in all.
--
-- The rules are functions of plain SQL that the planner puts in the place of their calls, so that both ways
-- follow the same ones. Their bodies are parsed here, once: no search_path can change what they mean.

-- The id for a time in ticks of 1/4096 ms since 1970 (RFC 9562, 6.2, method 3): milliseconds, then 12 bits
-- of the fraction, then random bits. PostgreSQL has its own only from version 18 on.
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

create or replace function postrider.uuid_v7() returns uuid
    language plpgsql volatile parallel safe
    set search_path = pg_catalog, pg_temp
as $$
declare
    ticks bigint := postrider.clock_ticks();
begin
    return postrider.uuid_v7_at(ticks);
end
$$;

-- Half of a SHA-256 tells contents apart as well, in an index of two thirds the size.
alter table postrider.dedupe alter column key type uuid using encode(substring(key for 16), 'hex')::uuid;

-- The methods of a notification, sorted, each once: those asked for, else the template's, else the default ones.
create function postrider.enqueue_methods(asked text[], template text) returns text[]
    language plpgsql stable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    if cardinality(asked) > 0 then
        return array(select distinct m from unnest(asked) m order by m);
    elsif template is not null then
        return array[template];
    end if;
    return array(
        select jsonb_array_elements_text(s.value) from postrider.settings s where s.name = 'default_methods'
        union
        select 'inbox' from postrider.settings s where s.name = 'inbox_enabled' and s.value = 'true'
        order by 1);
end
$$;

create function postrider.enqueue_document(name text, template_id uuid, recipient jsonb, labels jsonb, data jsonb,
                                           targets text[]) returns jsonb
    language sql stable parallel safe
begin atomic
    select jsonb_build_object(
        '_version', '1.2',
        'notification_name', name,
        'notification_template_id', template_id,
        'user_id', recipient->>'id',
        'user_email', coalesce(recipient->>'email', ''),
        'user_name', coalesce(nullif(recipient->>'name', ''), recipient->>'username', ''),
        'user_username', coalesce(recipient->>'username', ''),
        'actions', '[]'::jsonb,
        'labels', coalesce(labels, '{}'),
        'data', data,
        'targets', to_jsonb(coalesce(targets, '{}')));
end;

-- A key holds for one template, recipient and method; without one the content, which names these, is the key.
create function postrider.enqueue_key(dedupe_key text, template_id uuid, who text, method text, content text,
                                      endpoint text) returns uuid
    language sql stable parallel safe
begin atomic
    select encode(substring(sha256(convert_to(
        case when dedupe_key is null then method || chr(10) || content || chr(10) || coalesce(endpoint, '')
             else jsonb_build_array(template_id, who, method, dedupe_key)::text end, 'UTF8')) for 16), 'hex')::uuid;
end;

-- What is wrong with a notification, in a word; null where nothing is. Where the recipient does not want it (disabled),
-- what would be needed to deliver it does not matter.
create function postrider.enqueue_fault(template_id uuid, recipient jsonb, labels jsonb, priority integer,
                                        max_attempts integer, disabled boolean, methods text[],
                                        endpoint_known boolean, octets integer) returns text
    language sql stable parallel safe
begin atomic
    select case
        when template_id is null then 'template'
        when jsonb_typeof(recipient) is distinct from 'object' or coalesce(recipient->>'id', '') = '' then 'recipient'
        when jsonb_typeof(labels) <> 'object' then 'labels'
        when priority not between 0 and 3 then 'priority'
        when max_attempts < 1 then 'max_attempts'
        when disabled then null
        when (methods <@ '{inbox,smtp,webhook}' and methods <> '{}' -- which spares most a regular expression
              or methods::text ~ '^\{[a-z][a-z0-9_-]{0,62}(,[a-z][a-z0-9_-]{0,62})*\}$') is not true then 'methods'
        when 'smtp' = any (methods) and coalesce(recipient->>'email', '') = '' then 'email'
        when not endpoint_known then 'endpoint'
        when octets > 1048576 then 'size'
    end;
end;

-- What to say of it: errcode, message and hint.
create function postrider.enqueue_refusal(fault text, template text, recipient jsonb, labels jsonb, priority integer,
                                          max_attempts integer, methods text[], endpoint text, octets integer)
    returns text[]
    language sql stable parallel safe
begin atomic
    select case fault
        when 'template' then
            array['PR001', 'unknown template ' || coalesce(quote_literal(template), 'null'),
                  'Create it first: postrider template set NAME --title ... --body ...']
        when 'recipient' then
            array['PR002', 'invalid recipient: it needs an id',
                  'Pass an object such as {"id": "42", "email": "ada@example.com", "name": "Ada"}.']
        when 'labels' then
            array['PR003', 'invalid payload: labels must be an object, not ' || jsonb_typeof(labels),
                  'Pass an object such as {"project": "engine"}.']
        when 'priority' then
            array['PR004', 'invalid priority ' || priority || ': it must be 0 (first) to 3 (last)',
                  'Leave it out for 0.']
        when 'max_attempts' then
            array['PR004', 'invalid max_attempts ' || max_attempts || ': it must be at least 1',
                  'Leave it out for as many as the worker is configured to make.']
        when 'methods' then
            array['PR004', 'invalid methods ' || coalesce(methods, '{}')::text || ': name at least one, each in lower case',
                  'Such as smtp, webhook or inbox.']
        when 'email' then
            array['PR002', 'invalid recipient ' || quote_literal(recipient->>'id') || ': method smtp needs an email',
                  'Pass an object such as {"id": "42", "email": "ada@example.com", "name": "Ada"}.']
        when 'endpoint' then
            array['PR005', 'unknown endpoint ' || quote_literal(endpoint) || ': it is neither a URL nor the name of one',
                  'Set it first: postrider endpoint set NAME URL']
        when 'size' then
            array['PR003', 'invalid payload: it has ' || octets || ' octets, more than 1 MiB',
                  'Send a link to large data rather than the data.']
    end;
end;

-- As in migration 0002: one notification, a message for each of its methods, all or none.
create or replace function postrider.enqueue_result(
    template     text,
    recipient    jsonb,
    labels       jsonb       default '{}',
    data         jsonb       default null,
    targets      text[]      default '{}',
    created_by   text        default '',
    methods      text[]      default null,
    priority     integer     default 0,
    schedule_at  timestamptz default null,
    expires_at   timestamptz default null,
    dedupe_key   text        default null,
    endpoint     text        default null,
    max_attempts integer     default null,
    out result          text,
    out notification_id uuid,
    out message_ids     uuid[],
    out message_methods text[])
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    who            text := recipient->>'id';
    tmpl           record;
    endpoint_known boolean := true;
    chosen         text[];
    document       jsonb;
    content        text;
    fault          text;
    refusal        text[];
    ticks          bigint := postrider.clock_ticks();
    key_day        date := case when dedupe_key is null then (now() at time zone 'UTC')::date else 'infinity' end;
    keys           uuid[];
    next_key       uuid;
begin
    select t.id, t.name, t.method, t.endpoint, coalesce(p.disabled, not t.enabled_by_default) as disabled into tmpl
      from postrider.templates t
      left join postrider.preferences p on p.recipient_id = who and p.template_id = t.id
     where t.name = template;
    endpoint := coalesce(endpoint, tmpl.endpoint);
    if position('://' in endpoint) = 0 then
        endpoint_known := exists (select from postrider.endpoints e where e.name = endpoint);
    end if;
    chosen := case when cardinality(methods) = 1 then methods else postrider.enqueue_methods(methods, tmpl.method) end;
    document := postrider.enqueue_document(tmpl.name, tmpl.id, recipient, labels, data, targets);
    content := document::text;
    fault := postrider.enqueue_fault(tmpl.id, recipient, labels, priority, max_attempts, tmpl.disabled, chosen,
                                     endpoint_known, octet_length(content));
    if fault is not null then
        refusal := postrider.enqueue_refusal(fault, template, recipient, labels, priority, max_attempts, chosen, endpoint,
                                             octet_length(content));
        raise exception using errcode = refusal[1], message = refusal[2], hint = refusal[3];
    elsif tmpl.disabled then
        result := 'disabled';
        return;
    end if;

    -- In one order everywhere, so that enqueues that wait for each other's keys cannot do so in a circle.
    if cardinality(chosen) = 1 then -- spares it a query
        keys := array[postrider.enqueue_key(dedupe_key, tmpl.id, who, chosen[1], content, endpoint)];
    else
        keys := array(select postrider.enqueue_key(dedupe_key, tmpl.id, who, m, content, endpoint) from unnest(chosen) m
                       order by 1);
    end if;
    foreach next_key in array keys loop
        insert into postrider.dedupe (day, key) values (key_day, next_key) on conflict do nothing;
        if not found then
            delete from postrider.dedupe d where d.day = key_day and d.key = any (keys) and d.key < next_key;
            result := 'duplicate';
            return;
        end if;
    end loop;

    result := 'enqueued';
    message_methods := chosen;
    for nth in 1 .. cardinality(chosen) loop
        message_ids[nth] := postrider.uuid_v7_at(ticks + nth);
        notification_id := message_ids[1]; -- one random number less
        insert into postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts,
                                        method, recipient_id, endpoint, created_by, targets, payload)
        values (message_ids[nth], notification_id, tmpl.id, greatest(schedule_at, now()), expires_at,
                coalesce(priority, 0), max_attempts, chosen[nth], who,
                case when chosen[nth] = 'webhook' then endpoint end, coalesce(created_by, ''),
                coalesce(targets, '{}'), document);
    end loop;
    if exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform pg_notify('postrider', '');
    end if;
end
$$;

-- The ids of the messages of one notification: none where it is disabled or a duplicate.
create or replace function postrider.enqueue(
    template     text,
    recipient    jsonb,
    labels       jsonb       default '{}',
    data         jsonb       default null,
    targets      text[]      default '{}',
    created_by   text        default '',
    methods      text[]      default null,
    priority     integer     default 0,
    schedule_at  timestamptz default null,
    expires_at   timestamptz default null,
    dedupe_key   text        default null,
    endpoint     text        default null,
    max_attempts integer     default null)
    returns setof uuid
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
declare
    ids uuid[] := (postrider.enqueue_result(template, recipient, labels, data, targets, created_by, methods, priority,
                                            schedule_at, expires_at, dedupe_key, endpoint, max_attempts)).message_ids;
begin
    return query select unnest(ids);
end
$$;

-- A notification among many, looked up and checked.
create type postrider.enqueue_item as (
    no              bigint,
    refusal         text[], -- null: nothing is wrong with it
    disabled        boolean,
    keys            uuid[],
    key_day         date,
    ids             uuid[], -- the first is the notification's, too
    methods         text[],
    template_id     uuid,
    due_at          timestamptz,
    expires_at      timestamptz,
    priority        integer,
    max_attempts    integer,
    recipient_id    text,
    endpoint        text,
    created_by      text,
    targets         text[],
    payload         jsonb);

-- What is wrong with the form of a notification among many.
create function postrider.enqueue_form_refusal(doc jsonb) returns text[]
    language sql stable parallel safe
begin atomic
    select case
        when jsonb_typeof(doc) <> 'object' then
            array['PR004', 'it must be an object, not ' || jsonb_typeof(doc),
                  'Its fields are the arguments of postrider.enqueue.']
        when doc - '{template,recipient,labels,data,targets,created_by,methods,priority,schedule_at,expires_at,
                     dedupe_key,endpoint,max_attempts}'::text[] <> '{}' then
            array['PR004', 'it has a field that is no argument',
                  'The fields are the arguments of postrider.enqueue.']
    end;
end;

-- Looks up and checks many notifications, and changes nothing.
create function postrider.enqueue_items(notifications jsonb) returns postrider.enqueue_item[]
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
declare
    ticks bigint := postrider.clock_ticks();
    today date := (now() at time zone 'UTC')::date;
begin
    -- Each step computes what the next one uses more than once; offset 0 keeps the planner from merging them. Ids are
    -- as far apart as those of enqueues one after the other would be at best, and in the same order.
    return array(
        with given as (
            select n.no,
                   ticks + n.no * 8 as ticks,
                   postrider.enqueue_form_refusal(n.doc) as form,
                   n.doc->>'template' as template,
                   n.doc->'recipient' as recipient,
                   n.doc->'recipient'->>'id' as who,
                   n.doc->'labels' as labels,
                   nullif(n.doc->'data', 'null') as data,
                   case when n.doc ? 'targets'
                        then array(select jsonb_array_elements_text(nullif(n.doc->'targets', 'null')))
                        else '{}' end as targets,
                   coalesce(n.doc->>'created_by', '') as created_by,
                   case when n.doc ? 'methods'
                        then array(select jsonb_array_elements_text(nullif(n.doc->'methods', 'null'))) end as asked,
                   (n.doc->>'priority')::integer as priority,
                   greatest((n.doc->>'schedule_at')::timestamptz, now()) as due_at,
                   (n.doc->>'expires_at')::timestamptz as expires_at,
                   n.doc->>'dedupe_key' as dedupe_key,
                   n.doc->>'endpoint' as own_endpoint,
                   (n.doc->>'max_attempts')::integer as max_attempts
              from jsonb_array_elements(notifications) with ordinality n(doc, no)
            offset 0),
        found as (
            select g.*, t.id as template_id, t.name,
                   coalesce((select p.disabled from postrider.preferences p
                              where p.recipient_id = g.who and p.template_id = t.id),
                            not t.enabled_by_default) as disabled,
                   case when cardinality(g.asked) = 1 then g.asked
                        else postrider.enqueue_methods(g.asked, t.method) end as methods,
                   coalesce(g.own_endpoint, t.endpoint) as endpoint
              from given g
              left join postrider.templates t on t.name = g.template
            offset 0),
        filled as (
            select f.*, postrider.enqueue_document(f.name, f.template_id, f.recipient, f.labels, f.data, f.targets) as document
              from found f
            offset 0),
        written as (
            select f.*, f.document::text as content,
                   f.endpoint is null or position('://' in f.endpoint) > 0
                       or exists (select from postrider.endpoints e where e.name = f.endpoint) as endpoint_known
              from filled f
            offset 0)
        select row(w.no,
                   coalesce(w.form,
                            postrider.enqueue_refusal(
                                postrider.enqueue_fault(w.template_id, w.recipient, w.labels, w.priority, w.max_attempts,
                                                        w.disabled, w.methods, w.endpoint_known, octet_length(w.content)),
                                w.template, w.recipient, w.labels, w.priority, w.max_attempts, w.methods, w.endpoint,
                                octet_length(w.content))),
                   w.disabled,
                   array(select postrider.enqueue_key(w.dedupe_key, w.template_id, w.who, m, w.content, w.endpoint)
                           from unnest(w.methods) m),
                   case when w.dedupe_key is null then today else 'infinity' end,
                   array(select postrider.uuid_v7_at(w.ticks + nth - 1) from unnest(w.methods) with ordinality m(m, nth)),
                   w.methods, w.template_id, w.due_at, w.expires_at, coalesce(w.priority, 0), w.max_attempts, w.who,
                   w.endpoint, w.created_by, w.targets, w.document)::postrider.enqueue_item
          from written w);
end
$$;

-- Of notifications that found all their keys free, but want some of the same ones: those that are too late.
create function postrider.enqueue_late(rivals postrider.enqueue_item[]) returns bigint[]
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    rival postrider.enqueue_item;
    taken uuid[] := '{}';
    late  bigint[] := '{}';
begin
    foreach rival in array rivals loop
        if rival.keys && taken then
            late := late || rival.no;
        else
            taken := taken || rival.keys;
        end if;
    end loop;
    return late;
end
$$;

-- Writes the keys of notifications, and returns the numbers of those that are duplicates.
create function postrider.enqueue_keys(items postrider.enqueue_item[]) returns bigint[]
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
declare
    wanted     bigint;
    fresh      uuid[];
    duplicates bigint[];
    rivals     postrider.enqueue_item[];
begin
    with want as materialized (
        select i.key_day, k as key from unnest(items) i, unnest(i.keys) k where not i.disabled),
    put as (
        -- In the same order as one by one.
        insert into postrider.dedupe (day, key) select w.key_day, w.key from want w order by w.key
        on conflict do nothing returning key)
    select (select count(*) from want), array(select p.key from put p) into wanted, fresh;
    if cardinality(fresh) = wanted then
        return '{}';
    end if;

    duplicates := array(
        select distinct i.no from unnest(items) i, unnest(i.keys) k
         where not i.disabled and k not in (select unnest(fresh)));
    rivals := array(
        select i from unnest(items) i
         where not i.disabled and i.no not in (select unnest(duplicates)) order by i.no);
    duplicates := duplicates || postrider.enqueue_late(rivals);
    delete from postrider.dedupe d
     using (select i.key_day, k as key from unnest(items) i, unnest(i.keys) k
             where i.no in (select unnest(duplicates)) and k in (select unnest(fresh))
            except
            select i.key_day, k from unnest(items) i, unnest(i.keys) k
             where not i.disabled and i.no not in (select unnest(duplicates))) unused
     where d.day = unused.key_day and d.key = unused.key;
    return duplicates;
end
$$;

-- Enqueues many, an array of objects whose fields are the arguments of postrider.enqueue: the same as one after the
-- other, at a fraction of the cost. Results are in the order given. An error names the one at fault by its number,
-- the first being number first, and refuses all.
create function postrider.enqueue_many(
    notifications jsonb,
    first         bigint default 1,
    out result          text,
    out notification_id uuid,
    out message_ids     uuid[],
    out message_methods text[])
    returns setof record
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    items      postrider.enqueue_item[] := postrider.enqueue_items(notifications);
    duplicates bigint[];
    faulty     record;
begin
    select i.no + first - 1 as no, i.refusal into faulty
      from unnest(items) i where i.refusal is not null order by i.no limit 1;
    if found then
        raise exception using errcode = faulty.refusal[1], hint = faulty.refusal[3],
            message = format('notification %s: %s', faulty.no, faulty.refusal[2]);
    end if;
    duplicates := postrider.enqueue_keys(items);

    insert into postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts,
                                    method, recipient_id, endpoint, created_by, targets, payload)
    select m.id, i.ids[1], i.template_id, i.due_at, i.expires_at, i.priority, i.max_attempts,
           m.method, i.recipient_id, case when m.method = 'webhook' then i.endpoint end, i.created_by, i.targets, i.payload
      from unnest(items) i, unnest(i.ids, i.methods) m(id, method)
     where not i.disabled and i.no not in (select unnest(duplicates));
    if found and exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform pg_notify('postrider', '');
    end if;

    return query
        select r.result,
               case when r.result = 'enqueued' then r.ids[1] end,
               case when r.result = 'enqueued' then r.ids end,
               case when r.result = 'enqueued' then r.methods end
          from (select i.no, i.ids, i.methods,
                       case when i.disabled then 'disabled'
                            when i.no in (select unnest(duplicates)) then 'duplicate'
                            else 'enqueued' end as result
                  from unnest(items) i) r
         order by r.no;
end
$$;
