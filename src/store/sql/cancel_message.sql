-- $1 id
with gone as (
    delete from postrider.messages where id = $1 and (claim = 0 or lease_until < now()) returning *),
moved as (
    insert into postrider.history (id, notification_id, template_id, claim, created_at, outcome, priority, attempt,
                                   max_attempts, method, recipient_id, endpoint, code, note, created_by, targets, payload)
    select id, notification_id, template_id, claim, created_at, 'cancelled', priority, attempt,
           max_attempts, method, recipient_id, endpoint, 'cancelled', 'cancelled by an operator', created_by,
           targets, payload
      from gone
    returning id)
select exists (select from moved) done,
       exists (select from postrider.all_messages where id = $1) known
