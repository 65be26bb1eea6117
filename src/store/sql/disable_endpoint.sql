-- Disables an endpoint for a reason, or enables it. $1 name, $2 reason, or null to enable
update postrider.endpoints
   set disabled_reason = $2::text, disabled_at = case when $2::text is not null then now() end
 where name = $1
