-- Payloads nest 64 levels at most: whoever reads them may do so by recursion.

create function postrider.refuse_depth() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'invalid payload: it nests deeper than 64 levels' using errcode = 'PR003', hint = 'Flatten the data.';
end
$$;

-- The values of labels and data are at level 1 of the document.
create trigger refuse_depth before insert on postrider.messages
    for each row when (jsonb_path_exists(new.payload, '$.**{66}')) execute function postrider.refuse_depth();
