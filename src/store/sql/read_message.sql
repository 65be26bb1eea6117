-- What an acquire may be unable to read. $1 id
select m.endpoint, m.code, m.last_error, m.targets, m.payload,
       case when m.method = 'smtp'
            then (select true from postrider.suppressions s where s.address = lower(m.payload->>'user_email')) end
  from postrider.messages m
 where m.id = $1
