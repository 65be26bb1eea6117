-- Short payloads are known not to be deep: most are spared the walk through them at each enqueue.

-- A level takes 8 octets at least, and the values of labels and data are at level 1 of the document. What is
-- compressed may be longer than it looks.
create or replace trigger refuse_depth before insert on postrider.messages
    for each row when (case
        when pg_column_size(new.payload) < 66 * 8 and pg_column_compression(new.payload) is null then false
        else jsonb_path_exists(new.payload, '$.**{66}')
    end) execute function postrider.refuse_depth();
