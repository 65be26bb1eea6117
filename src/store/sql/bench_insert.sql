-- The row that an enqueue writes, without its checks and its key. $1 id, $2 id of the notification,
-- $3 id of the template, $4 method, $5 recipient, $6 payload
insert into postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts,
                                method, recipient_id, endpoint, created_by, targets, payload)
values ($1, $2, $3, now(), null, 0, null, $4, $5, null, '', '{}', $6)
