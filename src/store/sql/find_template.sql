-- $1 name
select id, name, version, title, body, actions from postrider.templates where name = $1
