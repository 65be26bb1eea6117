-- Upkeep, called by one worker at a time.

-- Makes the history partitions of yesterday to three days ahead, and one for each day on which messages
-- ended while there was none: they wait in the default partition, and would keep theirs from being made.
-- Outcomes never wait for it long: a lock that is not to be had within the caller's lock_timeout
-- fails the call, which is made again later.
create function postrider.make_partitions() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
as $$
declare
    parent text;
    spare  text;
    days   date[];
    day    date;
    child  text;
begin
    foreach parent in array array['history_sent', 'history_failed'] loop
        spare := parent || '_default';
        execute format('select array(select d::date from generate_series(current_date - 1, current_date + 3, interval ''1 day'') d
                                      union select finished_at::date from postrider.%I
                                             where finished_at between ''2000-01-01'' and ''3000-01-01'')', spare)
           into days;
        foreach day in array days loop
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            continue when to_regclass('postrider.' || child) is not null;
            execute format('lock table postrider.%I in access exclusive mode', spare);
            execute format('create table postrider.%I (like postrider.%I including defaults including constraints)',
                           child, parent);
            -- A column of this type in somebody else's table would keep the partition from being dropped.
            execute format('revoke usage on type postrider.%I from public', child);
            execute format('with moved as (delete from postrider.%I where finished_at >= %L and finished_at < %L returning *)
                            insert into postrider.%I select * from moved', spare, day, day + 1, child);
            -- Unlike create table ... partition of, this lets others write to the parent meanwhile.
            execute format('alter table postrider.%I attach partition postrider.%I for values from (%L) to (%L)',
                           parent, child, day, day + 1);
        end loop;
    end loop;
end
$$;

-- Drops the partitions whose last day is past its retention of at least a day, and returns their names.
create function postrider.drop_partitions(keep_sent interval, keep_failed interval) returns setof text
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
as $$
declare
    child record;
begin
    if least(keep_sent, keep_failed) < interval '1 day' or keep_sent is null or keep_failed is null then
        raise exception 'invalid retention of history: % and %; each must be at least a day', keep_sent, keep_failed
            using errcode = 'PR004', hint = 'Set retention.sent and retention.failed to a day or more.';
    end if;
    for child in
        select c.relname,
               to_date(right(c.relname, 8), 'YYYYMMDD') + 1
                   + case when p.relname = 'history_sent' then keep_sent else keep_failed end as until
          from pg_inherits i
          join pg_class c on c.oid = i.inhrelid
          join pg_class p on p.oid = i.inhparent
         where p.oid in ('postrider.history_sent'::regclass, 'postrider.history_failed'::regclass)
           and c.relname ~ '_[0-9]{8}$'
    loop
        if child.until <= now() then
            execute format('drop table postrider.%I', child.relname);
            return next child.relname;
        end if;
    end loop;
end
$$;

-- Ends up to $1 waiting messages whose time is over, and returns how many.
create function postrider.expire_messages(most integer) returns bigint
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    with over as (
        delete from postrider.messages
         where id = any (array(select m.id from postrider.messages m
                                where m.expires_at < now() and (m.claim = 0 or m.lease_until < now())
                                limit most for update skip locked))
        returning *),
    moved as (
        insert into postrider.history (id, notification_id, template_id, dedupe_key, claim, created_at, first_due_at,
                                       expires_at, outcome, priority, lapses, attempt, max_attempts, size, method,
                                       recipient_id, endpoint, destination, code, note, created_by, targets, payload)
        select id, notification_id, template_id, dedupe_key, claim, created_at, first_due_at,
               expires_at, 'expired', priority, lapses, attempt, max_attempts, size, method,
               recipient_id, endpoint, destination, 'expired',
               coalesce('expired; last failure: ' || last_error, 'expired before an attempt'), created_by, targets, payload
          from over
        returning 1)
    select count(*) from moved
$$;

-- Pauses deliveries, or resumes them. The clock of messages that are held stands still meanwhile.
create function postrider.set_paused(pause boolean) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    since timestamptz;
begin
    perform from postrider.settings s where s.name = 'paused' for update;
    since := (select (s.value #>> '{}')::timestamptz from postrider.settings s where s.name = 'paused_since');
    if pause then
        insert into postrider.settings (name, value) values ('paused_since', to_jsonb(now())) on conflict do nothing;
    elsif since is not null then
        update postrider.messages m set held_since = m.held_since + (now() - greatest(since, m.held_since))
         where m.held_since is not null;
        delete from postrider.settings s where s.name = 'paused_since';
    end if;
    insert into postrider.settings (name, value) values ('paused', to_jsonb(pause))
    on conflict (name) do update set value = excluded.value;
end
$$;

select postrider.make_partitions();
