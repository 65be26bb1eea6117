-- What an acquire may be unable to read. $1 id
select m.endpoint, m.code, m.last_error, m.targets, m.payload, lower(m.payload->>'user_email')
  from postrider.messages m
 where m.id = $1
