//! The arguments of an enqueue.

/// Their names and types, and how one is written in a column of `enqueue_columns`.
pub(crate) const ARGUMENTS: [(&str, &str, &str); 13] = [
    ("template", "text", "text"),
    ("recipient", "jsonb", "jsonb"),
    ("labels", "jsonb", "jsonb"),
    ("data", "jsonb", "jsonb"),
    ("targets", "text[]", "jsonb"),
    ("created_by", "text", "text"),
    ("methods", "text[]", "jsonb"),
    ("priority", "integer", "integer"),
    ("schedule_at", "timestamptz", "timestamptz"),
    ("expires_at", "timestamptz", "timestamptz"),
    ("dedupe_key", "text", "text"),
    ("endpoint", "text", "text"),
    ("max_attempts", "integer", "integer"),
];
