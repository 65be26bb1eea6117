-- Forgets keys of past days, and keys that applications chose after $1 seconds. $2 most rows
delete from postrider.dedupe
 where ctid = any (array(select ctid from postrider.dedupe
                          where day < (now() at time zone 'UTC')::date - 1
                             or (day = 'infinity' and created_at < now() - make_interval(secs => $1))
                          limit $2))
