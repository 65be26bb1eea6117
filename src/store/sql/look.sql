-- How the queue stands, and renews the bell of a worker that has armed it. What is due by its time and
-- yet cannot be acquired is leased. $1 worker, $2 seconds, null to leave the bell alone, $3 and $4 methods
-- and priorities of the lanes, $5 and $6 the floor of each: what is due behind it is not seen
--
-- To look in the same statement is right only for a bell that goes on being armed: an enqueue that has not
-- seen it began before it was armed, and was looked for after that, or will be by the next look at all of
-- the queue. A bell that is about to fall silent could do so for an enqueue that does not see this
-- statement's work yet. A bell that stays armed for longer than half of $2 is left as it is.
with bell as (
    update postrider.doorbell set armed_until = now() + make_interval(secs => $2)
     where worker_id = $1 and $2::float8 is not null and now() + interval '2 s' < armed_until
       and armed_until < now() + make_interval(secs => $2 / 2)
    returning worker_id),
armed as (
    select exists (select from bell)
           or $2 is not null and exists (
               select from postrider.doorbell d
                where d.worker_id = $1 and now() + make_interval(secs => $2 / 2) <= d.armed_until) as renewed),
lane as (
    select * from unnest($3::text[], $4::smallint[], $5::timestamptz[], $6::uuid[])
                  lane(method, priority, floor_at, floor_id))
select coalesce((select s.value from postrider.settings s where s.name = 'paused') <> 'false', true) paused,
       postrider.bell_is_silent() silent,
       due, suspect, next_due,
       not due and exists (
        select from lane,
               lateral (select from postrider.messages q
                         where q.method = lane.method and q.priority = lane.priority and q.due_at <= now()
                           and (q.due_at, uuid_send(q.id)) > (lane.floor_at, uuid_send(lane.floor_id))
                         order by q.due_at limit 1) held) leased,
       (select a.renewed from armed a) renewed,
       (select a.renewed from armed a)
       and exists (select from postrider.messages q
                    where q.expires_at < now() and (q.claim = 0 or q.lease_until < now())) overdue
  from (select exists (
                select from lane,
                       lateral (select from postrider.messages q
                                 where q.method = lane.method and q.priority = lane.priority
                                   and q.due_at <= now() and not q.suspect
                                   and (q.claim = 0 or q.lease_until < now())
                                   and (q.due_at, uuid_send(q.id)) > (lane.floor_at, uuid_send(lane.floor_id))
                                 order by q.due_at limit 1) ready) due,
               exists (
                select from postrider.messages q
                 where q.suspect and (q.method = any ($3)) is true and q.due_at <= now()
                   and (q.claim = 0 or q.lease_until < now())) suspect,
               (select min(date_part('epoch', later.due_at) - date_part('epoch', now()))
                  from lane,
                       lateral (select q.due_at from postrider.messages q
                                 where q.method = lane.method and q.priority = lane.priority
                                   and q.due_at > now()
                                 order by q.due_at limit 1) later) next_due) stand
