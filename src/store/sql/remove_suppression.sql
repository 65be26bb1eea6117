-- $1 address
delete from postrider.suppressions where address = lower($1)
