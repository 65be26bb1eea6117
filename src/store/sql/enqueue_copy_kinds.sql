-- What notifications have in common, looked up and checked; each in its place. $1 the kinds, as for enqueue_batch
select k.template_id, k.tail, k.disabled, k.methods, k.mailed, k.endpoint, k.created_by, k.priority, k.max_attempts, k.faulty
  from unnest(postrider.enqueue_kinds($1)) with ordinality
           k(template, template_id, tail, disabled, methods, mailed, endpoint, endpoint_known, created_by, priority,
             max_attempts, faulty, form, outline, no)
 order by k.no
