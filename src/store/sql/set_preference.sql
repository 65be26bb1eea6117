-- $1 recipient, $2 name of the template, $3 whether it is off
insert into postrider.preferences (recipient_id, template, disabled)
select $1, name, $3 from postrider.templates where name = $2
on conflict (recipient_id, template) do update set disabled = excluded.disabled, updated_at = now()
