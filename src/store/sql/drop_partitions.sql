-- Drops history past its retention. $1 and $2 seconds for sent and other messages
select postrider.drop_partitions(make_interval(secs => $1), make_interval(secs => $2))
