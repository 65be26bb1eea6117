//! Hostile enqueues: calls with arguments of every size and shape, from a seed.

use fastrand::Rng;
use postgres::Client;

use self::arguments::ARGUMENTS;
use crate::template;
use crate::value::{json, list, odd, pick, quote, size, text, time};

#[path = "../shared/arguments.rs"]
mod arguments;

/// Hostile messages have a template of one of these names, and no others have.
pub(crate) const PREFIX: &str = "hostile";
pub(crate) const TEMPLATES: u32 = 8;

/// A statement that enqueues, and one that only reads its arguments.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) sql: String,
    pub(crate) read: String,
}

/// Draws calls.
pub(crate) struct Generator {
    pub(crate) rng: Rng,
    urls: Vec<String>,
}

/// Makes what the calls refer to: templates, endpoints, and values that a table stores compressed.
pub(crate) fn prepare(admin: &mut Client, rng: &mut Rng, urls: &[String]) {
    admin
        .batch_execute(
            "create table public.kept as select '{\"id\": \"ada\"}'::jsonb
                 || jsonb_build_object('text', repeat('x', 50000000)) as doc,
                 array_fill(repeat('x', 500000), array[90]) as list, repeat('x', 50000000) as text;
             grant select on public.kept to public",
        )
        .unwrap();
    for no in 0..TEMPLATES {
        let name = format!("{PREFIX}-{no}");
        let sql = "insert into postrider.templates (name, title, body)
                   values ($1, 'Hello', 'Hello {{user_name}} {{labels}} {{data}}')";
        admin.execute(sql, &[&name]).unwrap();
    }
    for _ in 0..TEMPLATES {
        // One that the table refuses is not missed.
        let _ = template::save(admin, rng);
        let _ = template::save_endpoint(admin, rng, urls);
    }
}

impl Generator {
    pub(crate) fn new(seed: u64, urls: Vec<String>) -> Self {
        Self { rng: Rng::with_seed(seed), urls }
    }

    /// The next one.
    pub(crate) fn call(&mut self) -> Call {
        let mut arguments: Vec<Option<String>> =
            ARGUMENTS.iter().map(|(name, ..)| self.usual(name)).collect();
        for _ in 0..self.rng.u32(1..3) {
            let at = self.rng.usize(..ARGUMENTS.len());
            let of = if self.rng.u8(..3) == 0 { Self::hostile } else { Self::limit };
            arguments[at] = Some(of(self, ARGUMENTS[at].0));
        }
        match self.rng.u8(..9) {
            0..=3 => one(&arguments, pick(&mut self.rng, &["enqueue", "enqueue_result"])),
            4 | 5 => columns(&arguments, self.rng.usize(1..4)),
            6 | 7 => many(&arguments, self.rng.usize(1..4)),
            _ => self.raw(),
        }
    }

    /// What is taken, mostly.
    fn usual(&mut self, name: &str) -> Option<String> {
        match name {
            "template" => Some(quote(&format!("{PREFIX}-{}", self.rng.u32(..TEMPLATES)))),
            "recipient" => {
                let id = self.rng.u32(..);
                Some(format!("'{{\"id\": \"h{id}\", \"email\": \"h{id}@example.org\"}}'"))
            }
            "methods" => {
                let method = pick(&mut self.rng, &["inbox", "smtp", "webhook", "inbox,smtp"]);
                Some(format!("'{{{method}}}'"))
            }
            "endpoint" => Some(quote(&self.rng.choice(&self.urls).unwrap().clone())),
            "data" => Some("(select jsonb_agg(g) from generate_series(1, 50) g)".into()),
            "schedule_at" if self.rng.bool() => {
                Some(format!("now() + '{} ms'", self.rng.u32(..10_000)))
            }
            _ => None,
        }
    }

    /// What is taken still, or just not any more.
    fn limit(&mut self, name: &str) -> String {
        let rng = &mut self.rng;
        match name {
            "recipient" => {
                let field = pick(rng, &["id", "email", "name", "username", "more"]);
                let value = match rng.u8(..3) {
                    0 => format!("repeat('x', {})", size(rng).min(66_000)),
                    1 => quote(&odd(rng)),
                    _ => quote(&address(rng)),
                };
                format!(
                    "'{{\"id\": \"h\", \"email\": \"h@example.org\"}}'::jsonb
                     || jsonb_build_object('{field}', {value})"
                )
            }
            "labels" => format!("jsonb_build_object({}, {})", quote(&odd(rng)), json(rng)),
            "data" => json(rng),
            "targets" => format!("array_fill({}::text, array[64])", quote(&odd(rng))),
            "created_by" | "dedupe_key" => format!("repeat('x', {})", rng.u32(250..260)),
            "methods" => {
                pick(rng, &["'{}'", "null", "'{inbox,smtp,webhook}'", "'{nobody}'"]).into()
            }
            "priority" => rng.i32(0..4).to_string(),
            "schedule_at" | "expires_at" => format!("now() + '{} ms'", rng.i32(-3_000..3_000)),
            "endpoint" => quote(&endpoint(rng, &self.urls)),
            "max_attempts" => pick(rng, &["1", "2", "999", "1000"]).into(),
            _ => self.usual("template").unwrap(),
        }
    }

    /// Anything of the type, more or less.
    fn hostile(&mut self, name: &str) -> String {
        let rng = &mut self.rng;
        match name {
            "recipient" if rng.bool() => {
                let field = pick(rng, &["id", "email", "name", "username", "more"]);
                format!("jsonb_build_object('id', 'h', '{field}', {})", json(rng))
            }
            "recipient" | "labels" | "data" => json(rng),
            "targets" | "methods" => list(rng),
            "priority" | "max_attempts" => {
                pick(rng, &["null", "-1", "4", "1001", "2147483647", "-2147483648"]).into()
            }
            "schedule_at" | "expires_at" => time(rng),
            _ => text(rng),
        }
    }

    /// A list of many that may be no list.
    fn raw(&mut self) -> Call {
        let document = json(&mut self.rng);
        let sql = format!("select count(*) from postrider.enqueue_many({document})");
        Call { sql, read: read(&document, "jsonb") }
    }
}

/// A statement that reads a value of a type, also one that is compressed.
fn read(value: &str, of: &str) -> String {
    match of {
        "jsonb" => format!("select pg_column_size(({value})::jsonb #> '{{}}')"),
        "text" => format!("select length(({value})::text)"),
        "text[]" => format!("select cardinality(({value})::text[])"),
        of => format!("select pg_column_size(({value})::{of})"),
    }
}

fn one(arguments: &[Option<String>], function: &str) -> Call {
    let (mut given, mut reads) = (Vec::new(), Vec::new());
    for ((name, of, _), value) in ARGUMENTS.iter().zip(arguments) {
        if let Some(value) = value {
            given.push(format!("{name} => ({value})::{of}"));
            reads.push(format!("({})", read(value, of)));
        }
    }
    Call {
        sql: format!("select count(*) from postrider.{function}({})", given.join(", ")),
        read: format!("select {}", reads.join(", ")),
    }
}

/// As it is written in a column, or in an object.
fn of_many(value: &str, of_one: &str, of_many: &str) -> String {
    let value = format!("({value})::{of_one}");
    if of_one == of_many { value } else { format!("to_jsonb({value})") }
}

fn columns(arguments: &[Option<String>], count: usize) -> Call {
    let (mut given, mut reads) = (Vec::new(), Vec::new());
    for ((name, one, many), value) in ARGUMENTS.iter().zip(arguments) {
        if let Some(value) = value {
            let array = format!("array[{}]", vec![of_many(value, one, many); count].join(", "));
            reads.push(format!("pg_column_size({array})"));
            given.push(format!("{name} => {array}"));
        }
    }
    Call {
        sql: format!("select count(*) from postrider.enqueue_columns({})", given.join(", ")),
        read: format!("select {}", reads.join(", ")),
    }
}

fn many(arguments: &[Option<String>], count: usize) -> Call {
    let mut fields = Vec::new();
    for ((name, one, many), value) in ARGUMENTS.iter().zip(arguments) {
        if let Some(value) = value {
            fields.push(format!("'{name}', {}", of_many(value, one, many)));
        }
    }
    // Not jsonb_agg, which takes time by the square of a document's size.
    let object = format!("jsonb_build_object({})", fields.join(", "));
    let list = format!("jsonb_build_array({})", vec![object; count].join(", "));
    Call {
        sql: format!("select count(*) from postrider.enqueue_many({list})"),
        read: format!("select pg_column_size({list})"),
    }
}

/// A mail address of a kind.
fn address(rng: &mut Rng) -> String {
    match rng.u8(..7) {
        0 => format!("{}@example.org", odd(rng)),
        1 => format!("h@{}.example.org", odd(rng)),
        2 => format!("h@{}example.org", "\u{ad}".repeat(rng.usize(1..60))),
        3 => format!("{}@example.org", "x".repeat(rng.usize(60..300))),
        4 => format!("h@{}org", "x.".repeat(rng.usize(1..120))),
        5 => format!("\"{}\"@[127.0.0.1]", odd(rng)),
        _ => format!("h@{}.org", "ä".repeat(rng.usize(1..70))),
    }
}

/// Where a webhook goes, or a text that looks a little like it.
fn endpoint(rng: &mut Rng, urls: &[String]) -> String {
    let odd_ones = [
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://[::1]:9/",
        "http://",
        "://",
        "http:///x",
        "http://nobody.invalid/",
        "https://nobody.invalid:99999999999/",
        "javascript://x",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "HTTP://127.0.0.1:1/\r\nx: y",
        "http://a b/",
        "unknown",
        "",
        "hostile-endpoint",
    ];
    match rng.u8(..5) {
        0 => format!("http://{}/", odd(rng)),
        1 => format!("{}{}", rng.choice(urls).unwrap(), odd(rng)),
        2 => format!("http://127.0.0.1:1/{}", "x".repeat(rng.usize(1_900..2_100))),
        3 => format!("{PREFIX}-{}", rng.u32(..TEMPLATES)),
        _ => pick(rng, &odd_ones).into(),
    }
}
