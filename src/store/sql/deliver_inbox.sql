-- Ends messages that this transaction has locked as sent, and writes their inbox entries. Answers how many.
-- $1 where they lie, $2 ids, $3 recipients, $4 templates, $5 targets as PostgreSQL writes them, $6 titles, $7 contents,
-- $8 actions as JSON, $9 when they were enqueued
--
-- Nobody else can end a message that is locked here, so each of them has no entry yet.
with finished as (
    delete from postrider.messages m where m.ctid = any ($1::text[]::tid[]) returning m.*),
moved as (
    insert into postrider.history (id, notification_id, template_id, claim, created_at, finished_at, outcome, priority,
                                   attempt, max_attempts, method, recipient_id, endpoint, created_by, targets, payload)
    select id, notification_id, template_id, claim, created_at, statement_timestamp(), 'sent', priority,
           attempt + 1, max_attempts, method, recipient_id, endpoint, created_by, targets, payload
      from finished),
boxed as (
    insert into postrider.inbox (id, recipient_id, template_id, targets, title, content, actions, created_at)
    select b.id, b.recipient_id, b.template_id, b.targets::text[], b.title, b.content, b.actions::jsonb, b.created_at
      from unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
           b(id, recipient_id, template_id, targets, title, content, actions, created_at))
select count(*) from finished
