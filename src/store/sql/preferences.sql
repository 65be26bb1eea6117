-- $1 recipient, or null for all
select recipient_id, template, disabled
  from postrider.preferences
 where $1::text is null or recipient_id = $1
 order by recipient_id, template
