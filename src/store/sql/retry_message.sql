-- $1 id
with waiting as (
    update postrider.messages
       set due_at = now(), claim = 0, lease_until = null, claimed_by = null
     where id = $1 and (claim = 0 or lease_until < now())
    returning id),
again as (
    delete from postrider.history where id = $1 and outcome <> 'sent' returning *),
put as (
    insert into postrider.messages (id, notification_id, template_id, priority, max_attempts, method, recipient_id,
                                    endpoint, last_error, created_by, created_at, targets, payload)
    select id, notification_id, template_id, priority, max_attempts, method, recipient_id,
           endpoint, note, created_by, created_at, targets, payload
      from again
    returning id),
rung as (
    select pg_notify('postrider', '') from (select from waiting union all select from put) done)
select exists (select from waiting) or exists (select from put) done,
       exists (select from postrider.all_messages where id = $1) known,
       (select count(*) from rung)
