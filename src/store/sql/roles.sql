-- Two roles without a login, to be granted to those of applications and workers:
-- postrider_enqueue may enqueue and nothing else, postrider_worker may deliver. Repeatable, and to be repeated after
-- each migration: a function or type that is new may be used by everybody, one that is replaced is no security definer.

do $$
declare
    role text;
begin
    foreach role in array array['postrider_enqueue', 'postrider_worker'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I nologin', role);
            exception when duplicate_object or unique_violation then
                null; -- Somebody was faster.
            end;
        end if;
    end loop;
end
$$;

-- What was granted to the two by another version, but for what an operator may have added (maintain).
revoke select, insert, update, delete, truncate, references, trigger on all tables in schema postrider
    from postrider_enqueue, postrider_worker;
revoke all on all sequences in schema postrider from postrider_enqueue, postrider_worker;

-- Nobody calls anything unless it is granted below, and what is granted runs with the rights of
-- the schema's owner. Each of these functions has a search_path of its own, pg_temp last.
revoke execute on all functions in schema postrider from public, postrider_enqueue, postrider_worker;

do $$
declare
    function regprocedure;
    name     text;
    grantee  text;
begin
    for function, name in
        select p.oid, p.proname from pg_proc p
         where p.pronamespace = 'postrider'::regnamespace
           and p.proname in ('enqueue', 'enqueue_result', 'enqueue_many', 'enqueue_columns', 'make_partitions', 'drop_partitions',
                             'expire_messages')
    loop
        grantee := case when name like 'enqueue%' then 'postrider_enqueue' else 'postrider_worker' end;
        execute format('alter function %s security definer', function);
        execute format('grant execute on function %s to %I', function, grantee);
    end loop;
end
$$;

-- A table of somebody else with a column of a type of ours would keep that from being altered or dropped. Each
-- table has such a type; an array follows the type of its elements.
do $$
declare
    type text;
begin
    for type in
        select format_type(t.oid, null) from pg_type t
         where t.typnamespace = 'postrider'::regnamespace and t.typcategory <> 'A'
           and has_type_privilege('public', t.oid, 'usage')
    loop
        execute format('revoke usage on type %s from public', type);
    end loop;
end
$$;

grant usage on schema postrider to postrider_enqueue, postrider_worker;

-- What a worker reads to deliver: not what others finished, and not the inbox.
grant select on postrider.migrations, postrider.settings, postrider.templates, postrider.endpoints, postrider.preferences,
                postrider.suppressions, postrider.messages, postrider.attempts, postrider.dedupe
    to postrider_worker;
-- A message is leased, put off and ended; what it says, and to whom, is the application's.
grant update (claim, started, claimed_by, lease_until, lapses, suspect, attempt, due_at, held_since, destination, code,
              last_error), delete on postrider.messages to postrider_worker;
grant insert, select (id, claim) on postrider.history to postrider_worker;
grant select (id) on postrider.history_sent_default, postrider.history_failed_default to postrider_worker;
grant insert, select (id) on postrider.inbox to postrider_worker;
grant insert, delete on postrider.attempts, postrider.suppressions to postrider_worker;
grant delete on postrider.dedupe to postrider_worker;
grant select, insert on postrider.methods to postrider_worker; -- It publishes those of its transports.
grant execute on function postrider.bell_is_silent() to postrider_worker;
grant update (disabled_at, disabled_reason) on postrider.endpoints to postrider_worker; -- One that is gone is disabled.
grant insert, update (value) on postrider.settings to postrider_worker; -- It publishes its own; and the lock of the upkeep.
grant select, insert, update, delete on postrider.doorbell, postrider.workers to postrider_worker;
grant usage on sequence postrider.claims, postrider.endpoint_versions to postrider_worker;
