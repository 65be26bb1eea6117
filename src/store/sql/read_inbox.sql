-- $1 recipient, $2 ids, empty for all
update postrider.inbox set read_at = now()
 where recipient_id = $1 and read_at is null and (cardinality($2::uuid[]) = 0 or id = any ($2))
