-- Asks enqueues to ring for this worker no more; whoever is busy lives. $1 worker
with alive as (update postrider.workers set heartbeat_at = now() where id = $1)
update postrider.doorbell set armed_until = '-infinity' where worker_id = $1
