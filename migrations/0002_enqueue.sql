-- Enqueueing, from any SQL client, inside its own transaction: one notification, or many at once.
--
-- The rules are functions that both ways call. Their bodies are parsed here, once, so no
-- search_path can change what they mean. Those in plain SQL become part of the statement that calls
-- them; what is rarely needed is in plpgsql, so that the others do not prepare it.
--
-- Nothing is copied or becomes text before its size is known to be small: a number of 10 bytes may
-- be 131,072 digits long, and a compressed value may be 255 times as large as it looks.

-- The answer to one notification. result is 'enqueued', 'disabled' (by the recipient's preference
-- or the template's default) or 'duplicate' (notification_id is the earlier one's). The latter two
-- enqueue nothing.
create type postrider.enqueue_answer as (
    result          text,
    notification_id uuid,
    message_ids     uuid[],
    message_methods text[]);

-- PL/pgSQL copies an array as soon as it is called, so these are looked at before.
create domain postrider.target_list as text[]
    constraint "targets have 32 KiB at most" check (pg_column_size(value) <= 32768);
create domain postrider.method_list as text[]
    constraint "methods have 4 KiB at most" check (pg_column_size(value) <= 4096);

-- Bytes of a document in memory, also of one that is stored compressed.
create function postrider.raw_size(document jsonb) returns integer
    language sql immutable parallel safe
begin atomic
    select case when pg_column_compression(document) is null then pg_column_size(document)
                else pg_column_size(document #> '{}') end;
end;

-- What is wrong with labels and data that are not small. Values are counted in arrays:
-- jsonb_path_query takes time by the square of their number.
create function postrider.payload_fault(labels jsonb, data jsonb) returns text
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
declare
    size    integer := coalesce(pg_column_size(labels), 0) + coalesce(pg_column_size(data), 0);
    numbers jsonb;
    digits  numeric;
begin
    if size > 1572864 then -- 20,000 values and 1 MiB of text take less
        return 'size';
    -- Data and each label have 64 levels at most.
    elsif jsonb_path_exists(labels, '$.**{65}') or jsonb_path_exists(data, '$.**{64}') then
        return 'depth';
    elsif size > 80000 -- 20,000 values take as much
        and coalesce(jsonb_array_length(jsonb_path_query_array(labels, '$.**.type()')), 0)
            + coalesce(jsonb_array_length(jsonb_path_query_array(data, '$.**.type()')), 0) > 20000
    then
        return 'size';
    elsif size <= 1536 then -- holds too few numbers to be large as text
        return null;
    end if;
    numbers := coalesce(jsonb_path_query_array(labels, '$.** ? (@.type() == "number")'), '[]')
               || coalesce(jsonb_path_query_array(data, '$.** ? (@.type() == "number")'), '[]');
    if jsonb_array_length(numbers) > 100 then
        -- At least a third of the digits that they have as text.
        select sum(scale(n.n)
                   + (array[0, 20, 60, 180, 540, 1620, 4860, 14580, 43740])[1 + width_bucket(
                     abs(n.n), array[1e20, 1e60, 1e180, 1e540, 1e1620, 1e4860, 1e14580, 1e43740])])
          into digits
          from (select v::numeric as n from jsonb_array_elements(numbers) v offset 0) n;
        if digits > 1048576 then
            return 'size';
        end if;
    end if;
    return null;
end
$$;

-- The texts of a JSON list: none of null, null where it is no list of at most so many texts.
create function postrider.text_list(list jsonb, most integer) returns text[]
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    if list is null or list = 'null' then
        return '{}';
    elsif jsonb_typeof(list) <> 'array' then
        return null;
    elsif jsonb_array_length(list) > most
        or jsonb_path_exists(list, 'strict $[*] ? (@.type() != "string")') then
        return null;
    end if;
    return array(select jsonb_array_elements_text(list));
end
$$;

-- The same without a call where there is nothing to do, or one text.
create function postrider.texts(list jsonb, most integer) returns text[]
    language sql immutable parallel safe
begin atomic
    select case when list is null or list = '[]' then '{}'
                when jsonb_typeof(list) = 'array' and jsonb_array_length(list) = 1
                     and jsonb_typeof(list->0) = 'string' then array[list->>0]
                else postrider.text_list(list, most) end;
end;

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
        select jsonb_array_elements_text(s.value)
          from postrider.settings s where s.name = 'default_methods'
        union
        select 'inbox'
          from postrider.settings s where s.name = 'inbox_enabled' and s.value = 'true'
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

-- Whether there are few targets, and short ones.
create function postrider.targets_fit(targets text[]) returns boolean
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    return cardinality(targets) <= 64
           and (select max(octet_length(t)) from unnest(targets) t) <= 255;
end
$$;

-- Whether it is a whole number, or nothing.
create function postrider.is_whole(number jsonb) returns boolean
    language sql immutable parallel safe
begin atomic
    select case when number is null or number = 'null' then true
                when jsonb_typeof(number) = 'number' then number::numeric % 1 = 0
                else false end;
end;

-- A JSON number as an integer, the nearest one where it is too large; null of null.
create function postrider.whole(number jsonb) returns integer
    language sql immutable parallel safe
begin atomic
    select case when jsonb_typeof(number) = 'number'
                then least(greatest(number::numeric, -2147483648), 2147483647)::integer end;
end;

-- What is wrong with a time that came as text; null where nothing is.
create function postrider.time_fault(field text, text text) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if octet_length(text) > 255 then
        return format('its %s cannot be read', field);
    end if;
    perform text::timestamptz;
    return null;
exception when data_exception then
    return format('its %s cannot be read: %s', field, left(sqlerrm, 255));
end
$$;

-- What is wrong with the form of a notification that came as an object; null where nothing is.
create function postrider.notification_fault(doc jsonb) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := '{template,recipient,labels,data,targets,created_by,methods,priority,
                               schedule_at,expires_at,dedupe_key,endpoint,max_attempts}';
begin
    if jsonb_typeof(doc) <> 'object' then
        return 'it must be an object, not ' || jsonb_typeof(doc);
    elsif pg_column_size(doc) > 2097152 then
        return 'it has more than 2 MiB';
    elsif doc - known <> '{}' then
        return (select format('it has a field %s that is no argument', to_json(left(k, 64)))
                  from jsonb_object_keys(doc - known) k
                 limit 1);
    elsif jsonb_typeof(doc->'template') not in ('string', 'null')
       or jsonb_typeof(doc->'created_by') not in ('string', 'null')
       or jsonb_typeof(doc->'dedupe_key') not in ('string', 'null')
       or jsonb_typeof(doc->'endpoint') not in ('string', 'null') then
        return 'its template, created_by, dedupe_key and endpoint must be texts';
    elsif jsonb_typeof(doc->'schedule_at') not in ('string', 'null')
       or jsonb_typeof(doc->'expires_at') not in ('string', 'null') then
        return 'its schedule_at and expires_at must be texts such as "2030-01-31T12:00:00Z"';
    elsif not postrider.is_whole(doc->'priority')
       or not postrider.is_whole(doc->'max_attempts') then
        return 'its priority and max_attempts must be whole numbers';
    elsif doc ?| '{schedule_at,expires_at}' then
        return coalesce(postrider.time_fault('schedule_at', doc->>'schedule_at'),
                        postrider.time_fault('expires_at', doc->>'expires_at'));
    end if;
    return null;
end
$$;

-- The recipient's id; null where there is none, or no text or number.
create function postrider.recipient_id(recipient jsonb) returns text
    language sql immutable parallel safe
begin atomic
    select case when jsonb_typeof(recipient->'id') in ('string', 'number')
                then nullif(recipient->>'id', '') end;
end;

-- What is wrong with the length of a recipient's fields, in a word; null where nothing is.
create function postrider.recipient_fault(recipient jsonb) returns text
    language plpgsql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
begin
    return case
        when octet_length(recipient->>'id') > 255 then 'recipient_id'
        when octet_length(recipient->>'email') > 254 then 'recipient_email'
        when octet_length(recipient->>'name') > 1024
             or octet_length(recipient->>'username') > 1024 then 'recipient_name' end;
end
$$;

-- What is wrong with the size or the form of an argument, in a word; null where nothing is. The
-- arguments must not be compressed.
create function postrider.argument_fault(
    template text, recipient jsonb, who text, labels jsonb, data jsonb, targets text[],
    created_by text, methods text[], priority integer, schedule_at timestamptz,
    expires_at timestamptz, dedupe_key text, endpoint text, max_attempts integer) returns text
    language sql stable parallel safe
begin atomic
    select case
        when octet_length(template) > 255 then 'template'
        when pg_column_size(recipient) > 65536 then 'recipient_size'
        when who is null then 'recipient'
        when jsonb_typeof(recipient->'email') not in ('string', 'null') then 'recipient_email'
        when jsonb_typeof(recipient->'name') not in ('string', 'null')
             or jsonb_typeof(recipient->'username') not in ('string', 'null') then 'recipient_name'
        when jsonb_typeof(labels) <> 'object' then 'labels'
        when targets is null
             or targets <> '{}' and (array_ndims(targets) <> 1 or array_lower(targets, 1) <> 1
                                     or array_position(targets, null) is not null)
            then 'targets'
        when octet_length(created_by) > 255 then 'created_by'
        when methods is null
             or methods <> '{}' and (array_ndims(methods) <> 1 or array_lower(methods, 1) <> 1
                                     or cardinality(methods) > 16
                                     or array_position(methods, null) is not null)
            then 'methods'
        when priority not between 0 and 3 then 'priority'
        when schedule_at >= '10000-01-01' then 'schedule_at'
        when expires_at >= '10000-01-01' and expires_at <> 'infinity' then 'expires_at'
        when octet_length(dedupe_key) > 255 then 'dedupe_key'
        when octet_length(endpoint) > 2048 then 'endpoint_size'
        when max_attempts not between 1 and 1000 then 'max_attempts'
        when pg_column_size(targets) > 255 and not postrider.targets_fit(targets) then 'targets'
        -- A number of 10 bytes may be an id of 131,072.
        when (pg_column_size(recipient) > 254 or octet_length(who) > 255)
             and postrider.recipient_fault(recipient) is not null
            then postrider.recipient_fault(recipient)
        -- Less holds no 65 levels, since each takes 8 bytes.
        when pg_column_size(labels) + coalesce(pg_column_size(data), 0) > 520
            then postrider.payload_fault(labels, data)
    end;
end;

-- What keeps a notification from being delivered, in a word; null where nothing does. Where the
-- recipient does not want it, only the template matters.
create function postrider.delivery_fault(
    template_id uuid, disabled boolean, methods text[], recipient jsonb, endpoint_known boolean)
    returns text
    language sql stable parallel safe
begin atomic
    select case
        when template_id is null then 'template'
        when disabled then null
        when methods = '{}' then 'methods'
        when not methods <@ '{inbox,smtp,webhook}'
             and not postrider.methods_are_known(methods) then 'method'
        when 'smtp' = any (methods) and coalesce(recipient->>'email', '') = '' then 'email'
        when not endpoint_known then 'endpoint'
    end;
end;

-- Raises what there is to say of a fault; no is the number of the one at fault among many, or null.
create function postrider.enqueue_refuse(
    fault text, no bigint, template text default null, recipient jsonb default null,
    labels jsonb default null, priority integer default null, max_attempts integer default null,
    methods text[] default null, endpoint text default null) returns boolean
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
declare
    who  text := case when fault in ('recipient_email', 'recipient_name', 'email')
                      then quote_literal(postrider.recipient_id(recipient)) end;
    code text := 'PR004';
    said text;
    an_example constant text :=
        'Pass an object such as {"id": "42", "email": "ada@example.com", "name": "Ada"}.';
    hint text;
begin
    case fault
    when 'template' then
        code := 'PR001';
        said := 'unknown template ' || coalesce(quote_literal(left(template, 255)), 'null');
        hint := 'Create it first: postrider template set NAME --title ... --body ...';
    when 'recipient_size' then
        code := 'PR002';
        said := 'invalid recipient: it has more than 64 KiB';
        hint := an_example;
    when 'recipient' then
        code := 'PR002';
        said := 'invalid recipient: it needs an id, which is a text or a number';
        hint := an_example;
    when 'recipient_id' then
        code := 'PR002';
        said := 'invalid recipient: its id has more than 255 bytes';
        hint := 'Pass the id by which your application knows the recipient.';
    when 'recipient_email' then
        code := 'PR002';
        said := format('invalid recipient %s: its email must be a text of at most 254 bytes', who);
        hint := 'No mailbox has a longer address (RFC 5321, 4.5.3.1.3).';
    when 'recipient_name' then
        code := 'PR002';
        said := format('invalid recipient %s: its name and username must be texts of at most '
                       '1,024 bytes', who);
        hint := 'Pass a name that fits in a greeting.';
    when 'email' then
        code := 'PR002';
        said := format('invalid recipient %s: method smtp needs an email', who);
        hint := an_example;
    when 'labels' then
        code := 'PR003';
        said := format('invalid payload: labels must be an object, not %s', jsonb_typeof(labels));
        hint := 'Pass an object such as {"project": "engine"}.';
    when 'size' then
        code := 'PR003';
        said := 'invalid payload: it has more than 1 MiB as text, or more than 20,000 values';
        hint := 'Send a link to large data rather than the data.';
    when 'depth' then
        code := 'PR003';
        said := 'invalid payload: it nests deeper than 64 levels';
        hint := 'Flatten the data.';
    when 'targets' then
        said := 'invalid targets: they must be one list of at most 64 texts of at most 255 bytes';
        hint := 'Pass ids, such as array[''order-1'', ''order-2''].';
    when 'created_by' then
        said := 'invalid created_by: it has more than 255 bytes';
        hint := 'Name the user or program, or leave it out.';
    when 'methods' then
        said := 'invalid methods: they must be one list of 1 to 16 names';
        hint := 'Such as array[''smtp'', ''inbox''].';
    when 'method' then
        said := 'unknown method '
                || (select string_agg(quote_literal(m), ', ') from unnest(methods) m
                     where not postrider.methods_are_known(array[m]));
        hint := 'Known are ' || (select string_agg(m.name, ', ' order by m.name)
                                   from postrider.methods m)
                || '. A worker with a transport of its own publishes its method when it '
                || 'starts; so does postrider method add.';
    when 'priority' then
        said := format('invalid priority %s: it must be 0 (urgent) to 3 (bulk)', priority);
        hint := 'Leave it out for 1.';
    when 'schedule_at' then
        said := 'invalid schedule_at: it is after the year 9999';
        hint := 'Leave it out for now.';
    when 'expires_at' then
        said := 'invalid expires_at: it is after the year 9999';
        hint := 'Leave it out for never.';
    when 'dedupe_key' then
        said := 'invalid dedupe_key: it has more than 255 bytes';
        hint := 'Pass a digest of what makes it unique.';
    when 'endpoint_size' then
        code := 'PR005';
        said := 'invalid endpoint: it has more than 2,048 bytes';
        hint := 'Set a named endpoint: postrider endpoint set NAME --url URL';
    when 'endpoint' then
        code := 'PR005';
        said := format('unknown endpoint %s: it is neither a URL nor the name of one',
                       quote_literal(left(endpoint, 255)));
        hint := 'Set it first: postrider endpoint set NAME --url URL';
    when 'max_attempts' then
        said := format('invalid max_attempts %s: it must be 1 to 1,000', max_attempts);
        hint := 'Leave it out for as many as the worker is configured to make.';
    when 'total' then
        said := 'too much for one call: at most 10,000 notifications and 16 MiB';
        hint := 'Make several calls in one transaction.';
    end case;
    raise exception using errcode = code, hint = hint,
        message = coalesce('notification ' || no || ': ', '') || said;
end
$$;

create function postrider.enqueue_document(
    name text, template_id uuid, recipient jsonb, labels jsonb, data jsonb, targets text[])
    returns jsonb
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
        'labels', labels,
        'data', data,
        'targets', to_jsonb(targets));
end;

-- When a message ends: a time of our era, so that it can be reckoned with; null: never.
create function postrider.message_end(expires_at timestamptz) returns timestamptz
    language sql immutable parallel safe
begin atomic
    select case when expires_at < '1970-01-01 00:00:00+00' then '1970-01-01 00:00:00+00'
                when expires_at < 'infinity' then expires_at end;
end;

-- The key of a notification that is to be enqueued once, for one role, template and recipient: the
-- key that the caller chose, else, where the template says so, the content and the day; else null.
create function postrider.enqueue_key(
    dedupe_key text, dedupe text, template_id uuid, who text, methods text[], document jsonb,
    endpoint text) returns uuid
    language sql stable parallel safe
begin atomic
    select case when dedupe_key <> '' or dedupe is not null then
        encode(substring(sha256(convert_to(jsonb_build_array(
            session_user, template_id, who, nullif(dedupe_key, ''),
            case when nullif(dedupe_key, '') is null
                 then jsonb_build_array(methods, document, endpoint,
                                        (now() at time zone 'UTC')::date) end)::text,
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
            -- A number of 10 bytes may be a text of 131,072.
            (select case when jsonb_typeof(s.value) = 'string' then (s.value #>> '{}')::interval end
               from postrider.settings s where s.name = 'dedupe_retention'),
            '30 days');
    end if;
    return date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' + interval '1 day';
end
$$;

-- The notification that has a key now. Volatile, so that it also sees one that committed while the
-- calling statement waited for it.
create function postrider.enqueue_key_holder(once uuid) returns uuid
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (select d.notification_id from postrider.dedupe d where d.key = once);
end
$$;

-- Enqueues one notification: a message for each of its methods, all or none.
--
-- Errors: PR001 unknown template, PR002 invalid recipient, PR003 invalid payload,
-- PR004 invalid argument, PR005 unknown endpoint.
create function postrider.enqueue_result(
    template     text,
    recipient    jsonb,                             -- {"id", "email", "name", "username"}; needs id
    labels       jsonb       default '{}',
    data         jsonb       default null,
    targets      postrider.target_list default '{}',
    created_by   text        default '',
    methods      postrider.method_list default null, -- null: the template's, else the default ones
    priority     integer     default 1,             -- 0 urgent to 3 bulk
    schedule_at  timestamptz default null,          -- not before; a time that is past means now
    expires_at   timestamptz default null,
    dedupe_key   text        default null,          -- the same key is enqueued once; '' is none
    endpoint     text        default null,          -- URL, or a name from postrider.endpoints
    max_attempts integer     default null,
    out result          text,                       -- as in postrider.enqueue_answer
    out notification_id uuid,
    out message_ids     uuid[],
    out message_methods text[])
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    who            text := case when pg_column_size(recipient) <= 65536
                                then postrider.recipient_id(recipient) end;
    tmpl           record;
    endpoint_known boolean := true;
    chosen         text[];
    document       jsonb;
    size           integer;
    fault          text;
    due_at         timestamptz := greatest(schedule_at, now());
    ends_at        timestamptz := postrider.message_end(expires_at);
    ticks          bigint := postrider.clock_ticks();
    once           uuid; -- what it is to be enqueued once by
begin
    -- Each use of a value that comes compressed from a table would unpack it.
    if coalesce(pg_column_compression(recipient), pg_column_compression(labels),
                pg_column_compression(data)) is not null then
        if postrider.raw_size(recipient) > 65536 then
            fault := 'recipient_size';
        elsif postrider.raw_size(labels) > 1572864 or postrider.raw_size(data) > 1572864 then
            fault := 'size';
        else
            recipient := recipient #> '{}';
            labels := labels #> '{}';
            data := data #> '{}';
        end if;
    end if;
    if labels is null or labels = 'null' then
        labels := '{}';
    end if;
    if fault is null then
        fault := postrider.argument_fault(
            template, recipient, who, labels, data, coalesce(targets, '{}'), created_by,
            coalesce(methods, '{}'), priority, schedule_at, expires_at, dedupe_key, endpoint,
            max_attempts);
    end if;
    if fault is null then
        select t.id, t.name, t.method, t.endpoint, t.dedupe,
               coalesce((select p.disabled from postrider.preferences p
                          where p.recipient_id = who and p.template = t.name),
                        not t.enabled_by_default) as disabled
          into tmpl
          from postrider.templates t
         where t.name = template;
        endpoint := coalesce(endpoint, tmpl.endpoint);
        if position('://' in endpoint) = 0 then
            endpoint_known := exists (select from postrider.endpoints e where e.name = endpoint);
        end if;
        if cardinality(methods) = 1 then
            chosen := methods;
        else
            chosen := postrider.enqueue_methods(methods, tmpl.method);
        end if;
        fault := postrider.delivery_fault(
            tmpl.id, tmpl.disabled, chosen, recipient, endpoint_known);
    end if;
    if fault is null then
        if tmpl.disabled then
            result := 'disabled';
            return;
        end if;
        document := postrider.enqueue_document(
            tmpl.name, tmpl.id, recipient, labels, data, coalesce(targets, '{}'));
        size := octet_length(document::text);
        if size > 1048576 then
            fault := 'size';
        end if;
    end if;
    if fault is not null then
        -- An expression: a statement of its own would copy its arguments into its plan.
        result := postrider.enqueue_refuse(
            fault, null, template, recipient, labels, priority, max_attempts, chosen, endpoint);
    end if;

    for nth in 1 .. cardinality(chosen) loop
        message_ids[nth] := postrider.uuid_v7_at(ticks + nth);
    end loop;
    notification_id := message_ids[1]; -- one random number less
    if dedupe_key <> '' or tmpl.dedupe is not null then
        once := postrider.enqueue_key(
            dedupe_key, tmpl.dedupe, tmpl.id, who, chosen, document, endpoint);
        insert into postrider.dedupe as d (key, notification_id, messages, expires_at)
        values (once, notification_id, cardinality(chosen), postrider.enqueue_key_end(dedupe_key))
        on conflict (key) do update
           set notification_id = excluded.notification_id, messages = excluded.messages,
               expires_at = excluded.expires_at
         where d.messages = 0 or d.expires_at <= now();
        if not found then
            result := 'duplicate';
            message_ids := null;
            notification_id := postrider.enqueue_key_holder(once);
            return;
        end if;
    end if;

    result := 'enqueued';
    message_methods := chosen;
    insert into postrider.messages (
        id, notification_id, template_id, dedupe_key, due_at, first_due_at, expires_at, size,
        max_attempts, priority, method, recipient_id, endpoint, created_by, targets, payload)
    select m.id, notification_id, tmpl.id, once, due_at, due_at, ends_at, size, max_attempts,
           coalesce(priority, 1), m.method, who, case when m.method = 'webhook' then endpoint end,
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
    targets      postrider.target_list default '{}',
    created_by   text        default '',
    methods      postrider.method_list default null,
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
    ids uuid[] := (postrider.enqueue_result(
        template, recipient, labels, data, targets, created_by, methods, priority,
        schedule_at, expires_at, dedupe_key, endpoint, max_attempts)).message_ids;
begin
    return query select unnest(ids);
end
$$;

-- Does what postrider.enqueue_columns says, once the arrays are known to be small.
create function postrider.enqueue_set(
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
    first        bigint)
    returns setof postrider.enqueue_answer
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_generic_plan -- others hold a copy of what they are made for
as $$
#variable_conflict use_column
declare
    ticks bigint := postrider.clock_ticks();
begin
    -- Each step computes what the next one uses more than once; offset 0 keeps them apart.
    return query
    with given as (
        select g.no, g.template, g.recipient, postrider.recipient_id(g.recipient) as who,
               coalesce(nullif(g.labels, 'null'), '{}') as labels, g.data,
               postrider.texts(g.targets, 64) as targets, coalesce(g.created_by, '') as created_by,
               postrider.texts(g.methods, 16) as asked, g.priority, g.schedule_at, g.expires_at,
               g.dedupe_key, g.endpoint as own_endpoint, g.max_attempts
          from unnest(template, recipient, labels, data, targets, created_by, methods, priority,
                      schedule_at, expires_at, dedupe_key, endpoint, max_attempts)
               with ordinality g(template, recipient, labels, data, targets, created_by, methods,
                                 priority, schedule_at, expires_at, dedupe_key, endpoint,
                                 max_attempts, no)
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
          left join lateral (select * from postrider.templates t
                              where t.name = g.template offset 0) t on true -- keeps the order
        offset 0),
    judged as (
        select f.*,
               coalesce(
                   postrider.argument_fault(
                       f.template, f.recipient, f.who, f.labels, f.data, f.targets, f.created_by,
                       f.asked, f.priority, f.schedule_at, f.expires_at, f.dedupe_key,
                       f.own_endpoint, f.max_attempts),
                   postrider.delivery_fault(
                       f.template_id, f.disabled, f.methods, f.recipient,
                       f.endpoint is null or position('://' in f.endpoint) > 0
                       or exists (select from postrider.endpoints e where e.name = f.endpoint))
               ) as fault
          from found f
        offset 0),
    written as (
        select j.no, j.who, j.created_by, j.targets, j.priority, j.schedule_at, j.expires_at,
               j.dedupe_key, j.max_attempts, j.template_id, j.dedupe, j.disabled, j.methods,
               j.endpoint,
               case when not j.disabled then postrider.enqueue_document(
                   j.template, j.template_id, j.recipient, j.labels, j.data, j.targets)
               end as document
          from judged j
         where case when j.fault is null then true else postrider.enqueue_refuse(
                   j.fault, first + j.no - 1, j.template, j.recipient, j.labels, j.priority,
                   j.max_attempts, j.methods, j.endpoint) end
        offset 0),
    measured as (
        select w.*, octet_length(w.document::text) as size from written w offset 0),
    summed as (
        select m.*, sum(m.size) over (rows unbounded preceding) as total from measured m offset 0),
    checked as materialized (
        select s.no, s.who, s.created_by, s.targets, s.priority, s.schedule_at, s.expires_at,
               s.max_attempts, s.template_id, s.methods, s.endpoint, s.document, s.size,
               case when s.document is not null then postrider.enqueue_key(
                   s.dedupe_key, s.dedupe, s.template_id, s.who, s.methods, s.document, s.endpoint)
               end as key,
               -- As far apart as those of enqueues one after the other, and in the same order.
               case when s.document is null then null
                    when cardinality(s.methods) = 1
                    then array[postrider.uuid_v7_at(ticks + 16 * s.no)]
                    else array(select postrider.uuid_v7_at(ticks + 16 * s.no + nth)
                                 from generate_series(0, cardinality(s.methods) - 1) nth)
               end as ids,
               case when s.dedupe_key <> '' then s.dedupe_key end as dedupe_key
          from summed s
         where case when s.size > 1048576 then
                         postrider.enqueue_refuse('size', first + s.no - 1)
                    when s.total > 16777216 then postrider.enqueue_refuse('total', null)
                    else true end),
    kept as (
        -- In the order of the keys, so that enqueues that wait for each other's keys cannot do so
        -- in a circle.
        insert into postrider.dedupe as d (key, notification_id, messages, expires_at)
        select distinct on (c.key) c.key, c.ids[1], cardinality(c.methods),
               postrider.enqueue_key_end(c.dedupe_key)
          from checked c
         where c.key is not null
         order by c.key, c.no
        on conflict (key) do update
           set notification_id = excluded.notification_id, messages = excluded.messages,
               expires_at = excluded.expires_at
         where d.messages = 0 or d.expires_at <= now()
        returning d.key, d.notification_id),
    answered as (
        select c.*, k.notification_id as holder,
               case when c.document is null then 'disabled'
                    when c.key is null or c.ids[1] = k.notification_id then 'enqueued'
                    else 'duplicate' end as result
          from checked c left join kept k on k.key = c.key),
    inserted as (
        insert into postrider.messages (
            id, notification_id, template_id, dedupe_key, due_at, first_due_at, expires_at, size,
            max_attempts, priority, method, recipient_id, endpoint, created_by, targets, payload)
        select m.id, a.ids[1], a.template_id, a.key, greatest(a.schedule_at, now()),
               greatest(a.schedule_at, now()), postrider.message_end(a.expires_at), a.size,
               a.max_attempts, coalesce(a.priority, 1), m.method, a.who,
               case when m.method = 'webhook' then a.endpoint end, a.created_by, a.targets,
               a.document
          from answered a, unnest(a.ids, a.methods) m(id, method)
         where a.result = 'enqueued')
    select a.result,
           case a.result
               when 'enqueued' then a.ids[1]
               when 'duplicate' then coalesce(a.holder, postrider.enqueue_key_holder(a.key)) end,
           case when a.result = 'enqueued' then a.ids end,
           case when a.result = 'enqueued' then a.methods end
      from answered a
     order by a.no;
    if exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform postrider.ring();
    end if;
end
$$;

-- Enqueues many, as one after the other would be, at a fraction of the cost: an array for each
-- argument of postrider.enqueue, of which all but template and recipient may be null. targets and
-- methods are JSON lists. Answers are in the order given. An error names the first notification at
-- fault by its number, counted from first, and refuses all.
create function postrider.enqueue_columns(
    template     text[],
    recipient    jsonb[],
    labels       jsonb[]       default null,
    data         jsonb[]       default null,
    targets      jsonb[]       default null,
    created_by   text[]        default null,
    methods      jsonb[]       default null,
    priority     integer[]     default null,
    schedule_at  timestamptz[] default null,
    expires_at   timestamptz[] default null,
    dedupe_key   text[]        default null,
    endpoint     text[]        default null,
    max_attempts integer[]     default null,
    first        bigint        default 1)
    returns setof postrider.enqueue_answer
    language sql volatile
    set search_path = pg_catalog, pg_temp
begin atomic
    -- offset 0: the arrays are measured first, unpacked by || where they come from a table.
    select a.result, a.notification_id, a.message_ids, a.message_methods
      from (select where case when coalesce(cardinality(recipient), 0) <= 10000
                               and coalesce(pg_column_size(template || '{}'), 0)
                                   + coalesce(pg_column_size(recipient || '{}'), 0)
                                   + coalesce(pg_column_size(labels || '{}'), 0)
                                   + coalesce(pg_column_size(data || '{}'), 0)
                                   + coalesce(pg_column_size(targets || '{}'), 0)
                                   + coalesce(pg_column_size(created_by || '{}'), 0)
                                   + coalesce(pg_column_size(methods || '{}'), 0)
                                   + coalesce(pg_column_size(priority || '{}'), 0)
                                   + coalesce(pg_column_size(schedule_at || '{}'), 0)
                                   + coalesce(pg_column_size(expires_at || '{}'), 0)
                                   + coalesce(pg_column_size(dedupe_key || '{}'), 0)
                                   + coalesce(pg_column_size(endpoint || '{}'), 0)
                                   + coalesce(pg_column_size(max_attempts || '{}'), 0) <= 16777216
                          then true else postrider.enqueue_refuse('total', null) end
            offset 0) small,
           postrider.enqueue_set(template, recipient, labels, data, targets, created_by, methods,
                                 priority, schedule_at, expires_at, dedupe_key, endpoint,
                                 max_attempts, first) a;
end;

-- Enqueues many: an array of objects whose fields are the arguments of postrider.enqueue. Null is
-- as good as no field.
create function postrider.enqueue_many(notifications jsonb, first bigint default 1)
    returns setof postrider.enqueue_answer
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
    set plan_cache_mode = force_generic_plan -- others hold a copy of what they are made for
as $$
#variable_conflict use_column
declare
    misfit       record;
    template     text[];
    recipient    jsonb[];
    labels       jsonb[];
    data         jsonb[];
    targets      jsonb[];
    created_by   text[];
    methods      jsonb[];
    priority     integer[];
    schedule_at  timestamptz[];
    expires_at   timestamptz[];
    dedupe_key   text[];
    endpoint     text[];
    max_attempts integer[];
begin
    if postrider.raw_size(notifications) > 16777216 then
        perform postrider.enqueue_refuse('total', null);
    end if;
    notifications := notifications #> '{}'; -- unpacked, where it comes from a table
    if jsonb_typeof(notifications) is distinct from 'array' then
        raise exception 'invalid notifications: they must be an array, not %',
            coalesce(jsonb_typeof(notifications), 'null')
            using errcode = 'PR004',
                  hint = 'Each is an object whose fields are the arguments of postrider.enqueue.';
    elsif jsonb_array_length(notifications) > 10000 then
        perform postrider.enqueue_refuse('total', null);
    end if;
    select n.no, n.fault
      into misfit
      from (select row_number() over () as no, postrider.notification_fault(d.doc) as fault
              from (select jsonb_array_elements(notifications) as doc offset 0) d) n
     where n.fault is not null
     limit 1;
    if found then
        raise exception 'notification %: %', misfit.no + first - 1, misfit.fault
            using errcode = 'PR004', hint = 'The fields are the arguments of postrider.enqueue.';
    end if;
    select array_agg(n.doc->>'template'), array_agg(n.doc->'recipient'), array_agg(n.doc->'labels'),
           array_agg(n.doc->'data'), array_agg(n.doc->'targets'), array_agg(n.doc->>'created_by'),
           array_agg(n.doc->'methods'), array_agg(postrider.whole(n.doc->'priority')),
           array_agg((n.doc->>'schedule_at')::timestamptz),
           array_agg((n.doc->>'expires_at')::timestamptz), array_agg(n.doc->>'dedupe_key'),
           array_agg(n.doc->>'endpoint'), array_agg(postrider.whole(n.doc->'max_attempts'))
      into template, recipient, labels, data, targets, created_by, methods, priority, schedule_at,
           expires_at, dedupe_key, endpoint, max_attempts
      from (select jsonb_array_elements(notifications) as doc offset 0) n;
    return query select * from postrider.enqueue_set(
        template, recipient, labels, data, targets, created_by, methods, priority, schedule_at,
        expires_at, dedupe_key, endpoint, max_attempts, first);
end
$$;
