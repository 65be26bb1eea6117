-- $1 name, or null for all
select id, name, version, title, body, actions, method, group_name, enabled_by_default, dedupe,
       from_address, reply_to, unsubscribe_url, thread_key
  from postrider.templates
 where $1::text is null or name = $1
 order by group_name nulls last, name
