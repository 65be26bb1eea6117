-- Whether the caller may do what the functions do, as the owner of the tables may
select has_table_privilege('postrider.messages', 'insert')
       and has_table_privilege('postrider.dedupe', 'insert')
       and has_table_privilege('postrider.templates', 'select')
       and has_table_privilege('postrider.preferences', 'select')
       and has_table_privilege('postrider.endpoints', 'select')
       and has_table_privilege('postrider.doorbell', 'select')
       and has_function_privilege('postrider.enqueue_kinds(jsonb)', 'execute')
       and has_function_privilege('postrider.clock_ticks()', 'execute')
       and not row_security_active('postrider.messages') as may
