-- Enqueues one notification. The parameters are the arguments of the function, in its order
select r.result, r.notification_id, r.message_ids, r.message_methods
  from postrider.enqueue_result($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) r
