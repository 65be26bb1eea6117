//! The settings as a user meets them: sources, precedence, faults.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use log::LevelFilter;

use super::keys::{self, KEYS};
use super::*;

/// What no output may hold.
const MARK: &str = "s3cr3t-MARK";

fn env<const N: usize>(pairs: [(&str, &str); N]) -> Sources {
    let env = pairs.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Sources { env: env.to_vec(), ..Sources::default() }
}

fn flags<const N: usize>(set: [&str; N]) -> Sources {
    Sources { set: set.map(str::to_owned).to_vec(), ..Sources::default() }
}

fn load(sources: &Sources) -> Config {
    Config::load(sources).unwrap_or_else(|error| panic!("{error}"))
}

/// The one fault of the sources.
#[track_caller]
fn fault(sources: &Sources) -> String {
    let error = Config::load(sources).expect_err("a fault");
    assert_eq!(error.faults().len(), 1, "{error}");
    error.to_string()
}

/// The one fault of a setting, which it names.
#[track_caller]
fn fault_of(key: &str, value: &str) -> String {
    let text = fault(&flags([&format!("{key}={value}")]));
    assert!(text.starts_with(key), "{text}");
    text
}

/// A file that is gone at the end of the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("postrider-config-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn sources(&self) -> Sources {
        Sources { file: Some(self.0.clone()), ..Sources::default() }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // Nothing to do about one that stays.
    }
}

#[test]
fn nothing_set_is_all_defaults() {
    let config = load(&Sources::default());
    assert!(config.origins.is_empty());
    assert_eq!(config.to_json(), Config::default().to_json());
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn the_table_tells_the_defaults_that_hold() {
    for key in KEYS {
        let Some(shown) = (key.get)(&Config::default()) else { continue };
        assert_eq!(shown.to_string().trim_matches('"'), key.default, "{}", key.name);
        let given = value::Given::One(key.default.to_owned());
        assert_eq!((key.set)(&mut Config::default(), &given), Ok(()), "{}", key.name);
    }
}

#[test]
fn every_setting_can_be_set_and_comes_back_as_set() {
    let samples = |key: &keys::Key| match key.kind {
        _ if key.name.ends_with("url") => "host=h user=u",
        "duration" => "1m30s",
        "whole number" => "7",
        "number" => "1.5",
        "true or false" => "false",
        "size" => "96MiB",
        "auto, on, off" => "off",
        "list of names" => "smtp,webhook",
        "list of durations" => "1s,2m",
        "true, false or list of networks" => "10.0.0.0/8,fd00::/8",
        "implicit, required, opportunistic, none" => "opportunistic",
        "text, json" => "json",
        "retry, hold" => "hold",
        "pause, fail" => "fail",
        "any, plain, login, xoauth2" => "xoauth2",
        "disable, prefer, require, verify-ca, verify-full" => "verify-ca",
        "error, warn, info, debug, trace" => "trace",
        _ => "sample",
    };
    for key in KEYS {
        let (mut config, sample) = (Config::default(), samples(key));
        (key.set)(&mut config, &value::Given::One(sample.into())).unwrap();
        let shown = (key.get)(&config).expect(key.name);
        let shown = match shown {
            toml::Value::Array(items) => {
                items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(",")
            }
            other => other.to_string().trim_matches('"').to_owned(),
        };
        let wanted = if key.secret && !sample.contains('=') { "<secret>" } else { sample };
        assert_eq!(shown, wanted, "{}", key.name);
    }
}

#[test]
fn c28_secrets_are_in_no_output() {
    let password = TempFile::new(&format!("  {MARK}\n"));
    let sources = env([
        ("POSTRIDER_DATABASE_URL", &format!("postgres://u:{MARK}@db.example.com/q")),
        ("POSTRIDER_DATABASE__LISTEN_URL", &format!("host=h user=u password='{MARK}'")),
        ("POSTRIDER_SMTP__USERNAME", "u"),
        ("POSTRIDER_SMTP__PASSWORD_FILE", password.path()),
        (
            "POSTRIDER_WEBHOOK__ENDPOINT",
            &format!("https://u:{MARK}@hooks.example.com/{MARK}?k={MARK}"),
        ),
        ("POSTRIDER_WEBHOOK__PROXY", &format!("http://u:{MARK}@proxy.example.com")),
        ("POSTRIDER_WEBHOOK__SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ]);
    let config = load(&sources);
    assert_eq!(config.smtp.password.as_ref().map(Secret::expose), Some(MARK));
    for text in [config.print(), config.to_json().to_string(), format!("{config:#?}")] {
        assert!(!text.contains(MARK) && !text.contains("MfKQ"), "{text}");
    }
    let shown = config.to_json();
    assert_eq!(
        shown["database.url"],
        "host=db.example.com port=5432 user=u password=<secret> dbname=q"
    );
    assert_eq!(shown["webhook.endpoint"], "https://hooks.example.com/<secret>");
}

#[test]
fn c28_secrets_are_in_no_error() {
    let broken = TempFile::new(&format!("[smtp]\npassword = \"{MARK}\nport = 25\n"));
    let odd = TempFile::new(&format!("smtp.password = [[\"{MARK}\"]]\n"));
    let listed = TempFile::new(&format!("smtp.password = [\"{MARK}\"]\n"));
    let sources = [
        broken.sources(),
        odd.sources(),
        listed.sources(),
        flags([MARK]),
        flags([&format!("database.url={MARK}")]),
        flags([&format!("webhook.endpoint=ftp://{MARK}")]),
        flags([&format!("webhook.proxy={MARK}")]),
        flags([&format!("webhook.secret=whsec_{MARK}")]),
        Sources { database_url: Some(format!("mysql://u:{MARK}@h/db")), ..Sources::default() },
    ];
    for sources in &sources {
        let text = fault(sources);
        assert!(!text.contains(MARK), "{text}");
    }
    assert!(fault(&broken.sources()).contains(":2: not TOML"));
    for value in [MARK, &format!("\"{MARK}\\q\""), &format!("'{MARK}' {MARK}"), &format!("[{MARK}")]
    {
        let text = fault(&TempFile::new(&format!("smtp.password = {value}\n")).sources());
        assert!(text.contains(":1: not TOML") && !text.contains(MARK), "{text}");
    }
}

#[test]
fn c70_a_bad_duration_is_refused_with_setting_and_value() {
    for value in ["15", "5 m", "5M", "15 seconds", "-"] {
        let text = fault_of("worker.lease_period", value);
        assert!(text.contains(&format!("{value:?}")) && text.contains("15s, 1m30s"), "{text}");
    }
    let text = fault(&TempFile::new("[worker]\nfetch_interval = 15\n").sources());
    assert!(
        text.contains("worker.fetch_interval") && text.contains(":2): \"15\" has no unit"),
        "{text}"
    );
    let text = fault_of("retry.schedule", "1m,5");
    assert!(text.contains("has \"5\", which has no unit"), "{text}");
    assert_eq!(load(&flags(["worker.fetch_interval= 1.5m "])).worker.fetch_interval.as_secs(), 90);
}

#[test]
fn c71_each_duration_refuses_zero_negative_tiny_and_overflow() {
    let durations: Vec<_> = KEYS.iter().filter(|key| key.kind.contains("duration")).collect();
    assert_eq!(durations.len(), 22);
    for key in durations {
        for value in ["0s", "-1s", "-10m", "9223372036854h", "1ns"] {
            let error = Config::load(&flags([&format!("{}={value}", key.name)])).unwrap_err();
            assert!(error.faults()[0].starts_with(key.name), "{}={value}: {error}", key.name);
        }
    }
}

#[test]
fn c71_relations_are_checked_and_all_faults_told_at_once() {
    let sources = flags([
        "worker.dispatch_timeout=2m",
        "worker.threads=0",
        "worker.max_attempts=0",
        "database.pool_size=0",
        "smtp.port=99999",
        "log.level=loud",
        "retry.multiplier=0.5",
    ]);
    let error = Config::load(&sources).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.faults().len(), 7, "{text}");
    for part in [
        "smtp.port (flag): \"99999\" is not a whole number from 0 to 65535",
        "log.level (flag): \"loud\" is not one of error, warn, info, debug, trace",
        "database.pool_size: 0 is out of range; write 1 to 1024",
        "worker.threads: 0 is out of range; write 1 to 4096",
        "worker.max_attempts: 0 is out of range",
        "worker.dispatch_timeout: 2m is not less than worker.lease_period, 2m",
        "retry.multiplier: 0.5 is less than 1",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
}

#[test]
fn a_relation_to_a_value_that_is_at_fault_is_not_a_second_fault() {
    fault(&flags(["worker.lease_period=15", "worker.dispatch_timeout=5m"]));
    fault(&flags(["smtp.username=u", "smtp.password_file=/nonexistent"]));
}

#[test]
fn threads_fit_in_what_is_in_flight() {
    let text = fault(&flags(["worker.in_flight_max=8", "worker.threads=9"]));
    assert!(text.contains("8 is less than worker.threads, 9"), "{text}");
    load(&flags(["worker.in_flight_max=8", "worker.threads=8"]));
    fault_of("worker.threads", "4097");
    fault_of("worker.in_flight_max", "1000000");
}

#[test]
fn c73_flags_go_before_environment_before_file_before_defaults() {
    let samples = |key: &keys::Key| match key.kind {
        "duration" => Some(["11s", "12s", "13s"]),
        "whole number" => Some(["11", "12", "13"]),
        "number" => Some(["1.25", "1.5", "1.75"]),
        "text" if !key.name.contains("url") && !key.name.contains("from") => Some(["a", "b", "c"]),
        _ => None,
    };
    let mut count = 0;
    for key in KEYS {
        let Some([file, env_value, flag]) = samples(key) else { continue };
        count += 1;
        // The file alone may break a relation, so the winner is read from what was found.
        let text = TempFile::new(&format!("{} = \"{file}\"\n", key.name));
        let env_name = key.env_name();
        let mut sources = text.sources();
        let expect = |sources: &Sources, wanted: &str| {
            let found = sources.find(&mut error::Faults::default());
            assert_eq!(found[key.name].0, value::Given::One(wanted.into()), "{}", key.name);
        };
        expect(&sources, file);
        sources.env = vec![(env_name.into(), env_value.into())];
        expect(&sources, env_value);
        sources.set = vec![format!("{}=x", key.name), format!("{}={flag}", key.name)];
        expect(&sources, flag);
    }
    assert!(20 < count, "{count}");
}

#[test]
fn c73_a_weaker_source_is_not_even_looked_at() {
    let mut sources = env([("POSTRIDER_WORKER__THREADS", "many"), ("POSTRIDER_DATABASE_URL", "?")]);
    sources.set = vec!["worker.threads=3".into(), "database.url=?".into()];
    sources.database_url = Some("host=h".into());
    assert_eq!(load(&sources).worker.threads, 3);
}

#[test]
fn c73_an_empty_variable_counts_as_not_set() {
    let file = TempFile::new("worker.threads = 3\n");
    let mut sources = file.sources();
    sources.env = env([
        ("POSTRIDER_WORKER__THREADS", ""),
        ("POSTRIDER_DATABASE_URL", ""),
        ("POSTRIDER_SMTP__FROM", ""),
        ("POSTRIDER_CONFIG", ""),
    ])
    .env;
    let config = load(&sources);
    assert_eq!(config.worker.threads, 3);
    assert_eq!(config.smtp.from, None);
    let mut sources = env([("POSTRIDER_SMTP__FROM", ""), ("POSTRIDER_SMTP__HOST", "h")]);
    assert!(fault(&sources).starts_with("smtp.from: not set, but smtp.host is"));
    sources.set = vec!["smtp.from=".into()];
    assert!(fault(&sources).starts_with("smtp.from (flag): \"\" is empty"));
}

#[test]
fn c73_booleans_are_read_alike_everywhere() {
    for (text, wanted) in
        [("true", true), ("1", true), ("yes", true), ("TRUE", true), ("0", false), ("off", false)]
    {
        let config = load(&env([("POSTRIDER_INBOX__ENABLED", text)]));
        assert_eq!(config.inbox.enabled, Some(wanted), "{text}");
    }
    fault_of("inbox.enabled", "maybe");
    let config = load(&TempFile::new("inbox.enabled = false").sources());
    assert_eq!(config.inbox.enabled, Some(false));
}

#[test]
fn c73_an_unknown_key_is_refused_with_file_line_and_nearest_key() {
    let file = TempFile::new("[worker]\nthreads = 2\nlease_perod = \"1m\"\n[smpt]\nhost = \"h\"\n");
    let error = Config::load(&file.sources()).unwrap_err();
    let path = file.path();
    let wanted = [
        format!("{path}:5: unknown key \"smpt.host\"; did you mean smtp.host?"),
        format!("{path}:3: unknown key \"worker.lease_perod\"; did you mean worker.lease_period?"),
    ];
    assert_eq!(error.faults(), wanted);
    let text = fault(&flags(["threads=3"]));
    assert_eq!(text, "--set: unknown key \"threads\"; did you mean worker.threads?");
    assert_eq!(fault(&flags(["zzzzzz=3"])), "--set: unknown key \"zzzzzz\"");
}

#[test]
fn c73_a_mistyped_variable_is_refused_and_foreign_ones_are_let_be() {
    let text = fault(&env([("POSTRIDER_SMTP__PASWORD", MARK)]));
    assert_eq!(
        text,
        "unknown environment variable POSTRIDER_SMTP__PASWORD; did you mean POSTRIDER_SMTP__PASSWORD?"
    );
    load(&env([
        ("POSTRIDER_PORT", "tcp://10.0.0.1:80"),
        ("POSTRIDER_SERVICE_HOST", "10.0.0.1"),
        ("POSTRIDER_PG_BIN", "/usr/bin"),
        ("OTHER__THING", "x"),
    ]));
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_utf_8_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![b'a', 0xff]);
    let env = vec![("POSTRIDER_SMTP__HOST".into(), value.clone()), ("PATH".into(), value)];
    let text = fault(&Sources { env, ..Sources::default() });
    assert_eq!(text, "POSTRIDER_SMTP__HOST: the value is not UTF-8");
}

#[test]
fn the_file_takes_tables_and_dotted_keys_and_may_be_named_by_a_variable() {
    let file = TempFile::new(
        "worker.threads = 1_0\nretry = { schedule = [\"1s\", \"2m\"] }\n\
         [smtp]\nhost = \"h\"\nfrom = \"A <a@example.com>\"\nretry.initial = \"3s\"\n\
         [webhook]\nallow_private = [\"10.0.0.0/8\"]\n[log]\nlevel = \"debug\"\nformat = \"json\"\n",
    );
    let config = load(&env([("POSTRIDER_CONFIG", file.path())]));
    assert_eq!(config.worker.threads, 10);
    let schedule = vec![Duration::from_secs(1), Duration::from_mins(2)];
    assert_eq!(config.retry.schedule, Some(schedule));
    assert_eq!(config.smtp.retry.initial, Some(Duration::from_secs(3)));
    assert_eq!(config.webhook.allow_private, AllowPrivate::Networks(vec!["10.0.0.0/8".into()]));
    assert_eq!((config.log.level, config.log.format), (LevelFilter::Debug, LogFormat::Json));
    let other = TempFile::new("worker.threads = 5");
    let both =
        Sources { file: Some(other.0.clone()), ..env([("POSTRIDER_CONFIG", "/nonexistent")]) };
    assert_eq!(load(&both).worker.threads, 5);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Sources { file: Some("/nonexistent/a.toml".into()), ..Sources::default() };
    assert!(fault(&missing).starts_with("settings file /nonexistent/a.toml: "));
    for key in ["smtp.ca_file", "webhook.ca_file", "smtp.password_file", "webhook.secret_file"] {
        assert!(fault_of(key, "/nonexistent/x").contains("file /nonexistent/x: "));
    }
    let directory = std::env::temp_dir();
    assert!(fault_of("smtp.ca_file", directory.to_str().unwrap()).contains("is a directory"));
    let (empty, long) = (TempFile::new(" \n"), TempFile::new(&"x".repeat(70_000)));
    assert!(fault_of("smtp.password_file", empty.path()).ends_with("is empty"));
    assert!(fault_of("smtp.password_file", long.path()).ends_with("longer than 65536 octets"));
    let endless = Path::new("/dev/zero");
    if endless.exists() {
        fault_of("smtp.password_file", "/dev/zero");
    }
}

#[test]
fn c74_connection_strings_that_are_cut_right_are_taken() {
    let password = |url: &str| {
        let config = load(&Sources { database_url: Some(url.into()), ..Sources::default() });
        let parsed: postgres::Config = config.database.url.unwrap().expose().parse().unwrap();
        let password = parsed.get_password().unwrap_or_default().to_vec();
        String::from_utf8(password).unwrap()
    };
    assert_eq!(password("postgres://u:p%40ss@h/db"), "p@ss");
    assert_eq!(password("postgresql://u:p%23w@h/db"), "p#w");
    assert_eq!(password("postgres://u:p%2Fw%3F%25@h/db"), "p/w?%");
    assert_eq!(password("postgres://u:p@[::1]:5433/db"), "p");
    assert_eq!(password("postgres://u@%2Fvar%2Frun%2Fpostgresql/db"), "");
    assert_eq!(password("postgres:///db?host=/var/run/postgresql"), "");
    assert_eq!(password(r"host=h password='a b\'c'"), "a b'c");
    assert_eq!(password("host=h password='x://@#/?%'"), "x://@#/?%");
}

#[test]
fn c74_connection_strings_that_are_cut_wrong_are_refused_without_an_echo() {
    let cases = [
        ("postgres://u:MARK@ss@h/db", "%40"),
        ("postgres://u:p#MARK@h/db", "%23"),
        ("postgres://u:p/MARK@h/db", "%2F"),
        ("postgres://u:p?MARK@h/db", "%3F"),
        ("postgres://u:MARK100%@h/db", "%25"),
        ("postgres://u:MARK", "port"),
        ("postgres://u:p?MARK", "port"),
        (" ", "is empty"),
        ("mysql://u:MARK@h/db", "mysql:// is not PostgreSQL"),
        ("jdbc:postgresql://u:MARK@h/db", "not understood"),
        ("postgres://u:MARK@h:99999/db", "value of port"),
        ("postgres://u:MARK@h:0/db", "port 0"),
        ("postgres://u:MARK@/db", "names no host"),
        ("postgres://u@h/db?MARK=1", "an option that is not known"),
        ("postgres://u@h/db?sslmode=verify-full", "set database.tls"),
        ("postgres://u@h/db?sslrootcert=/MARK.pem", "set database.ca_file"),
        ("user=u password=MARK", "names no host"),
        ("host=h password='MARK", "not understood"),
        ("MARK", "not understood"),
    ];
    for (url, hint) in cases {
        for key in ["database.url", "database.listen_url"] {
            let text = fault_of(key, url);
            assert!(text.contains(hint) && !text.contains("MARK"), "{url}: {text}");
        }
    }
}

#[test]
fn c74_a_password_is_used_unchanged() {
    let odd = " #a;b!c$d,\"e\\ ";
    let file = TempFile::new("smtp.username = \"u\"\nsmtp.password = ' #a;b!c$d,\"e\\ '\n");
    let variables = [("POSTRIDER_SMTP__USERNAME", "u"), ("POSTRIDER_SMTP__PASSWORD", odd)];
    for sources in [file.sources(), env(variables)] {
        assert_eq!(load(&sources).smtp.password.unwrap().expose(), odd);
    }
}

#[test]
fn c76_default_methods_are_checked_by_name() {
    for value in ["inbox", "SMTP", "", "smtp,,webhook", "s p", "-a", "smtp,smtp", "smtp;x", "é"] {
        let text = fault_of("worker.default_methods", value);
        assert!(!text.contains("smtp.host"), "{text}");
    }
    let text = fault(&TempFile::new("worker.default_methods = [\"smtp \"]").sources());
    assert!(text.contains("\"smtp \" is not the name of a method"), "{text}");
    let config = load(&flags(["worker.default_methods=smtp, sms_v2"]));
    assert_eq!(config.worker.default_methods.unwrap(), ["smtp", "sms_v2"]);
}

#[test]
fn c76_a_worker_needs_what_its_default_methods_need() {
    let transports = ["smtp", "webhook"];
    let check = |sources: &Sources| load(sources).check_methods(&transports);
    assert_eq!(check(&Sources::default()), Ok(()));
    let error = check(&flags(["worker.default_methods=smtp,webhook,sms"])).unwrap_err();
    let wanted = [
        "smtp.host: not set, but worker.default_methods names smtp",
        "webhook.endpoint: not set, but worker.default_methods names webhook",
        "worker.default_methods: \"sms\" is no method here; there are smtp, webhook",
    ];
    assert_eq!(error.faults(), wanted);
    let complete = flags([
        "worker.default_methods=smtp,webhook",
        "smtp.host=h",
        "smtp.from=a@example.com",
        "webhook.endpoint=https://hooks.example.com/x",
    ]);
    assert_eq!(check(&complete), Ok(()));
}

#[test]
fn c76_a_relay_is_a_host_and_its_port_is_a_setting_of_its_own() {
    let host = |host: &str| flags([&format!("smtp.host={host}"), "smtp.from=a@example.com"]);
    for bad in ["mail.example.com:25", ":587", "mail.example.com:abc", "[::1]:25", "[::1]", "a b"] {
        assert!(fault(&host(bad)).starts_with("smtp.host"), "{bad}");
    }
    assert!(fault(&host("mail.example.com:25")).contains("smtp.port"));
    for good in ["mail.example.com", "::1", "127.0.0.1", "localhost"] {
        assert_eq!(load(&host(good)).smtp.port, 587);
    }
}

#[test]
fn e_mail_settings_that_do_not_fit_are_refused() {
    let cases: [(&[&str], &str); 7] = [
        (&["smtp.host=h"], "smtp.from: not set"),
        (&["smtp.from=nobody"], "smtp.from: \"nobody\" is not a sender"),
        (&["smtp.username=u"], "smtp.username is set, but no password"),
        (&["smtp.host=h", "smtp.from=a@example.com", "smtp.password=p"], "set smtp.username"),
        (&["smtp.username=u", "smtp.password=p", "smtp.tls=none"], "in clear"),
        (&["smtp.cert_file=/dev/null"], "belong together"),
        (&["smtp.hello=a\nb"], "control character"),
    ];
    for (set, hint) in cases {
        let set = set.iter().map(|&text| text.to_owned()).collect();
        let text = fault(&Sources { set, ..Sources::default() });
        assert!(text.contains(hint), "{text}");
    }
    let file = TempFile::new("p");
    let path = format!("smtp.password_file={}", file.path());
    let text = fault(&flags(["smtp.username=u", "smtp.password=p", &path]));
    assert!(text.contains("smtp.password (flag) and smtp.password_file are both set"), "{text}");
}

#[test]
fn webhook_settings_that_do_not_fit_are_refused() {
    for bad in ["x", "ftp://h/", "https://", "file:///etc/passwd", "mailto:a@example.com"] {
        fault_of("webhook.endpoint", bad);
    }
    for bad in ["whsec_", "whsec_YQ==", "abc", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_*"] {
        fault_of("webhook.secret", bad);
    }
    for bad in ["10.0.0.1", "10.0.0.0/33", "fd00::/129", "10.0.0.0/+8", "maybe", "10.0.0.0/8,x"] {
        fault_of("webhook.allow_private", bad);
    }
    assert_eq!(
        load(&flags(["webhook.allow_private=true"])).webhook.allow_private,
        AllowPrivate::All
    );
}

#[test]
fn a_schedule_and_growing_delays_exclude_each_other() {
    for group in ["retry", "smtp.retry", "webhook.retry"] {
        let set = |text: &str| format!("{group}.{text}");
        let text = fault(&flags([&set("schedule=1s"), &set("initial=1s")]));
        assert!(text.contains(&format!("{group}.schedule and {group}.initial are both set")));
        fault(&flags([&set("multiplier=2")]));
        fault(&flags([&set("max=1h")]));
        fault(&flags([&set("initial=2h"), &set("max=1h")]));
        load(&flags([&set("initial=1s"), &set("multiplier=1"), &set("max=1s")]));
    }
    for bad in ["nan", "inf", "-1", "x"] {
        fault_of("retry.multiplier", bad);
    }
    fault(&TempFile::new("retry.schedule = []").sources());
}

#[test]
fn a_base_url_has_no_slash_at_the_end() {
    let config = load(&flags(["branding.base_url=https://app.example.com/x/"]));
    assert_eq!(config.branding.base_url, "https://app.example.com/x");
    fault_of("branding.base_url", "app.example.com");
    fault_of("branding.logo_url", "javascript:1");
}

#[test]
fn a_lease_must_outlast_a_delivery_and_the_wait_for_its_last_reply() {
    let text = fault(&flags(["smtp.final_reply_timeout=1m"]));
    for part in ["smtp.final_reply_timeout", "worker.dispatch_timeout", "2m, which", "raise"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    load(&flags(["smtp.final_reply_timeout=54s"]));
    load(&flags(["smtp.final_reply_timeout=10m", "worker.lease_period=12m"]));
}

#[test]
fn the_wait_for_the_last_reply_fits_the_lease_where_it_is_not_set() {
    assert_eq!(Config::default().final_reply_timeout(), Duration::from_secs(30));
    let config = load(&flags(["worker.lease_period=90s", "worker.dispatch_timeout=80s"]));
    assert_eq!(config.final_reply_timeout(), Duration::from_secs(5));
    let config = load(&flags(["smtp.final_reply_timeout=50s"]));
    assert_eq!(config.final_reply_timeout(), Duration::from_secs(50));
}

#[test]
fn print_tells_where_each_setting_comes_from_and_is_toml() {
    let file = TempFile::new("\nsmtp.username = \"u\"\n");
    let password = TempFile::new("p");
    let mut sources = file.sources();
    sources.set =
        vec!["worker.threads=3".into(), format!("smtp.password_file={}", password.path())];
    sources.env = env([("POSTRIDER_LOG__LEVEL", "warn")]).env;
    let text = load(&sources).print();
    for line in [
        "threads = 3 # flag",
        "level = \"warn\" # environment POSTRIDER_LOG__LEVEL",
        &format!("username = \"u\" # file {}:2", file.path()),
        "password = \"<secret>\" # file that smtp.password_file names",
        "lease_period = \"2m\" # default",
        "# host: not set",
        "# schedule: 5s,5m,30m,2h,5h,10h,10h (default)",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in:\n{text}");
    }
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["worker"]["threads"].as_integer(), Some(3));
    assert_eq!(table["smtp"]["retry"], toml::Table::new().into());
}

#[test]
fn the_json_form_has_every_key() {
    let json = Config::default().to_json();
    let entries = json.as_object().unwrap();
    assert_eq!(entries.len(), KEYS.len());
    assert_eq!(json["worker.threads"], 64);
    assert_eq!(json["smtp.host"], serde_json::Value::Null);
}

#[test]
fn the_readme_table_has_a_row_for_every_key() {
    let table = keys::markdown();
    assert_eq!(table.lines().count(), KEYS.len() + 2);
    assert!(table.contains(
        "| `worker.threads` | `POSTRIDER_WORKER__THREADS` | whole number | 64 | delivery threads"
    ));
}

#[test]
fn the_documentation_lists_every_setting() {
    let page = include_str!("../../docs/configuration.md");
    let table = keys::markdown();
    assert!(page.contains(&table), "docs/configuration.md must hold this table:\n{table}");
}
