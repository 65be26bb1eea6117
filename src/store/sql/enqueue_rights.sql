-- Whether the caller owns the tables, and so may do what the functions do; and when its transaction began. What the
-- functions make of a text in another encoding is not known outside of them
select bool_and(pg_has_role(c.relowner, 'usage') and not row_security_active(c.oid))
           and current_setting('server_encoding') = 'UTF8' as may,
       now() as began
  from pg_class c
 where c.oid in ('postrider.messages'::regclass, 'postrider.dedupe'::regclass)
