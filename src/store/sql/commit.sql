-- Records outcomes, each only where its lease is still the one in force.
-- $1 ids in order, each once, $2 claims, $3 outcomes, $4 delays in seconds, $5 whether the attempt counts, $6 codes, $7 notes,
-- $8 seconds since the attempt began, $9 seconds since it ended, $10 worker,
-- $11 to $14 inbox entries: ids, titles, contents, actions,
-- $15 ids of messages whose mail address was refused for good
--
-- A receiver that says its endpoint is gone disables it, unless it was changed after the attempt began.
-- No status predicate: the claim is the fence, and a partial index could tempt the planner.
-- No join with messages either: one planned when the table was empty walks over all of it later. So
-- width_bucket finds the place of an id among the others, by halving.
-- A repeat after a lost answer matches nothing, so it is harmless.
with finished as (
    delete from postrider.messages m
     where m.id = any (array(select r.id from unnest($1::uuid[], $3::text[]) r(id, outcome)
                              where r.outcome in ('sent', 'permanent_failure', 'inhibited', 'expired')))
       and m.claim = ($2::bigint[])[width_bucket(m.id, $1)]
    returning m.*, width_bucket(m.id, $1) no),
moved as (
    insert into postrider.history (id, notification_id, template_id, claim, created_at, outcome, priority, attempt,
                                   max_attempts, method, recipient_id, endpoint, code, note, created_by, targets, payload)
    select id, notification_id, template_id, claim, created_at, ($3)[no]::postrider.status, priority,
           attempt - (not ($5::boolean[])[no])::int, max_attempts, method, recipient_id, endpoint,
           ($6::text[])[no], ($7::text[])[no], created_by, targets, payload
      from finished
    returning id, claim),
gone as (
    update postrider.endpoints e
       set disabled_at = now(), disabled_reason = coalesce(($7)[f.no], 'gone')
      from finished f
     where e.name = f.endpoint and f.method = 'webhook' and ($6)[f.no] in ('http_410', 'endpoint_disable')
       and e.disabled_at is null and e.updated_at <= now() - make_interval(secs => ($8::float8[])[f.no])),
boxed as (
    insert into postrider.inbox (id, recipient_id, template_id, targets, title, content, actions, created_at)
    select id, recipient_id, template_id, targets, ($12::text[])[place], ($13::text[])[place],
           (($14::text[])[place])::jsonb, created_at
      from (select *, width_bucket(id, $11::uuid[]) place from finished) f
     where id = ($11)[place]
    on conflict (id) do nothing),
suppressed as (
    insert into postrider.suppressions (address, code, reason)
    select lower(payload->>'user_email'), ($6)[no], coalesce(($7)[no], '')
      from finished
     where id = any ($15::uuid[]) and payload->>'user_email' <> ''
    on conflict (address) do nothing),
cleared as (
    delete from postrider.suppressions
     where address = any (array(select lower(payload->>'user_email') from finished
                                 where ($3)[no] = 'sent' and method = 'smtp'))),
waiting as (
    update postrider.messages m
       set due_at = now() + make_interval(secs => ($4::float8[])[width_bucket(m.id, $1)]),
           claim = 0, claimed_by = null, lease_until = null,
           attempt = m.attempt - (not ($5)[width_bucket(m.id, $1)])::int,
           last_error = coalesce(($7)[width_bucket(m.id, $1)], m.last_error)
     where m.id = any (array(select r.id from unnest($1, $3) r(id, outcome)
                              where r.outcome in ('temporary_failure', 'released')))
       and m.claim = ($2)[width_bucket(m.id, $1)]
    returning m.id, m.attempt, width_bucket(m.id, $1) no,
              -- As it was before this statement.
              (select o.last_error from postrider.messages o where o.id = m.id) last_error),
logged as (
    insert into postrider.attempts (message_id, claim, attempt, notifier, started_at, finished_at, outcome, code, detail)
    select id, ($2)[no], attempt, $10, now() - make_interval(secs => ($8::float8[])[no]),
           now() - make_interval(secs => ($9::float8[])[no]), ($3)[no], ($6)[no], ($7)[no]
      from (select id, attempt, no from finished
             where ($5)[no] and (($3)[no] <> 'sent' or attempt > 1)
             union all
            select id, attempt + (not ($5)[no])::int, no from waiting
             -- Our own trouble can last long, and is told once.
             where ($3)[no] = 'temporary_failure' and (($5)[no] or ($7)[no] is distinct from last_error)) tried
    on conflict do nothing)
select id, claim from moved union all select id, ($2)[no] from waiting
