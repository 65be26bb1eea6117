-- Two roles without a login, to be granted to those of applications and workers:
-- postrider_enqueue may enqueue and nothing else, postrider_worker may deliver. Repeatable, and to be repeated after
-- each migration: a function that is new may be called by everybody, one that is replaced is no security definer.

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

-- Nobody calls anything unless it is granted below, and what is granted runs with the rights of
-- the schema's owner. Each of these functions has a search_path of its own, pg_temp last.
revoke execute on all functions in schema postrider from public;

do $$
declare
    function regprocedure;
    name     text;
    grantee  text;
begin
    for function, name in
        select p.oid, p.proname from pg_proc p
         where p.pronamespace = 'postrider'::regnamespace
           and p.proname in ('enqueue', 'enqueue_result', 'enqueue_many', 'enqueue_columns', 'make_partitions', 'drop_partitions', 'expire_messages')
    loop
        grantee := case when name like 'enqueue%' then 'postrider_enqueue' else 'postrider_worker' end;
        execute format('alter function %s security definer', function);
        execute format('grant execute on function %s to %I', function, grantee);
    end loop;
end
$$;

grant usage on schema postrider to postrider_enqueue, postrider_worker;

grant select on all tables in schema postrider to postrider_worker;
grant insert, update, delete on postrider.messages, postrider.attempts, postrider.doorbell, postrider.workers
    to postrider_worker;
grant insert on postrider.history, postrider.inbox, postrider.methods to postrider_worker;
grant insert, update, delete on postrider.suppressions to postrider_worker;
grant update on postrider.endpoints to postrider_worker; -- One that is gone is disabled.
grant delete on postrider.dedupe to postrider_worker;
grant usage on sequence postrider.claims, postrider.endpoint_versions to postrider_worker;
