-- Saves a template under its name; the same content again raises no version.
-- $1 id or null, $2 name, $3 title, $4 body, $5 actions, $6 method, $7 endpoint, $8 group, $9 enabled by default,
-- $10 From, $11 Reply-To, $12 URL to unsubscribe, $13 key of the conversation, $14 which are duplicates
insert into postrider.templates (id, name, title, body, actions, method, endpoint, group_name, enabled_by_default,
                                 from_address, reply_to, unsubscribe_url, thread_key, dedupe)
values (coalesce($1::uuid, gen_random_uuid()), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
on conflict (name) do update
   set title = excluded.title, body = excluded.body, actions = excluded.actions, method = excluded.method,
       endpoint = excluded.endpoint, group_name = excluded.group_name,
       enabled_by_default = excluded.enabled_by_default, from_address = excluded.from_address,
       reply_to = excluded.reply_to, unsubscribe_url = excluded.unsubscribe_url, thread_key = excluded.thread_key,
       dedupe = excluded.dedupe
 where (templates.title, templates.body, templates.actions, templates.method, templates.endpoint,
        templates.group_name, templates.enabled_by_default, templates.from_address, templates.reply_to,
        templates.unsubscribe_url, templates.thread_key, templates.dedupe)
    is distinct from
       (excluded.title, excluded.body, excluded.actions, excluded.method, excluded.endpoint,
        excluded.group_name, excluded.enabled_by_default, excluded.from_address, excluded.reply_to,
        excluded.unsubscribe_url, excluded.thread_key, excluded.dedupe)
