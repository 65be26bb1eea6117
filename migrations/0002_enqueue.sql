-- Enqueueing, from any SQL client, inside its own transaction: one notification, or many by columns.
--
-- The rules are functions that both ways call. Their bodies are parsed here, once: no search_path
-- can change what they mean. Nothing becomes text before its size as text is known to be bounded: a
-- number of 10 bytes may be 131,072 digits long.

-- Bytes of a document in memory, also of one that is stored compressed.
create function postrider.raw_size(document jsonb) returns integer
    language sql immutable parallel safe
begin atomic
    select case when jsonb_typeof(document) in ('object', 'array')
                then pg_column_size(document - '{}'::text[])
                else octet_length(left(document #>> '{}', 4194304)) end;
end;

-- What is wrong with labels and data that are not small, in a word; null where nothing is. Values are
-- counted in arrays: jsonb_path_query takes time by the square of their number.
create function postrider.payload_fault(labels jsonb, data jsonb) returns text
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
declare
    size  integer := coalesce(postrider.raw_size(labels), 0) + coalesce(postrider.raw_size(data), 0);
    fault text;
begin
    if size > 2097152 then
        return 'size';
    -- The payload has them at level 1, and 64 levels of its own at most.
    elsif jsonb_path_exists(labels, '$.**{65}') or jsonb_path_exists(data, '$.**{65}') then
        return 'depth';
    elsif size > 80000 -- 20,000 values take as much
          and coalesce(jsonb_array_length(jsonb_path_query_array(labels, '$.**.type()')), 0)
              + coalesce(jsonb_array_length(jsonb_path_query_array(data, '$.**.type()')), 0) > 20000 then
        return 'values';
    end if;
    select case when bool_or(n.n >= 1e1000 or scale(n.n) > 1000) then 'number'
                when sum(case when n.n between 1e20 and 1e1000 then length(trunc(n.n)::text) else 0 end + scale(n.n)) > 1048576
                then 'size'
           end
      into fault
      from (select abs(v::numeric) as n
              from jsonb_array_elements(
                       coalesce(jsonb_path_query_array(labels, '$.** ? (@.type() == "number")'), '[]')
                       || coalesce(jsonb_path_query_array(data, '$.** ? (@.type() == "number")'), '[]')) v
            offset 0) n;
    return fault;
end
$$;

-- The methods of a notification, sorted, each once: those asked for, else the template's, else the
-- default ones.
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

-- Whether each of them is known.
create function postrider.methods_are_known(methods text[]) returns boolean
    language plpgsql stable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    return methods <@ array(select m.name from postrider.methods m);
end
$$;

-- Whether each target has 255 bytes at most.
create function postrider.targets_are_short(targets text[]) returns boolean
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((select max(octet_length(t)) from unnest(targets) t), 0) <= 255;
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

-- The key of a notification that is to be enqueued once, for one role, template and recipient: the key
-- that the caller chose, else, where the template says so, the content and the day. Null: neither.
create function postrider.enqueue_key(dedupe_key text, dedupe text, template_id uuid, who text, methods text[],
                                      document jsonb, endpoint text) returns uuid
    language sql stable parallel safe
begin atomic
    select case when dedupe_key <> '' or dedupe is not null then
        encode(substring(sha256(convert_to(jsonb_build_array(
            session_user, template_id, who, nullif(dedupe_key, ''),
            case when nullif(dedupe_key, '') is null
                 then jsonb_build_array(methods, document, endpoint, (now() at time zone 'UTC')::date) end)::text,
            'UTF8')) for 16), 'hex')::uuid end;
end;

-- Until when such a key is kept.
create function postrider.enqueue_key_end(dedupe_key text) returns timestamptz
    language plpgsql stable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    if dedupe_key <> '' then
        return now() + coalesce(
            (select (s.value #>> '{}')::interval from postrider.settings s where s.name = 'dedupe_retention'),
            '30 days');
    end if;
    return date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' + interval '1 day';
end
$$;

-- What is wrong with a notification, in a word; null where nothing is. Where the recipient does not want
-- it (disabled), what would be needed to deliver it does not matter.
create function postrider.enqueue_fault(
    template_id uuid, recipient jsonb, labels jsonb, data jsonb, targets text[], created_by text, priority integer,
    schedule_at timestamptz, dedupe_key text, max_attempts integer, disabled boolean, methods text[], endpoint text,
    endpoint_known boolean) returns text
    language sql stable parallel safe
begin atomic
    select coalesce(
        case
            when template_id is null then 'template'
            when jsonb_typeof(recipient) is distinct from 'object' or coalesce(recipient->>'id', '') = '' then 'recipient'
            when octet_length(recipient->>'id') > 255 then 'recipient_id'
            when octet_length(recipient->>'email') > 254 then 'recipient_email'
            when octet_length(recipient->>'name') > 1024 or octet_length(recipient->>'username') > 1024
                then 'recipient_name'
            when jsonb_typeof(labels) <> 'object' then 'labels'
            when priority not between 0 and 3 then 'priority'
            when max_attempts not between 1 and 1000 then 'max_attempts'
            when octet_length(created_by) > 255 then 'created_by'
            when octet_length(dedupe_key) > 255 then 'dedupe_key'
            when schedule_at = 'infinity' then 'schedule_at'
            when targets <> '{}'
                 and (array_ndims(targets) <> 1 or array_lower(targets, 1) <> 1 or cardinality(targets) > 64
                      or octet_length(array_to_string(targets, '')) > 255
                         and not postrider.targets_are_short(targets)) then 'targets'
        end,
        -- Less can hold nothing that is too much; what is compressed may be larger than it looks.
        case when pg_column_size(labels) + coalesce(pg_column_size(data), 0) > 520
                  or pg_column_compression(labels) is not null or pg_column_compression(data) is not null
             then postrider.payload_fault(labels, data) end,
        case
            when disabled then null
            when coalesce(array_ndims(methods), 0) <> 1 or array_lower(methods, 1) <> 1 or cardinality(methods) > 16
                 or (methods::text ~ '^\{[a-z][a-z0-9_-]{0,62}(,[a-z][a-z0-9_-]{0,62})*\}$') is not true then 'methods'
            when not methods <@ '{inbox,smtp,webhook}' and not postrider.methods_are_known(methods) then 'method'
            when 'smtp' = any (methods) and coalesce(recipient->>'email', '') = '' then 'email'
            when octet_length(endpoint) > 2048 then 'endpoint_length'
            when not endpoint_known then 'endpoint'
        end);
end;

-- What to say of it: SQLSTATE, message and hint.
create function postrider.enqueue_refusal(
    fault text, template text, recipient jsonb, labels jsonb, targets text[], priority integer, max_attempts integer,
    methods text[], endpoint text) returns text[]
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    who text := quote_literal(left(recipient->>'id', 255));
begin
    return case fault
        when 'template' then
            array['PR001', 'unknown template ' || coalesce(quote_literal(left(template, 255)), 'null'),
                  'Create it first: postrider template set NAME --title ... --body ...']
        when 'recipient' then
            array['PR002', 'invalid recipient: it needs an id',
                  'Pass an object such as {"id": "42", "email": "ada@example.com", "name": "Ada"}.']
        when 'recipient_id' then
            array['PR002', format('invalid recipient: its id has %s bytes, more than 255', octet_length(recipient->>'id')),
                  'Pass the id by which your application knows the recipient.']
        when 'recipient_email' then
            array['PR002', format('invalid recipient %s: its email has %s bytes, more than 254', who,
                                  octet_length(recipient->>'email')),
                  'No mailbox has a longer address (RFC 5321, 4.5.3.1.3).']
        when 'recipient_name' then
            array['PR002', format('invalid recipient %s: its name or username has more than 1,024 bytes', who),
                  'Pass a name that fits in a greeting.']
        when 'email' then
            array['PR002', format('invalid recipient %s: method smtp needs an email', who),
                  'Pass an object such as {"id": "42", "email": "ada@example.com", "name": "Ada"}.']
        when 'labels' then
            array['PR003', format('invalid payload: labels must be an object, not %s', jsonb_typeof(labels)),
                  'Pass an object such as {"project": "engine"}.']
        when 'size' then
            array['PR003', 'invalid payload: as text it has more than 1 MiB',
                  'Send a link to large data rather than the data.']
        when 'depth' then
            array['PR003', 'invalid payload: it nests deeper than 64 levels', 'Flatten the data.']
        when 'values' then
            array['PR003', 'invalid payload: it has more than 20,000 values',
                  'Send a link to large data rather than the data.']
        when 'number' then
            array['PR003', 'invalid payload: it has a number of more than 1,000 digits', 'Pass it as a string.']
        when 'priority' then
            array['PR004', format('invalid priority %s: it must be 0 (urgent) to 3 (bulk)', priority),
                  'Leave it out for 1.']
        when 'max_attempts' then
            array['PR004', format('invalid max_attempts %s: it must be 1 to 1,000', max_attempts),
                  'Leave it out for as many as the worker is configured to make.']
        when 'created_by' then
            array['PR004', 'invalid created_by: it has more than 255 bytes', 'Name the user or program, or leave it out.']
        when 'dedupe_key' then
            array['PR004', 'invalid dedupe_key: it has more than 255 bytes', 'Pass a digest of what makes it unique.']
        when 'schedule_at' then
            array['PR004', 'invalid schedule_at infinity: such a message would never be due',
                  'Leave it out for now.']
        when 'targets' then
            array['PR004', format('invalid targets: %s; they must be one list of at most 64 texts of at most 255 bytes',
                                  coalesce(array_dims(targets), 'none')),
                  'Pass ids, such as array[''order-1'', ''order-2''].']
        when 'methods' then
            array['PR004', format('invalid methods %s: name 1 to 16, each in lower case',
                                  left(coalesce(methods, '{}')::text, 255)),
                  'Such as smtp, webhook or inbox.']
        when 'method' then
            array['PR004', format('unknown method in %s', left(methods::text, 255)),
                  'Known are ' || array_to_string(array(select m.name from postrider.methods m order by m.name), ', ')
                  || '; a worker with a transport of its own publishes its method when it starts.']
        when 'endpoint_length' then
            array['PR005', format('invalid endpoint: it has %s bytes, more than 2,048', octet_length(endpoint)),
                  'Set a named endpoint: postrider endpoint set NAME --url URL']
        when 'endpoint' then
            array['PR005', format('unknown endpoint %s: it is neither a URL nor the name of one',
                                  quote_literal(left(endpoint, 255))),
                  'Set it first: postrider endpoint set NAME --url URL']
    end;
end
$$;

-- Enqueues one notification: a message for each of its methods, all or none.
--
-- result is 'enqueued', 'disabled' (by the recipient's preference or the template's default) or
-- 'duplicate' (notification_id is that of the earlier one); the latter two enqueue nothing.
-- Errors: PR001 unknown template, PR002 invalid recipient, PR003 invalid payload,
-- PR004 invalid argument, PR005 unknown endpoint.
create function postrider.enqueue_result(
    template     text,
    recipient    jsonb,                             -- {"id", "email", "name", "username"}; id is required
    labels       jsonb       default '{}',
    data         jsonb       default null,
    targets      text[]      default '{}',
    created_by   text        default '',
    methods      text[]      default null,          -- null: the template's, else the default ones
    priority     integer     default 1,             -- 0 urgent to 3 bulk
    schedule_at  timestamptz default null,          -- not before; a time that is past means now
    expires_at   timestamptz default null,
    dedupe_key   text        default null,          -- the same key is enqueued once; null and '': none
    endpoint     text        default null,          -- URL, or a name from postrider.endpoints
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
    disabled       boolean; -- null: there is no such template
    endpoint_known boolean := true;
    chosen         text[];
    document       jsonb;
    size           integer;
    fault          text;
    refusal        text[];
    ticks          bigint := postrider.clock_ticks();
    once           uuid; -- what it is to be enqueued once by
begin
    select t.id, t.name, t.method, t.endpoint, t.dedupe,
           coalesce((select p.disabled from postrider.preferences p where p.recipient_id = who and p.template = t.name),
                    not t.enabled_by_default) as disabled
      into tmpl
      from postrider.templates t
     where t.name = template;
    if endpoint is null then
        endpoint := tmpl.endpoint;
    end if;
    if endpoint is not null and position('://' in endpoint) = 0 then
        endpoint_known := exists (select from postrider.endpoints e where e.name = endpoint);
    end if;
    if cardinality(methods) = 1 then
        chosen := methods;
    else
        chosen := postrider.enqueue_methods(methods, tmpl.method);
    end if;
    fault := postrider.enqueue_fault(tmpl.id, recipient, labels, data, targets, created_by, priority, schedule_at,
                                     dedupe_key, max_attempts, tmpl.disabled, chosen, endpoint, endpoint_known);
    if fault is null and not tmpl.disabled then
        document := postrider.enqueue_document(tmpl.name, tmpl.id, recipient, labels, data, targets);
        size := octet_length(document::text);
        if size > 1048576 then
            fault := 'size';
        end if;
    end if;
    if fault is not null then
        refusal := postrider.enqueue_refusal(fault, template, recipient, labels, targets, priority, max_attempts, chosen,
                                             endpoint);
        raise exception using errcode = refusal[1], message = refusal[2], hint = refusal[3];
    elsif tmpl.disabled then
        result := 'disabled';
        return;
    end if;

    for nth in 1 .. cardinality(chosen) loop
        message_ids[nth] := postrider.uuid_v7_at(ticks + nth);
    end loop;
    notification_id := message_ids[1]; -- one random number less
    if dedupe_key is not null or tmpl.dedupe is not null then
        once := postrider.enqueue_key(dedupe_key, tmpl.dedupe, tmpl.id, who, chosen, document, endpoint);
        insert into postrider.dedupe as d (key, notification_id, messages, expires_at)
        select once, notification_id, cardinality(chosen), postrider.enqueue_key_end(dedupe_key) where once is not null
        on conflict (key) do update
           set notification_id = excluded.notification_id, messages = excluded.messages, expires_at = excluded.expires_at
         where d.messages = 0 or d.expires_at <= now();
        if once is not null and not found then
            result := 'duplicate';
            message_ids := null;
            notification_id := (select d.notification_id from postrider.dedupe d where d.key = once);
            return;
        end if;
    end if;

    result := 'enqueued';
    message_methods := chosen;
    insert into postrider.messages (id, notification_id, template_id, dedupe_key, due_at, first_due_at, expires_at, size,
                                    max_attempts, priority, method, recipient_id, endpoint, created_by, targets, payload)
    select m.id, notification_id, tmpl.id, once, greatest(schedule_at, now()), greatest(schedule_at, now()), expires_at,
           size, max_attempts, coalesce(priority, 1), m.method, who, case when m.method = 'webhook' then endpoint end,
           coalesce(created_by, ''), coalesce(targets, '{}'), document
      from unnest(message_ids, chosen) m(id, method);
    if exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform postrider.ring();
    end if;
end
$$;

-- The ids of the messages of one notification: none where it is disabled or a duplicate.
create function postrider.enqueue(
    template     text,
    recipient    jsonb,
    labels       jsonb       default '{}',
    data         jsonb       default null,
    targets      text[]      default '{}',
    created_by   text        default '',
    methods      text[]      default null,
    priority     integer     default 1,
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

-- The answer to one notification among many.
create type postrider.enqueue_answer as (
    result          text,
    notification_id uuid,
    message_ids     uuid[],
    message_methods text[]);

-- Raises the error of one notification among many.
create function postrider.enqueue_refuse(no bigint, refusal text[]) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = refusal[1], hint = refusal[3], message = format('notification %s: %s', no, refusal[2]);
end
$$;

-- Enqueues many, as one after the other would be, at a fraction of the cost: an array for each argument of
-- postrider.enqueue, of which all but recipient may be null, and targets and methods are JSON lists. Results are in
-- the order given. An error names the first notification at fault by its number, counted from first, and refuses all.
create function postrider.enqueue_columns(
    template     text[],
    recipient    jsonb[],
    labels       jsonb[],
    data         jsonb[],
    targets      jsonb[],
    created_by   text[],
    methods      jsonb[],
    priority     integer[],
    schedule_at  timestamptz[],
    expires_at   timestamptz[],
    dedupe_key   text[],
    endpoint     text[],
    max_attempts integer[],
    first        bigint default 1)
    returns setof postrider.enqueue_answer
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    -- Others are made for each call, with the arrays as constants in which the way to an element is long.
    set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    ticks   bigint := postrider.clock_ticks();
    answers postrider.enqueue_answer[];
    refused jsonb;
begin
    if cardinality(recipient) > 10000
       or coalesce(pg_column_size(labels), 0) + coalesce(pg_column_size(data), 0) > 16777216 then
        raise exception 'too much for one call: at most 10,000 notifications and 16 MiB' using errcode = 'PR004',
            hint = 'Make several calls in one transaction.';
    end if;
    -- Each step computes what the next one uses more than once; offset 0 keeps the planner from merging them.
    with given as (
        select g.no, g.template as template_name, g.recipient, g.recipient->>'id' as who,
               coalesce(g.labels, '{}') as labels, nullif(g.data, 'null') as data,
               case when g.targets is null or g.targets = 'null' or g.targets = '[]' then '{}'
                    else array(select left(t, 256) from jsonb_array_elements_text(g.targets) t) end as targets,
               coalesce(g.created_by, '') as created_by,
               case when g.methods is null or g.methods = 'null' then null
                    else array(select left(m, 256) from jsonb_array_elements_text(g.methods) m) end as asked,
               g.priority, greatest(g.schedule_at, now()) as due_at, g.expires_at, g.dedupe_key,
               g.endpoint as own_endpoint, g.max_attempts
          from unnest(template, recipient, labels, data, targets, created_by, methods, priority, schedule_at, expires_at,
                      dedupe_key, endpoint, max_attempts)
               with ordinality g(template, recipient, labels, data, targets, created_by, methods, priority, schedule_at,
                                 expires_at, dedupe_key, endpoint, max_attempts, no)
        offset 0),
    found as (
        select g.*, t.id as template_id, t.dedupe,
               coalesce((select p.disabled from postrider.preferences p
                          where p.recipient_id = g.who and p.template = t.name),
                        not t.enabled_by_default) as disabled,
               case when cardinality(g.asked) = 1 then g.asked
                    else postrider.enqueue_methods(g.asked, t.method) end as methods,
               coalesce(g.own_endpoint, t.endpoint) as endpoint
          from given g
          left join lateral (select * from postrider.templates t where t.name = g.template_name offset 0) t on true
        offset 0),
    known as (
        select f.*,
               f.endpoint is null or position('://' in f.endpoint) > 0
                   or exists (select from postrider.endpoints e where e.name = f.endpoint) as endpoint_known
          from found f
        offset 0),
    judged as (
        select k.*,
               postrider.enqueue_fault(k.template_id, k.recipient, k.labels, k.data, k.targets, k.created_by, k.priority,
                                       k.due_at, k.dedupe_key, k.max_attempts, k.disabled, k.methods, k.endpoint,
                                       k.endpoint_known) as fault
          from known k
        offset 0),
    written as (
        select j.*,
               case when j.fault is null and not j.disabled
                    then postrider.enqueue_document(j.template_name, j.template_id, j.recipient, j.labels, j.data, j.targets)
               end as document
          from judged j
        offset 0),
    measured as (
        select w.*, octet_length(w.document::text) as size from written w offset 0),
    checked as materialized (
        select m.*,
               case when m.fault is not null or m.size > 1048576 then
                   postrider.enqueue_refusal(coalesce(m.fault, 'size'), m.template_name, m.recipient, m.labels, m.targets,
                                             m.priority, m.max_attempts, m.methods, m.endpoint) end as refusal,
               case when m.size <= 1048576 then
                   postrider.enqueue_key(m.dedupe_key, m.dedupe, m.template_id, m.who, m.methods, m.document, m.endpoint)
               end as key,
               -- As far apart as those of enqueues one after the other, and in the same order.
               case when m.size <= 1048576 then
                   array(select postrider.uuid_v7_at(ticks + 16 * m.no + nth)
                           from generate_series(1, cardinality(m.methods)) nth) end as ids
          from measured m),
    kept as (
        -- In the order of the keys, so that enqueues that wait for each other's keys cannot do so in a circle.
        insert into postrider.dedupe as d (key, notification_id, messages, expires_at)
        select distinct on (c.key) c.key, c.ids[1], cardinality(c.methods), postrider.enqueue_key_end(c.dedupe_key)
          from checked c
         where c.key is not null
         order by c.key, c.no
        on conflict (key) do update
           set notification_id = excluded.notification_id, messages = excluded.messages, expires_at = excluded.expires_at
         where d.messages = 0 or d.expires_at <= now()
        returning d.key, d.notification_id),
    answered as materialized (
        select c.*,
               case when c.refusal is not null then 'refused'
                    when c.disabled then 'disabled'
                    when c.key is null or c.ids[1] in (select k.notification_id from kept k) then 'enqueued'
                    else 'duplicate' end as result
          from checked c),
    inserted as (
        insert into postrider.messages (id, notification_id, template_id, dedupe_key, due_at, first_due_at, expires_at,
                                        size, max_attempts, priority, method, recipient_id, endpoint, created_by, targets,
                                        payload)
        select m.id, a.ids[1], a.template_id, a.key, a.due_at, a.due_at, a.expires_at, a.size, a.max_attempts,
               coalesce(a.priority, 1), m.method, a.who, case when m.method = 'webhook' then a.endpoint end, a.created_by,
               a.targets, a.document
          from answered a, unnest(a.ids, a.methods) m(id, method)
         where a.result = 'enqueued')
    select array_agg(row(a.result,
                         case a.result
                             when 'enqueued' then a.ids[1]
                             when 'duplicate' then coalesce(
                                 (select k.notification_id from kept k where k.key = a.key),
                                 (select d.notification_id from postrider.dedupe d where d.key = a.key))
                         end,
                         case when a.result = 'enqueued' then a.ids end,
                         case when a.result = 'enqueued' then a.methods end)::postrider.enqueue_answer),
           (array_agg(jsonb_build_object('no', a.no, 'refusal', a.refusal)) filter (where a.refusal is not null))[1]
      into answers, refused
      from answered a;
    if refused is not null then
        perform postrider.enqueue_refuse((refused->>'no')::bigint + first - 1,
                                         array(select jsonb_array_elements_text(refused->'refusal')));
    end if;
    return query select * from unnest(answers);
    if exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform postrider.ring();
    end if;
end
$$;

-- Enqueues many, an array of objects whose fields are the arguments of postrider.enqueue.
create function postrider.enqueue_many(notifications jsonb, first bigint default 1)
    returns setof postrider.enqueue_answer
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    misfit record;
    given  record;
begin
    if jsonb_typeof(notifications) is distinct from 'array' then
        raise exception 'invalid notifications: they must be an array, not %', coalesce(jsonb_typeof(notifications), 'null')
            using errcode = 'PR004', hint = 'Each is an object whose fields are the arguments of postrider.enqueue.';
    elsif jsonb_array_length(notifications) > 10000 or postrider.raw_size(notifications) > 16777216 then
        raise exception 'too much for one call: at most 10,000 notifications and 16 MiB' using errcode = 'PR004',
            hint = 'Make several calls in one transaction.';
    end if;
    select n.no + first - 1 as no,
           case when jsonb_typeof(n.doc) <> 'object' then 'it must be an object, not ' || jsonb_typeof(n.doc)
                else 'it has a field that is no argument, or a list that is none' end as what
      into misfit
      from jsonb_array_elements(notifications) with ordinality n(doc, no)
     where case when jsonb_typeof(n.doc) = 'object'
                then n.doc - '{template,recipient,labels,data,targets,created_by,methods,priority,schedule_at,expires_at,
                               dedupe_key,endpoint,max_attempts}'::text[] <> '{}'
                     or coalesce(jsonb_typeof(n.doc->'targets'), 'array') not in ('array', 'null')
                     or coalesce(jsonb_typeof(n.doc->'methods'), 'array') not in ('array', 'null')
                else true end
     order by n.no limit 1;
    if found then
        perform postrider.enqueue_refuse(misfit.no, array['PR004', misfit.what,
            'The fields are the arguments of postrider.enqueue; targets and methods are lists.']);
    end if;
    -- A number may be far longer as text, so texts are cut; what is cut is longer than any limit.
    select array_agg(left(n.doc->>'template', 4096)) as template,
           array_agg(n.doc->'recipient') as recipient,
           array_agg(n.doc->'labels') as labels,
           array_agg(n.doc->'data') as data,
           array_agg(n.doc->'targets') as targets,
           array_agg(left(n.doc->>'created_by', 4096)) as created_by,
           array_agg(n.doc->'methods') as methods,
           array_agg((n.doc->>'priority')::integer) as priority,
           array_agg((n.doc->>'schedule_at')::timestamptz) as schedule_at,
           array_agg((n.doc->>'expires_at')::timestamptz) as expires_at,
           array_agg(left(n.doc->>'dedupe_key', 4096)) as dedupe_key,
           array_agg(left(n.doc->>'endpoint', 4096)) as endpoint,
           array_agg((n.doc->>'max_attempts')::integer) as max_attempts
      into given
      from jsonb_array_elements(notifications) with ordinality n(doc, no);
    return query select * from postrider.enqueue_columns(
        given.template, given.recipient, given.labels, given.data, given.targets, given.created_by, given.methods,
        given.priority, given.schedule_at, given.expires_at, given.dedupe_key, given.endpoint, given.max_attempts, first);
end
$$;
