-- Forgets old attempts. $1 seconds to keep, $2 most rows
delete from postrider.attempts
 where ctid = any (array(select ctid from postrider.attempts
                          where finished_at < now() - make_interval(secs => $1) limit $2))
