-- $1 name, $2 URL
insert into postrider.endpoints (name, url) values ($1, $2)
on conflict (name) do update set url = excluded.url
