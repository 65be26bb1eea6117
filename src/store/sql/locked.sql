-- Which of the messages $1 somebody else has locked, so that a commit would wait for them. Waits for none itself.
with free as materialized (
    select m.id from postrider.messages m where m.id = any ($1::uuid[]) for update skip locked)
select m.id from postrider.messages m where m.id = any ($1) and m.id <> all (array(select f.id from free f))
