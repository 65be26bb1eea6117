-- Whether dead rows pile up in the queue. $1 how many always may
select coalesce(max(n_dead_tup) > greatest($1, 4 * max(n_live_tup)), false)
  from pg_stat_user_tables where schemaname = 'postrider' and relname = 'messages'
