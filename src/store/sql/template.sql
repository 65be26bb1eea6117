-- One template. $1 id
select id, name, version, title, body, actions from postrider.templates where id = $1
