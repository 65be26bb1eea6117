-- Shows that a worker lives, forgets those that have not for a day and the bells of others, and tells by name what upkeep there is to do.
-- $1 id, $2 host, $3 pid, $4 version, $5, $6 and $7 seconds to keep sent messages, others, attempts,
-- $8 how many dead rows always may be
with gone as (delete from postrider.workers where heartbeat_at < now() - interval '1 day' and id <> $1),
silent as (
    delete from postrider.doorbell d
     where d.armed_until < now() - interval '1 day'
       and not exists (select from postrider.workers w where w.id = d.worker_id)),
alive as (
    insert into postrider.workers (id, host, pid, version) values ($1, $2, $3, $4)
    on conflict (id) do update set heartbeat_at = now()),
today as (select (now() at time zone 'UTC')::date as day)
select clock_timestamp() clock,
       -- As postrider.make_partitions makes them.
       exists (select from postrider.history_sent_default)
       or exists (select from postrider.history_failed_default)
       or exists (select from today, generate_series(-1, 3) ahead, unnest(array['history_sent', 'history_failed']) parent
                   where to_regclass('postrider.' || parent || '_' || to_char(day + ahead, 'YYYYMMDD')) is null)
           as "make history partitions",
       -- As postrider.drop_partitions drops them.
       exists (select from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent in ('postrider.history_sent'::regclass, 'postrider.history_failed'::regclass)
                  and case when c.relname ~ '_[0-9]{8}$'
                           then to_date(right(c.relname, 8), 'YYYYMMDD') + 1
                                + make_interval(secs => case when i.inhparent = 'postrider.history_sent'::regclass
                                                             then $5 else $6 end)
                                <= now() at time zone 'UTC'
                           else false end)
           as "drop history partitions",
       exists (select from postrider.messages m
                where m.expires_at < now() and (m.claim = 0 or m.lease_until < now()))
           as "expire messages",
       exists (select from postrider.attempts a where a.finished_at < now() - make_interval(secs => $7))
           as "prune attempts",
       exists (select from postrider.dedupe d where d.expires_at < now())
           as "prune dedupe keys",
       -- If the last one is long enough ago that another one may help: while an old snapshot is held none does.
       (select coalesce(max(n_dead_tup) > greatest($8, 4 * max(n_live_tup))
                        and coalesce(max(greatest(last_vacuum, last_autovacuum)) < now() - interval '2 minutes', true),
                        false)
          from pg_stat_user_tables t where schemaname = 'postrider' and relname = 'messages'
           -- For anybody else it is but a warning.
           and (pg_has_role((select c.relowner from pg_class c where c.oid = t.relid), 'usage')
                or pg_has_role((select d.datdba from pg_database d where d.datname = current_database()), 'usage')
                or case when current_setting('server_version_num')::int >= 170000
                        then has_table_privilege(t.relid, 'maintain') else false end))
           as vacuum
