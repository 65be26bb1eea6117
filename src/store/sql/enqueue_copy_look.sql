-- The time, and in a row each what those of the recipients $1 who said so want of the template beside them in $2.
--
-- The inserts of nothing are refused where the COPYs that follow would be (a read-only transaction, a lock that is not to be
-- had in time): the client loses count of the server's answers when a COPY is refused at its start (rust-postgres issue 789)
with keys as (insert into postrider.dedupe (day, key) select null, null where false),
     messages as (insert into postrider.messages (id) select null where false)
select now() as now, (now() at time zone 'UTC')::date - date '2000-01-01' as today, t.ticks, p.recipient_id, p.template_id,
       p.disabled
  from postrider.clock_ticks() t(ticks)
  left join (unnest(case when exists (select from postrider.preferences) then $1 end, $2) r(recipient_id, template_id)
             cross join lateral (select * from postrider.preferences p
                                  where p.recipient_id = r.recipient_id and p.template_id = r.template_id
                                 offset 0) p -- which keeps it a look-up for each
            ) on true
