-- Whether the roles were made for this schema; they are those of all databases of the server.
select exists (
    select from pg_namespace n, aclexplode(n.nspacl) granted
      join pg_roles r on r.oid = granted.grantee
     where n.nspname = 'postrider' and r.rolname = 'postrider_enqueue') granted
