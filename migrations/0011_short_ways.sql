-- What nearly all enqueues are takes a short way.

-- Short payloads are known not to be deep, and spared the walk through them: a level takes 8 octets at least, and the
-- values of labels and data are at level 1 of the document. What is compressed may be longer than it looks.
create or replace trigger refuse_depth before insert on postrider.messages
    for each row when ((528 <= pg_column_size(new.payload) or pg_column_compression(new.payload) is not null)
                       and jsonb_path_exists(new.payload, '$.**{66}'))
    execute function postrider.refuse_depth();

-- As in migration 0007, but for the hint at an unknown endpoint.
create or replace function postrider.enqueue_refusal(fault text, template text, recipient jsonb, labels jsonb, priority integer,
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
                  'Set it first: postrider endpoint set NAME --url URL']
        when 'size' then
            array['PR003', 'invalid payload: it has ' || octets || ' octets, more than 1 MiB',
                  'Send a link to large data rather than the data.']
    end;
end;

-- As in migration 0007. Each transaction prepares anew each expression that it comes to, so those of what is rare stand
-- where it is found to be so.
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
    who               text := recipient->>'id';
    template_id       uuid;
    template_name     text;
    template_method   text;
    template_endpoint text;
    disabled          boolean; -- null: there is no such template
    endpoint_known    boolean := true;
    chosen            text[];
    document          jsonb;
    content           text;
    fault             text;
    refusal           text[];
    ticks             bigint := postrider.clock_ticks();
    key_day           date;
    keys              uuid[];
    next_key          uuid;
begin
    select t.id, t.name, t.method, t.endpoint,
           coalesce((select p.disabled from postrider.preferences p where p.recipient_id = who and p.template_id = t.id),
                    not t.enabled_by_default)
      into template_id, template_name, template_method, template_endpoint, disabled
      from postrider.templates t
     where t.name = template;
    if endpoint is null then
        endpoint := template_endpoint;
    end if;
    if endpoint is not null then
        if position('://' in endpoint) = 0 then
            endpoint_known := exists (select from postrider.endpoints e where e.name = endpoint);
        end if;
    end if;
    if cardinality(methods) = 1 then
        chosen := methods;
    else
        chosen := postrider.enqueue_methods(methods, template_method);
    end if;
    document := postrider.enqueue_document(template_name, template_id, recipient, labels, data, targets);
    content := document::text;

    -- What passes here has no fault and is not disabled. Only an object has an id.
    if (not disabled and endpoint_known and who <> '' and jsonb_typeof(labels) = 'object' and priority in (0, 1, 2, 3)
        and max_attempts is null and octet_length(content) <= 1048576
        and chosen::text ~ '^\{[a-z][a-z0-9_-]{0,62}(,[a-z][a-z0-9_-]{0,62})*\}$'
        and ('smtp' <> all (chosen) or recipient->>'email' <> '')) is not true
    then
        fault := postrider.enqueue_fault(template_id, recipient, labels, priority, max_attempts, disabled, chosen,
                                         endpoint_known, octet_length(content));
        if fault is not null then
            refusal := postrider.enqueue_refusal(fault, template, recipient, labels, priority, max_attempts, chosen, endpoint,
                                                 octet_length(content));
            raise exception using errcode = refusal[1], message = refusal[2], hint = refusal[3];
        elsif disabled then
            result := 'disabled';
            return;
        end if;
    end if;

    if dedupe_key is null then
        key_day := (now() at time zone 'UTC')::date;
    else
        key_day := 'infinity';
    end if;
    -- In one order everywhere, so that enqueues that wait for each other's keys cannot do so in a circle.
    if cardinality(chosen) = 1 then -- spares it a query
        keys := array[postrider.enqueue_key(dedupe_key, template_id, who, chosen[1], content, endpoint)];
    else
        keys := array(select postrider.enqueue_key(dedupe_key, template_id, who, m, content, endpoint) from unnest(chosen) m
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
        values (message_ids[nth], notification_id, template_id, greatest(schedule_at, now()), expires_at,
                coalesce(priority, 0), max_attempts, chosen[nth], who,
                case when chosen[nth] = 'webhook' then endpoint end, coalesce(created_by, ''),
                coalesce(targets, '{}'), document);
    end loop;
    if exists (select from postrider.doorbell d where d.armed_until > now()) then
        perform pg_notify('postrider', '');
    end if;
end
$$;
