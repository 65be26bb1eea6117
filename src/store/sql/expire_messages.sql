-- Ends waiting messages whose time is over, and yields a row for each. $1 how many at most
select from generate_series(1, postrider.expire_messages($1))
