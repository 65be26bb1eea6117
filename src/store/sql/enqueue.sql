-- Enqueues notifications in the order given. $1 jsonb array of them
select r.result, r.notification_id, r.message_ids, r.message_methods
  from jsonb_array_elements($1) with ordinality n(doc, no),
       lateral postrider.enqueue_result(
            template     => n.doc->>'template',
            recipient    => n.doc->'recipient',
            labels       => n.doc->'labels',
            data         => nullif(n.doc->'data', 'null'),
            targets      => array(select jsonb_array_elements_text(n.doc->'targets')),
            created_by   => n.doc->>'created_by',
            methods      => array(select jsonb_array_elements_text(n.doc->'methods')),
            priority     => (n.doc->>'priority')::integer,
            schedule_at  => (n.doc->>'schedule_at')::timestamptz,
            expires_at   => (n.doc->>'expires_at')::timestamptz,
            dedupe_key   => n.doc->>'dedupe_key',
            endpoint     => n.doc->>'endpoint',
            max_attempts => (n.doc->>'max_attempts')::integer) r
 order by n.no
