-- Asks enqueues to ring for this worker no more. $1 worker
update postrider.doorbell set armed_until = '-infinity' where worker_id = $1
