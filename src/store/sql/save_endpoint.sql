-- Saves an endpoint, unless it was changed after version $9 of it was read; 0: it must be new.
-- $1 name, $2 URL, $3 format, $4 template, $5 secrets, $6 headers, $7 fail fast, $8 most deliveries at a time
insert into postrider.endpoints (name, url, format, template, secrets, headers, fail_fast_4xx, max_concurrent)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (name) do update
   set url = excluded.url, format = excluded.format, template = excluded.template, secrets = excluded.secrets,
       headers = excluded.headers, fail_fast_4xx = excluded.fail_fast_4xx, max_concurrent = excluded.max_concurrent
 where endpoints.version = $9
