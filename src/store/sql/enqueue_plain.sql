-- Enqueues one notification, in which nothing is wrong, by one method. No row: the recipient does not want it, there is no
-- such template, or no such endpoint; no id: it is a duplicate. $1 template, $2 document up to the id of the template,
-- $3 recipient, $4 method, $5 endpoint, $6 dedupe key, $7 not before, $8 not after, $9 priority, $10 attempts,
-- $11 created by, $12 targets
with known as materialized (
    select t.id, coalesce($5, t.endpoint) as endpoint, $2 || '"' || t.id || '"}' as content
      from postrider.templates t
     where t.name = $1
       and not coalesce((select p.disabled from postrider.preferences p where p.recipient_id = $3 and p.template_id = t.id),
                        not t.enabled_by_default)
       and (coalesce($5, t.endpoint) is null or position('://' in coalesce($5, t.endpoint)) > 0
            or exists (select from postrider.endpoints e where e.name = coalesce($5, t.endpoint)))),
key as (
    insert into postrider.dedupe (day, key)
    select case when $6 is null then (now() at time zone 'UTC')::date else 'infinity' end,
           postrider.enqueue_key($6, k.id, $3, $4, k.content, k.endpoint)
      from known k
    on conflict do nothing
    returning key),
message as (
    insert into postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts,
                                    method, recipient_id, endpoint, created_by, targets, payload)
    select n.id, n.id, k.id, greatest($7, now()), $8, $9, $10, $4, $3,
           case when $4 = 'webhook' then k.endpoint end, $11, $12, k.content::jsonb
      from known k, key,
           (select postrider.clock_ticks() + 1 as ticks offset 0) t,
           lateral (select postrider.uuid_v7_at(t.ticks) as id offset 0) n
    returning id)
select m.id,
       case when m.id is not null and exists (select from postrider.doorbell d where d.armed_until > now())
            then pg_notify('postrider', '')::text end as rung
  from known k
  left join message m on true
