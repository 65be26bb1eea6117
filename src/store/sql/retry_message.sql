-- $1 id
with waiting as (
    update postrider.messages
       set due_at = now(), claim = 0, lease_until = null, claimed_by = null, held_since = null, lapses = 0
     where id = $1 and (claim = 0 or lease_until < now())
    returning id),
again as (
    delete from postrider.history where id = $1 and outcome <> 'sent' returning *),
put as (
    insert into postrider.messages (id, notification_id, template_id, size, priority, max_attempts, method,
                                    recipient_id, endpoint, code, last_error, created_by, created_at, first_due_at,
                                    targets, payload)
    select id, notification_id, template_id, size, priority, max_attempts, method,
           recipient_id, endpoint, code, note, created_by, created_at, first_due_at, targets, payload
      from again
    returning id),
rung as (
    select postrider.ring() from (select from waiting union all select from put) done)
select exists (select from waiting) or exists (select from put) done,
       exists (select from postrider.all_messages where id = $1) known,
       (select count(*) from rung)
