-- Whether dead rows pile up in the queue, and the last VACUUM is long enough ago that another one may help: while
-- an old snapshot is held none does. $1 how many dead rows always may be
select coalesce(max(n_dead_tup) > greatest($1, 4 * max(n_live_tup))
                and coalesce(max(greatest(last_vacuum, last_autovacuum)) < now() - interval '2 minutes', true), false)
  from pg_stat_user_tables where schemaname = 'postrider' and relname = 'messages'
