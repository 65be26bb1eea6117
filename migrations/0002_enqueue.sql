-- Enqueueing, from any SQL client, inside its own transaction.

-- Enqueues one notification: a message for each of its methods, all or none.
--
-- result is 'enqueued', 'disabled' (by the recipient's preference or the template's default) or
-- 'duplicate' (see dedupe_key); the latter two are answers, not errors, and enqueue nothing.
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
    priority     integer     default 0,             -- 0 goes first, 3 last
    schedule_at  timestamptz default null,          -- not before; a time that is past means now
    expires_at   timestamptz default null,
    dedupe_key   text        default null,          -- null: one with the same content a UTC day
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
    tmpl      record;
    who       text := recipient->>'id';
    chosen    text[];
    document  jsonb;
    key_day   date;
    keys      bytea[];
    fresh     bytea[];
begin
    select t.id, t.name, t.method, t.endpoint, t.enabled_by_default into tmpl
      from postrider.templates t where t.name = template;
    if not found then
        raise exception 'unknown template %', coalesce(quote_literal(template), 'null') using errcode = 'PR001',
            hint = 'Create it first: postrider template set NAME --title ... --body ...';
    end if;
    if jsonb_typeof(recipient) is distinct from 'object' or coalesce(who, '') = '' then
        raise exception 'invalid recipient: it needs an id' using errcode = 'PR002',
            hint = 'Pass an object such as {"id": "42", "email": "ada@example.com", "name": "Ada"}.';
    end if;
    if jsonb_typeof(coalesce(labels, '{}')) <> 'object' then
        raise exception 'invalid payload: labels must be an object, not %', jsonb_typeof(labels)
            using errcode = 'PR003';
    end if;
    if coalesce(priority, 0) not between 0 and 3 then
        raise exception 'invalid priority %: it must be 0 (first) to 3 (last)', priority using errcode = 'PR004';
    end if;
    if max_attempts < 1 then
        raise exception 'invalid max_attempts %: it must be at least 1', max_attempts using errcode = 'PR004';
    end if;

    if coalesce((select p.disabled from postrider.preferences p
                  where p.recipient_id = who and p.template_id = tmpl.id),
                not tmpl.enabled_by_default) then
        result := 'disabled';
        return;
    end if;

    if cardinality(methods) > 0 then
        chosen := methods;
    elsif tmpl.method is not null then
        chosen := array[tmpl.method];
    else
        select array(select jsonb_array_elements_text(s.value)) into chosen
          from postrider.settings s where s.name = 'default_methods';
        if exists (select from postrider.settings s where s.name = 'inbox_enabled' and s.value = 'true') then
            chosen := chosen || 'inbox'::text;
        end if;
    end if;
    chosen := array(select distinct m from unnest(chosen) m order by m);
    if cardinality(chosen) = 0 or exists (select from unnest(chosen) m where m is null or m !~ '^[a-z][a-z0-9_-]{0,62}$') then
        raise exception 'invalid methods %: name at least one, each in lower case, such as smtp, webhook or inbox', chosen
            using errcode = 'PR004';
    end if;
    if 'smtp' = any (chosen) and coalesce(recipient->>'email', '') = '' then
        raise exception 'invalid recipient %: method smtp needs an email', quote_literal(who) using errcode = 'PR002';
    end if;
    endpoint := coalesce(endpoint, tmpl.endpoint);
    if position('://' in endpoint) = 0
       and not exists (select from postrider.endpoints e where e.name = endpoint) then
        raise exception 'unknown endpoint %: it is neither a URL nor the name of one', quote_literal(endpoint)
            using errcode = 'PR005';
    end if;

    document := jsonb_build_object(
        '_version', '1.2',
        'notification_name', tmpl.name,
        'notification_template_id', tmpl.id,
        'user_id', who,
        'user_email', coalesce(recipient->>'email', ''),
        'user_name', coalesce(nullif(recipient->>'name', ''), recipient->>'username', ''),
        'user_username', coalesce(recipient->>'username', ''),
        'actions', '[]'::jsonb,
        'labels', coalesce(labels, '{}'),
        'data', data,
        'targets', to_jsonb(coalesce(targets, '{}')));
    if octet_length(document::text) > 1048576 then
        raise exception 'invalid payload: it has % octets, more than 1 MiB', octet_length(document::text)
            using errcode = 'PR003', hint = 'Send a link to large data rather than the data.';
    end if;

    -- A key holds for one template, recipient and method; without one the content is the key.
    key_day := case when dedupe_key is null then (now() at time zone 'UTC')::date else 'infinity' end;
    keys := array(select sha256(convert_to(jsonb_build_array(tmpl.id, who, m,
                coalesce(to_jsonb(dedupe_key), jsonb_build_array(document, endpoint)))::text, 'UTF8'))
             from unnest(chosen) m order by 1);
    with put as (
        insert into postrider.dedupe (day, key) select key_day, k from unnest(keys) k
        on conflict do nothing returning key)
    select array_agg(key) into fresh from put;
    if cardinality(fresh) is distinct from cardinality(keys) then
        delete from postrider.dedupe d where d.day = key_day and d.key = any (fresh);
        result := 'duplicate';
        return;
    end if;

    result := 'enqueued';
    notification_id := postrider.uuid_v7();
    message_methods := chosen;
    message_ids := array(select postrider.uuid_v7() from unnest(chosen));
    insert into postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts,
                                    method, recipient_id, endpoint, created_by, targets, payload)
    select m.id, notification_id, tmpl.id, greatest(schedule_at, now()), expires_at, coalesce(priority, 0), max_attempts,
           m.method, who, case when m.method = 'webhook' then endpoint end, coalesce(created_by, ''),
           coalesce(targets, '{}'), document
      from unnest(message_ids, chosen) m(id, method);

    if exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform pg_notify('postrider', '');
    end if;
end
$$;

-- The same, returning the ids of the messages: none where the notification is disabled or a duplicate.
create function postrider.enqueue(
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
    language sql volatile
    set search_path = pg_catalog, pg_temp
as $$
    select unnest(r.message_ids)
      from postrider.enqueue_result(template, recipient, labels, data, targets, created_by, methods, priority,
                                    schedule_at, expires_at, dedupe_key, endpoint, max_attempts) r
$$;
