-- All endpoints
select name, version, url, format, template, secrets, headers, fail_fast_4xx, max_concurrent, disabled_reason
  from postrider.endpoints order by name
