-- $1 limit
select address, code, reason, to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') created_at
  from postrider.suppressions
 order by suppressions.created_at desc, address
 limit $1
