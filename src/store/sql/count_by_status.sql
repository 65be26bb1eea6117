-- Messages by status.
select status::text, count(*) from postrider.all_messages group by status order by status
