-- Where the messages lie that an acquire would lease next, and whether they can go to the inbox at once (direct): they
-- are for it, were not tried before, and are small, for many are held in memory at a time. Locks nothing.
-- $1 lanes in order, $2 and $3 the floor of each, $4 limit, $5 how many of each lane to leave to others
select due.priority, due.due_at, due.id, due.place, due.direct
  from unnest($1::smallint[], $2::timestamptz[], $3::uuid[]) lane(priority, floor_at, floor_id),
       lateral (
        select q.priority, q.due_at, q.id, q.ctid::text place,
               q.method = 'inbox' and q.claim = 0 and q.attempt = 0 and q.last_error is null
               and pg_column_size(q.payload) <= 8192 and pg_column_compression(q.payload) is null direct
          from postrider.messages q
         where q.priority = lane.priority
           and q.due_at <= now()
           and (q.claim = 0 or q.lease_until < now())
           and (q.due_at, uuid_send(q.id)) > (lane.floor_at, uuid_send(lane.floor_id))
         order by q.due_at, uuid_send(q.id)
         limit $4 offset $5) due
 where (select s.value from postrider.settings s where s.name = 'paused') = 'false'
 limit $4
