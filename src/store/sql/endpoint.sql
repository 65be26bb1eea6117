-- One endpoint. $1 name
select name, version, url, format, template, secrets, headers, fail_fast_4xx, max_concurrent, disabled_reason,
       authorities, client_certificate, client_key
  from postrider.endpoints where name = $1
