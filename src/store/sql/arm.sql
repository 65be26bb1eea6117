-- Asks enqueues to ring for this worker. $1 worker, $2 seconds
insert into postrider.doorbell (worker_id, armed_until) values ($1, now() + make_interval(secs => $2))
on conflict (worker_id) do update set armed_until = excluded.armed_until
