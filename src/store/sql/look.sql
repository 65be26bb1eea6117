-- How the queue stands. What is due by its time and yet cannot be acquired is leased.
select coalesce((select s.value from postrider.settings s where s.name = 'paused') <> 'false', true) paused,
       due, next_due,
       not due and exists (
        select from generate_series(0, 3) lane,
               lateral (select from postrider.messages q
                         where q.priority = lane and q.due_at <= now()
                         order by q.due_at limit 1) held) leased
  from (select exists (
                select from generate_series(0, 3) lane,
                       lateral (select from postrider.messages q
                                 where q.priority = lane and q.due_at <= now()
                                   and (q.claim = 0 or q.lease_until < now())
                                 order by q.due_at limit 1) ready) due,
               (select min(date_part('epoch', later.due_at) - date_part('epoch', now()))
                  from generate_series(0, 3) lane,
                       lateral (select q.due_at from postrider.messages q
                                 where q.priority = lane and q.due_at > now()
                                 order by q.due_at limit 1) later) next_due) stand
