copy postrider.messages (id, notification_id, template_id, due_at, expires_at, priority, max_attempts, method, recipient_id,
                         endpoint, created_by, targets, payload) from stdin (format binary)
