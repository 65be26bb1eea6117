-- $1 recipient, or null for all
select p.recipient_id, t.name, p.disabled
  from postrider.preferences p join postrider.templates t on t.id = p.template_id
 where $1::text is null or p.recipient_id = $1
 order by p.recipient_id, t.name
