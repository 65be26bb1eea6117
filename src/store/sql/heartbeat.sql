-- Shows that a worker lives, and forgets those that have not for a day. $1 id, $2 host, $3 pid, $4 version
with gone as (delete from postrider.workers where heartbeat_at < now() - interval '1 day')
insert into postrider.workers (id, host, pid, version) values ($1, $2, $3, $4)
on conflict (id) do update set heartbeat_at = now()
