-- $1 name
select id, name, version, title, body, actions, from_address, reply_to, unsubscribe_url, thread_key
  from postrider.templates
 where name = $1
