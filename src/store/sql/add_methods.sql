-- Methods that notifications may name. $1 names; those that are there are left alone
insert into postrider.methods (name)
select n.name from unnest($1) n(name)
 where not exists (select from postrider.methods m where m.name = n.name)
on conflict do nothing
