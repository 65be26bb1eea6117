-- $1 status or null for all, $2 most
select m.id, m.notification_id, coalesce(t.name, m.template_id::text) template, m.method, m.status::text status,
       m.recipient_id, m.attempt, m.max_attempts, m.priority, m.code, m.reason,
       to_char(m.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') created_at,
       to_char(m.due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') due_at,
       to_char(m.finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') finished_at
  from (select * from postrider.all_messages
         where $1::text is null or status::text = $1
         order by id desc limit $2) m
  left join postrider.templates t on t.id = m.template_id
 order by m.id desc
