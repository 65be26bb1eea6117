-- What there is to know of a webhook endpoint, beside its URL.

alter table postrider.endpoints
    add column format          text        not null default 'standard'
        check (format in ('standard', 'cloudevents', 'slack', 'teams', 'discord', 'template')),
    add column template        text,                          -- handlebars that yield JSON
    -- [{"key": text, "expires_at": Unix seconds or null}], the current one first; keys may be sealed.
    add column secrets         jsonb       not null default '[]',
    add column headers         jsonb       not null default '{}', -- name to value; values may be sealed
    add column fail_fast_4xx   boolean     not null default false,
    add column max_concurrent  integer     check (max_concurrent > 0), -- null: as the worker is configured
    add column disabled_at     timestamptz,
    add column disabled_reason text,
    add column version         integer     not null default 1,
    add column updated_at      timestamptz not null default now(),
    add check ((format = 'template') = (template is not null)),
    add check (jsonb_typeof(secrets) = 'array' and jsonb_array_length(secrets) <= 10),
    add check (jsonb_typeof(headers) = 'object'),
    add check ((disabled_at is null) = (disabled_reason is null));

-- Workers keep endpoints by (name, version), as they keep templates, so plain SQL must raise it too.
-- A name that is given to another endpoint after a deletion starts at a version of its own.
create sequence postrider.endpoint_versions as integer start 2 cycle;

create function postrider.raise_endpoint_version() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    new.version := nextval('postrider.endpoint_versions');
    new.updated_at := now();
    return new;
end
$$;

create trigger raise_version before insert or update on postrider.endpoints
    for each row execute function postrider.raise_endpoint_version();
