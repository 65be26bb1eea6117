copy postrider.dedupe (day, key) from stdin (format binary)
