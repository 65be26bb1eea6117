-- Enqueues many. The parameters are the arguments of the function, in its order
select a.result, a.notification_id, a.message_ids, a.message_methods
  from postrider.enqueue_columns($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) a
