-- Pause, age of the oldest message that could go now, workers at work: an idle one renews its bell, a busy one beats.
select coalesce((select s.value from postrider.settings s where s.name = 'paused') <> 'false', true) paused,
       (select max(date_part('epoch', now()) - date_part('epoch', ready.due_at))
          from postrider.methods method, generate_series(0, 3) priority,
               lateral (select q.due_at from postrider.messages q
                         where q.method = method.name and q.priority = priority and q.due_at <= now()
                           and (q.claim = 0 or q.lease_until < now())
                         order by q.due_at limit 1) ready) oldest_ready_seconds,
       (select count(*) from postrider.workers w
         where w.heartbeat_at > now() - interval '1 minute'
            or exists (select from postrider.doorbell d where d.worker_id = w.id and d.armed_until > now())) workers
