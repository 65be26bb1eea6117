-- Records outcomes, each only where its lease is still the one in force.
-- $1 ids, $2 claims, $3 outcomes, $4 delays in seconds, $5 whether the attempt counts, $6 codes, $7 notes,
-- $8 seconds since the attempt began, $9 seconds since it ended, $10 worker,
-- $11 to $14 inbox entries: ids, titles, contents, actions,
-- $15 ids of messages whose mail address was refused for good
--
-- No status predicate: the claim is the fence, and a partial index could tempt the planner.
-- A repeat after a lost answer matches nothing, so it is harmless.
with r as materialized (
    select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::float8[], $5::boolean[], $6::text[], $7::text[],
                         $8::float8[], $9::float8[])
                  r(id, claim, outcome, delay, counted, code, note, began_ago, ended_ago)),
finished as (
    delete from postrider.messages m using r
     where m.id = r.id and m.claim = r.claim
       and r.outcome in ('sent', 'permanent_failure', 'inhibited', 'expired')
    returning m.*, r.outcome, r.counted, r.code, r.note, r.began_ago, r.ended_ago),
moved as (
    insert into postrider.history (id, notification_id, template_id, claim, created_at, outcome, priority, attempt,
                                   max_attempts, method, recipient_id, endpoint, code, note, created_by, targets, payload)
    select id, notification_id, template_id, claim, created_at, outcome::postrider.status, priority,
           attempt - (not counted)::int, max_attempts, method, recipient_id, endpoint, code, note, created_by,
           targets, payload
      from finished
    returning id),
boxed as (
    insert into postrider.inbox (id, recipient_id, template_id, targets, title, content, actions, created_at)
    select f.id, f.recipient_id, f.template_id, f.targets, e.title, e.content, e.actions::jsonb, f.created_at
      from unnest($11::uuid[], $12::text[], $13::text[], $14::text[]) e(id, title, content, actions)
      join finished f using (id)
    on conflict (id) do nothing),
suppressed as (
    insert into postrider.suppressions (address, code, reason)
    select distinct on (1) lower(f.payload->>'user_email'), f.code, coalesce(f.note, '')
      from unnest($15::uuid[]) refused(id) join finished f using (id)
     where f.payload->>'user_email' <> ''
     order by 1 -- as everybody does, so that two batches do not wait for each other
    on conflict (address) do nothing),
cleared as (
    delete from postrider.suppressions
     where address = any (array(select lower(f.payload->>'user_email') from finished f
                                 where f.outcome = 'sent' and f.method = 'smtp'))),
waiting as (
    update postrider.messages m
       set due_at = now() + make_interval(secs => r.delay),
           claim = 0, claimed_by = null, lease_until = null,
           attempt = m.attempt - (not r.counted)::int,
           last_error = coalesce(r.note, m.last_error)
      from r
     where m.id = r.id and m.claim = r.claim and r.outcome in ('temporary_failure', 'released')
    returning m.id, r.claim, m.attempt + (not r.counted)::int attempt, r.outcome, r.code, r.note, r.began_ago, r.ended_ago),
logged as (
    insert into postrider.attempts (message_id, claim, attempt, notifier, started_at, finished_at, outcome, code, detail)
    select id, claim, attempt, $10, now() - make_interval(secs => began_ago), now() - make_interval(secs => ended_ago),
           outcome, code, note
      from (select id, claim, attempt, outcome, code, note, began_ago, ended_ago from finished
             where counted and (outcome <> 'sent' or attempt > 1)
             union all
            select * from waiting where outcome = 'temporary_failure') tried
    on conflict do nothing)
select id from moved union all select id from waiting
