-- $1 recipient, $2 unread only, $3 most
select id, recipient_id, title, content, actions, targets,
       to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') created_at,
       to_char(read_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') read_at
  from postrider.inbox i
 where i.recipient_id = $1 and (not $2 or i.read_at is null)
 order by i.created_at desc, i.id desc
 limit $3
