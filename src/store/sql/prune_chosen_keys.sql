-- Forgets keys that applications chose and that are older than $1 seconds, among those that it looks at: $2 before a
-- point drawn by lot, and as many behind it. Keys are hashes, so their order says nothing of their age; an index that
-- does would be written to by each enqueue.
with point as materialized (select gen_random_uuid() key),
seen as (
    (select d.ctid, d.created_at from postrider.dedupe d
      where d.day = 'infinity' and d.key >= (select p.key from point p) order by d.key limit $2)
    union all
    (select d.ctid, d.created_at from postrider.dedupe d
      where d.day = 'infinity' and d.key < (select p.key from point p) order by d.key desc limit $2))
delete from postrider.dedupe
 where ctid = any (array(select ctid from seen where created_at < now() - make_interval(secs => $1)))
