-- Forgets keys of past days. $1 most rows
delete from postrider.dedupe
 where ctid = any (array(select ctid from postrider.dedupe where day < (now() at time zone 'UTC')::date - 1 limit $1))
