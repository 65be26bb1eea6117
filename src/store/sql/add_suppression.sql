-- $1 address, $2 code, $3 reason
insert into postrider.suppressions (address, code, reason) values (lower($1), $2, $3)
on conflict (address) do nothing
