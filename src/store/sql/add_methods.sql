-- $1 names
insert into postrider.methods (name) select unnest($1::text[])
on conflict do nothing
