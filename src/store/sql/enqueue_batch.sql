-- Enqueues notifications in the order given. The parameters are the arguments of the function, in its order
select b.message_ids, b.message_nos, b.message_methods, b.duplicates
  from postrider.enqueue_batch($1, $2, $3, $4, $5, $6, $7, $8) b
