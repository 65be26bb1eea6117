-- Attempts, and the one without a row: a success at the first try. $1 id
select attempt, outcome, code, detail, started_at, finished_at
  from (select claim, attempt, outcome, code, detail,
               to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') started_at,
               to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') finished_at
          from postrider.attempts where message_id = $1
        union all
        select claim, attempt, outcome::text, code, note, null,
               to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
          from postrider.history h
         where h.id = $1 and h.outcome = 'sent'
           and not exists (select from postrider.attempts a where a.message_id = h.id and a.claim = h.claim)) a
 order by claim
