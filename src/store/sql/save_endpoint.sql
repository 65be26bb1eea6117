-- Saves an endpoint, unless it was changed after version $12 of it was read; 0: it must be new.
-- $1 name, $2 URL, $3 format, $4 template, $5 secrets, $6 headers, $7 fail fast, $8 most deliveries at a time,
-- $9 authorities, $10 client certificate, $11 its key
insert into postrider.endpoints (name, url, format, template, secrets, headers, fail_fast_4xx, max_concurrent,
                                 authorities, client_certificate, client_key)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (name) do update
   set url = excluded.url, format = excluded.format, template = excluded.template, secrets = excluded.secrets,
       headers = excluded.headers, fail_fast_4xx = excluded.fail_fast_4xx, max_concurrent = excluded.max_concurrent,
       authorities = excluded.authorities, client_certificate = excluded.client_certificate,
       client_key = excluded.client_key
 where endpoints.version = $12
