-- Locks messages that this transaction is to deliver to the inbox, and tells what an acquire tells, and how to find
-- them again. $1 where they lie
--
-- Another message may lie there by now. If it is one that can go to the inbox at once, it is as good. The test of due_at is
-- written so that no index can serve it: on a table that was empty when it was planned, one would.
select m.ctid::text place, m.recipient_id, m.targets::text targets_text,
       m.id, m.claim, m.priority, m.due_at, m.notification_id, m.template_id,
       (select t.version from postrider.templates t where t.id = m.template_id) template_version,
       m.method, m.attempt + 1 attempt, m.max_attempts,
       exists (select from postrider.preferences p
                where p.recipient_id = m.recipient_id and p.template_id = m.template_id and p.disabled) disabled,
       false suppressed,
       date_part('epoch', m.expires_at) - date_part('epoch', now()) expires_in,
       date_part('epoch', now()) - date_part('epoch', m.due_at) waited,
       m.endpoint, null::integer endpoint_version,
       m.targets, m.created_at, m.payload
  from postrider.messages m
 where m.ctid = any ($1::text[]::tid[])
   and m.method = 'inbox' and m.claim = 0 and m.attempt = 0 and m.last_error is null and (m.due_at <= now()) is true
   for update of m skip locked
