-- What there is before a migration, and the first thing in the schema that belongs to a role without all the rights of
-- this one: a trigger, rule or function of that role would run with them. Reads the catalogue only.
with part(rank, what, owner) as (
    select 0, 'schema postrider', n.nspowner from pg_namespace n where n.nspname = 'postrider'
    union all
    select 1, 'relation ' || c.oid::regclass, c.relowner from pg_class c
     where c.relnamespace = to_regnamespace('postrider')
    union all
    select 2, 'function ' || p.oid::regprocedure, p.proowner from pg_proc p
     where p.pronamespace = to_regnamespace('postrider')
    union all
    select 3, 'type ' || format_type(t.oid, null), t.typowner from pg_type t
     where t.typnamespace = to_regnamespace('postrider'))
select current_user::text as "user",
       to_regnamespace('postrider') is not null as has_schema,
       exists (select from pg_class c
                where c.relnamespace = to_regnamespace('postrider') and c.relname = 'migrations') as has_notes,
       foreign_part.what, pg_get_userbyid(foreign_part.owner)::text as owner
  from (values (1)) one
  left join (select what, owner from part where not pg_has_role(owner, current_user, 'usage')
              order by rank, what limit 1) foreign_part on true
