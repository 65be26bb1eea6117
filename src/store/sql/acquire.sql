-- Leases due messages: healthy ones, or one suspect.
-- $1 worker, $2 lease in seconds, $3 and $4 methods and priorities of the lanes, in the order to read
-- them, $5 and $6 the floor of each, $7 most messages, $8 bytes of payload to stop at, $9 a suspect,
-- $10 without what may be unreadable
--
-- any (array(select ...)) runs the select once, so never more than $7 rows are leased, and the outer
-- side is always a look-up by key. The floor skips the dead prefix of each lane.
--
-- A message whose lease ran out is given back here as suspect. A suspect's delivery begins with its
-- lease, so the claim is noted as started; if that lease runs out, too, it counts as a lapse.
with next as materialized (select nextval('postrider.claims') as claim)
update postrider.messages m
   set claim = case when m.claim = 0 or m.suspect then (select n.claim from next n) else 0 end,
       started = case when m.suspect then (select n.claim from next n) else m.started end,
       claimed_by = case when m.claim = 0 or m.suspect then $1::uuid end,
       lease_until = case when m.claim = 0 or m.suspect then now() + make_interval(secs => $2) end,
       lapses = least(m.lapses + (m.suspect and m.claim <> 0 and m.started = m.claim)::int, 1000),
       suspect = m.suspect or m.claim <> 0
 where m.id = any (case when $9::boolean then array(
        select q.id
          from postrider.messages q
         where q.suspect
           and (q.method = any ($3::text[])) is true -- not by the index of lanes
           and q.due_at <= now()
           and (q.claim = 0 or q.lease_until < now())
           and (select s.value from postrider.settings s where s.name = 'paused') = 'false'
         order by q.priority, q.due_at
         limit 1
           for no key update skip locked)
   else array(
        select fit.id
          from (select due.id, due.size, sum(due.size) over (rows unbounded preceding) as bytes
                  from unnest($3, $4::smallint[], $5::timestamptz[], $6::uuid[])
                       lane(method, priority, floor_at, floor_id),
                       lateral (
                        select q.id, q.size
                          from postrider.messages q
                         where q.method = lane.method
                           and q.priority = lane.priority
                           and q.due_at <= now()
                           and (q.due_at, uuid_send(q.id)) > (lane.floor_at, uuid_send(lane.floor_id))
                           and not q.suspect
                           and (q.claim = 0 or q.lease_until < now())
                         order by q.due_at, uuid_send(q.id)
                         limit $7
                           for no key update skip locked) due
                 where (select s.value from postrider.settings s where s.name = 'paused') = 'false'
                 limit $7) fit
         where fit.bytes - fit.size < $8::bigint)
   end)
returning m.id, m.claim, m.priority, m.due_at, m.method, m.attempt, m.max_attempts, m.lapses, m.suspect,
          m.size, m.notification_id, m.template_id,
          (select t.version from postrider.templates t where t.id = m.template_id) template_version,
          coalesce((select p.disabled from postrider.preferences p
                     where p.recipient_id = m.recipient_id
                       and p.template = (select t.name from postrider.templates t where t.id = m.template_id)),
                   false) disabled,
          case when m.method = 'smtp' and not $10::boolean -- a scalar select is always a look-up by key
               then coalesce((select true from postrider.suppressions s
                               where s.address = lower(m.payload->>'user_email')), false)
               else false end suppressed,
          date_part('epoch', m.expires_at) - date_part('epoch', now()) expires_in,
          date_part('epoch', now()) - date_part('epoch', m.due_at) waited,
          date_part('epoch', now()) - date_part('epoch', m.held_since) held_for,
          case when m.endpoint is not null
               then (select e.version from postrider.endpoints e where e.name = m.endpoint) end endpoint_version,
          m.created_at, $10 bare,
          case when not $10 then m.endpoint end endpoint,
          case when not $10 then m.code end code,
          case when not $10 then m.last_error end last_error,
          case when not $10 then m.targets end targets,
          case when not $10 then m.payload end payload
