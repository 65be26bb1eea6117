-- Enqueues notifications in the order given. $1 jsonb array of them, $2 number of the first, for errors
select r.result, r.notification_id, r.message_ids, r.message_methods
  from postrider.enqueue_many($1, $2) r
