-- Forgets keys past their time. $1 most rows
delete from postrider.dedupe
 where ctid = any (array(select ctid from postrider.dedupe where expires_at < now() limit $1))
