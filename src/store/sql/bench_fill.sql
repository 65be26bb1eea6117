-- Messages as an application would enqueue them, all due. $1 how many, $2 name of the template, $3 method
insert into postrider.messages (id, notification_id, template_id, method, recipient_id, targets, payload, size)
select postrider.uuid_v7(), gen_random_uuid(), t.id, $3, 'r' || g, '{}', d.doc, octet_length(d.doc::text)
  from generate_series(1, $1::bigint) g, postrider.templates t,
       lateral (select jsonb_build_object(
           '_version', '1.2', 'notification_name', t.name, 'notification_template_id', t.id,
           'user_id', 'r' || g, 'user_email', 'ada@example.com', 'user_name', 'Ada Lovelace',
           'user_username', 'ada', 'actions', '[]'::jsonb,
           'labels', jsonb_build_object('name', 'analytical-engine', 'reason', 'autodeleted due to dormancy',
                                        'initiator', 'autobuild', 'no', g::text),
           'data', null, 'targets', '[]'::jsonb) as doc offset 0) d
 where t.name = $2
