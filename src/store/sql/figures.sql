-- The live queue in figures, and how old the oldest snapshot is: it keeps dead rows from being cleaned up.
select count(*) filter (where m.claim = 0 and m.last_error is null) pending,
       count(*) filter (where m.claim <> 0) leased,
       count(*) filter (where m.claim = 0 and m.last_error is not null) temporary_failure,
       count(*) filter (where m.claim <> 0 and m.lease_until < now()) lapsed,
       coalesce(max(date_part('epoch', now()) - date_part('epoch', m.due_at))
                filter (where m.due_at <= now() and (m.claim = 0 or m.lease_until < now())), 0) oldest_due_seconds,
       coalesce((select max(date_part('epoch', now() - a.xact_start)) from pg_stat_activity a
                  where a.backend_xmin is not null and a.pid <> pg_backend_pid()), 0) oldest_snapshot_seconds,
       coalesce((select max(age(a.backend_xmin)) from pg_stat_activity a
                  where a.backend_xmin is not null and a.pid <> pg_backend_pid()), 0) oldest_snapshot_transactions
  from postrider.messages m
