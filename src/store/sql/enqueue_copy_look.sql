-- The time, and in a row each what those of the recipients $1 who said so want of the templates $2
select now() as now, (now() at time zone 'UTC')::date - date '2000-01-01' as today, t.ticks, p.recipient_id, p.template_id,
       p.disabled
  from postrider.clock_ticks() t(ticks)
  left join (unnest(case when exists (select from postrider.preferences) then $1 end) r(id)
             cross join lateral (select * from postrider.preferences p
                                  where p.recipient_id = r.id and p.template_id = any ($2)
                                 offset 0) p) on true -- which keeps it a look-up for each
