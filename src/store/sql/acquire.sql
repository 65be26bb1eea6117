-- Leases due messages.
-- $1 worker, $2 lease in seconds, $3 lanes in order, $4 and $5 the floor of each, $6 limit
--
-- any (array(select ...)) runs the select once, so never more than $6 rows are leased, and the
-- outer side is always a look-up by key. The floor skips the dead prefix of each lane.
update postrider.messages m
   set claim = (select nextval('postrider.claims')),
       claimed_by = $1,
       attempt = m.attempt + 1,
       lease_until = now() + make_interval(secs => $2)
 where m.id = any (array(
        select due.id
          from unnest($3::smallint[], $4::timestamptz[], $5::uuid[]) lane(priority, floor_at, floor_id),
               lateral (
                select q.id
                  from postrider.messages q
                 where q.priority = lane.priority
                   and q.due_at <= now()
                   and (q.claim = 0 or q.lease_until < now())
                   and (q.due_at, uuid_send(q.id)) > (lane.floor_at, uuid_send(lane.floor_id))
                 order by q.due_at, uuid_send(q.id)
                 limit $6
                   for no key update skip locked) due
         where (select s.value from postrider.settings s where s.name = 'paused') = 'false'
         limit $6))
returning m.id, m.claim, m.priority, m.due_at, m.notification_id, m.template_id,
          (select t.version from postrider.templates t where t.id = m.template_id) template_version,
          m.method, m.attempt, m.max_attempts,
          exists (select from postrider.preferences p
                   where p.recipient_id = m.recipient_id and p.template_id = m.template_id and p.disabled) disabled,
          case when m.method = 'smtp' -- a scalar select is always a look-up by key
               then coalesce((select true from postrider.suppressions s
                               where s.address = lower(m.payload->>'user_email')), false)
               else false end suppressed,
          date_part('epoch', m.expires_at) - date_part('epoch', now()) expires_in,
          date_part('epoch', now()) - date_part('epoch', m.due_at) waited,
          m.endpoint,
          case when m.endpoint is not null
               then (select e.version from postrider.endpoints e where e.name = m.endpoint) end endpoint_version,
          m.targets, m.created_at, m.payload
