-- Records outcomes, each only where its lease is still the one in force.
-- $1 ids in order, each once, $2 claims, $3 outcomes by number (see below), $4 delays in seconds, $5 whether
-- the attempt counts, $6, $7 and $8 codes, notes and destinations, each once, $9, $10 and $11 which of them,
-- 0 for none, $12 seconds since the attempt began, $13 seconds since it ended, $14 versions of templates,
-- $15 worker, $16 inbox entries, an object by id, $17 ids of messages whose mail address was refused for good
--
-- Outcomes: 1 sent, 2 permanent_failure, 3 inhibited, 4 expired: the message is finished; 5 temporary_failure,
-- 6 released: it waits. Put off without an attempt it is held, since the first of such outcomes; given back
-- to go at once, at a stop, it is not.
--
-- No status predicate: the claim is the fence, and a partial index could tempt the planner.
-- No join with messages either: one planned when the table was empty walks over all of it later. So
-- width_bucket finds the place of an id among the others, by halving; and what is looked up by place is of
-- fixed width or short, since PostgreSQL walks to an element of any other array.
-- A repeat after a lost answer matches nothing, so it is harmless.
with finished as (
    delete from postrider.messages m
     where m.id = any (array(select r.id from unnest($1::uuid[], $3::smallint[]) r(id, outcome) where r.outcome <= 4))
       and m.claim = ($2::bigint[])[width_bucket(m.id, $1)]
    returning m.*, width_bucket(m.id, $1) no),
moved as (
    insert into postrider.history (id, notification_id, template_id, dedupe_key, claim, created_at, first_due_at,
                                   expires_at, outcome, priority, lapses, attempt, max_attempts, size,
                                   template_version, method, recipient_id, endpoint, destination, code, note,
                                   created_by, targets, payload)
    select id, notification_id, template_id, dedupe_key, claim, created_at, first_due_at, expires_at,
           (array['sent', 'permanent_failure', 'inhibited', 'expired']::postrider.status[])[($3)[no]], priority, lapses,
           attempt + ($5::boolean[])[no]::int, max_attempts, size, nullif(($14::int[])[no], 0), method, recipient_id, endpoint,
           coalesce(($8::text[])[($11::int[])[no]], destination),
           ($6::text[])[($9::int[])[no]], ($7::text[])[($10::int[])[no]], created_by, targets, payload
      from finished
    returning id, claim),
-- A receiver that says its endpoint is gone disables it, unless it was changed after the attempt began.
gone as (
    update postrider.endpoints e
       set disabled_at = now(), disabled_reason = coalesce(($7)[($10)[f.no]], 'gone')
      from finished f
     where $6 && array['http_410', 'endpoint_disable']
       and e.name = f.endpoint and f.method = 'webhook' and ($6)[($9)[f.no]] in ('http_410', 'endpoint_disable')
       and e.disabled_at is null and e.updated_at <= now() - make_interval(secs => ($12::float8[])[f.no])),
boxed as (
    insert into postrider.inbox (id, recipient_id, template_id, targets, title, content, actions, created_at)
    select id, recipient_id, template_id, targets, entry->>'title', entry->>'content', entry->'actions', created_at
      from finished, lateral (select $16::jsonb->id::text entry offset 0) of_message -- offset 0: looked up once
     where $16 <> '{}' and entry is not null
    on conflict (id) do nothing),
suppressed as (
    insert into postrider.suppressions (address, code, reason)
    select lower(payload->>'user_email'), ($6)[($9)[no]], coalesce(($7)[($10)[no]], '')
      from finished
     where cardinality($17::uuid[]) > 0 and id = any ($17) and payload->>'user_email' <> ''
    on conflict (address) do nothing),
cleared as (
    delete from postrider.suppressions
     where address = any (array(select lower(payload->>'user_email') from finished
                                 where ($3)[no] = 1 and method = 'smtp'
                                   -- This outcome was refused with its side effects.
                                   and ($6)[($9)[no]] is distinct from 'refused'))),
waiting as (
    update postrider.messages m
       set due_at = now() + make_interval(secs => ($4::float8[])[width_bucket(m.id, $1)]),
           claim = 0, claimed_by = null, lease_until = null,
           attempt = least(m.attempt + ($5)[width_bucket(m.id, $1)]::int, 1000000),
           held_since = case when ($5)[width_bucket(m.id, $1)] then null
                             when ($4)[width_bucket(m.id, $1)] > 0 then coalesce(m.held_since, now())
                             else m.held_since end,
           suspect = m.suspect and ($3)[width_bucket(m.id, $1)] = 6,
           destination = coalesce(($8)[($11)[width_bucket(m.id, $1)]], m.destination),
           code = coalesce(($6)[($9)[width_bucket(m.id, $1)]], m.code),
           last_error = coalesce(($7)[($10)[width_bucket(m.id, $1)]], m.last_error)
     where m.id = any (array(select r.id from unnest($1, $3) r(id, outcome) where 4 < r.outcome))
       and m.claim = ($2)[width_bucket(m.id, $1)]
    returning m.id, m.attempt, width_bucket(m.id, $1) no,
              -- As it was before this statement.
              (select o.last_error from postrider.messages o where o.id = m.id) last_error),
logged as (
    insert into postrider.attempts (message_id, claim, attempt, notifier, started_at, finished_at, outcome, code, detail)
    select id, ($2)[no], attempt, $15, now() - make_interval(secs => ($12::float8[])[no]),
           now() - make_interval(secs => ($13::float8[])[no]),
           (array['sent', 'permanent_failure', 'inhibited', 'expired', 'temporary_failure'])[($3)[no]],
           ($6)[($9)[no]], ($7)[($10)[no]]
      from (select id, attempt + 1 as attempt, no from finished
             where ($5)[no] and (($3)[no] <> 1 or attempt > 0)
             union all
            select id, attempt + (not ($5)[no])::int, no from waiting
             -- Our own trouble can last long, and is told once.
             where ($3)[no] = 5 and (($5)[no] or ($7)[($10)[no]] is distinct from last_error)) tried
    on conflict do nothing)
select id, claim from moved union all select id, ($2)[no] from waiting
