-- E-mail: addresses that are not written to any more, and what a template says about its mails.

-- The statement that records a refusal for good also writes it here; whoever acquires a message
-- to such an address ends it without a delivery.
create table postrider.suppressions (
    address    text        primary key check (address <> '' and address = lower(address)),
    code       text        not null,
    reason     text        not null,
    created_at timestamptz not null default now()
);

alter table postrider.templates
    add column from_address    text, -- Name <address>, or an address; null: smtp.from
    add column reply_to        text,
    add column unsubscribe_url text, -- handlebars that yield an https URL
    add column thread_key      text; -- handlebars; mails with the same key are one conversation
