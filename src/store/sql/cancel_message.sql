-- $1 id
with gone as (
    delete from postrider.messages where id = $1 and (claim = 0 or lease_until < now()) returning *),
moved as (
    insert into postrider.history (id, notification_id, template_id, dedupe_key, claim, created_at, first_due_at,
                                   expires_at, outcome, priority, lapses, attempt, max_attempts, size, method,
                                   recipient_id, endpoint, destination, code, note, created_by, targets, payload)
    select id, notification_id, template_id, dedupe_key, claim, created_at, first_due_at,
           expires_at, 'cancelled', priority, lapses, attempt, max_attempts, size, method,
           recipient_id, endpoint, destination, 'cancelled', 'cancelled by an operator', created_by, targets, payload
      from gone
    returning id)
select exists (select from moved) done,
       exists (select from postrider.all_messages where id = $1) known
