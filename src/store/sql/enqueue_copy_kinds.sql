-- What notifications have in common, looked up and checked; each in its place. $1 the kinds, as for enqueue_batch
select k.template_id, k.tail, k.disabled, k.methods, k.mailed, k.endpoint, k.priority, k.max_attempts, k.faulty,
       now() as began
  from unnest(postrider.enqueue_kinds($1)) with ordinality k
 order by k.ordinality
