//! Mails that a real Postfix takes, with TLS and SASL as its users have them.
//!
//! It needs root, Postfix, and `saslpasswd2`; without them the tests skip, and say so.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use mail_parser::MessageParser;
use postrider::config::{BrandingConfig, Secret, SmtpConfig, SmtpTls};
use postrider::message::{MailFields, MessageId, Prepared, Recipient};
use postrider::outcome::{Failure, Receipt, Verdict};
use postrider::transport::smtp::Smtp;
use postrider::transport::{Deadline, Transport};
use uuid::Uuid;

use crate::rig::LIMIT;
use crate::support::wait_until;

const NAME: &str = "mx.example.com";
const PASSWORD: &str = "s3cret, with a blank";
/// Seconds after which a server ends though its test was killed.
const LIFETIME: &str = "300";

/// A server with a directory of its own, which ends with this value.
struct Postfix {
    dir: PathBuf,
    server: Child,
    /// STARTTLS and a login are required.
    submission: u16,
    /// TLS from the first octet, and a login.
    submissions: u16,
}

impl Postfix {
    /// `None` where there is none to be had.
    fn start() -> Option<Self> {
        let Some(tools) = Tools::find() else {
            eprintln!("SKIPPED: this test needs root, postfix and saslpasswd2; see .ci/run");
            return None;
        };
        let dir = std::env::temp_dir().join(format!("postrider-postfix-{}", Uuid::new_v4()));
        let [submission, submissions] = free_ports();
        tools.configure(&dir, submission, submissions);
        let server = Command::new("timeout")
            .args(["--kill-after=5", LIFETIME, "postfix", "-c"])
            .arg(&dir)
            .arg("start-fg")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postfix = Self { dir, server, submission, submissions };
        wait_until(LIMIT, "Postfix listens", || {
            [submission, submissions]
                .iter()
                .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        Some(postfix)
    }

    fn config(&self, tls: SmtpTls) -> SmtpConfig {
        let implicit = tls == SmtpTls::Implicit;
        SmtpConfig {
            host: Some("127.0.0.1".into()),
            port: if implicit { self.submissions } else { self.submission },
            tls: Some(tls),
            from: Some("Postrider <notify@example.org>".into()),
            hello: Some("worker.example.org".into()),
            username: Some("app".into()),
            password: Some(Secret::new(PASSWORD)),
            ca_file: Some(self.dir.join("cert.pem")),
            server_name: Some(NAME.into()),
            ..SmtpConfig::default()
        }
    }

    /// Mails in the box of a user, once there are `count`.
    fn mails(&self, user: &str, count: usize) -> Vec<Vec<u8>> {
        let dir = self.dir.join("mail").join(user).join("new");
        let names = || -> Vec<PathBuf> {
            fs::read_dir(&dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
        };
        wait_until(LIMIT, "the mails are in the box", || count <= names().len());
        names().iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Waits for a line in the server's log.
    fn wait_for_log(&self, part: &str) {
        let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        wait_until(LIMIT, part, || log().contains(part));
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // What is not running cannot be stopped; the wait is bounded by the server's lifetime.
        let _ = Command::new("postfix")
            .arg("-c")
            .arg(&self.dir)
            .arg("abort")
            .stderr(Stdio::null())
            .status();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What the machine has.
struct Tools {
    daemons: String,
    uid: String,
    gid: String,
}

impl Tools {
    fn find() -> Option<Self> {
        let ask = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| text.trim().to_owned())
        };
        let is_root = ask("id", &["-u"])? == "0";
        ask("sh", &["-c", "command -v postfix saslpasswd2 timeout"])?;
        is_root.then_some(())?;
        Some(Self {
            daemons: ask("postconf", &["-dh", "daemon_directory"])?,
            uid: ask("id", &["-u", "nobody"])?,
            gid: ask("id", &["-g", "nobody"])?,
        })
    }

    fn configure(&self, dir: &Path, submission: u16, submissions: u16) {
        for name in ["queue", "data", "mail", "sasl"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let certificate = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        fs::write(dir.join("cert.pem"), certificate.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
        let place = dir.display();
        let Self { daemons, uid, gid } = self;
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
daemon_directory = {daemons}
maillog_file_prefixes = {place}
maillog_file = {place}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {NAME}
mydestination =
alias_maps =
message_size_limit = 200000
virtual_mailbox_domains = example.com
virtual_mailbox_base = {place}/mail
virtual_mailbox_maps = inline:{{bob@example.com=bob/}}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_tls_cert_file = {place}/cert.pem
smtpd_tls_key_file = {place}/key.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = {NAME}
cyrus_sasl_config_path = {place}/sasl
smtpd_tls_auth_only = yes
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"
        );
        fs::write(dir.join("main.cf"), main).unwrap();
        let services = MASTER
            .replace("SUBMISSIONS", &submissions.to_string())
            .replace("SUBMISSION", &submission.to_string());
        fs::write(dir.join("master.cf"), services).unwrap();
        let sasl = format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {place}/sasl/db\n\
             mech_list: PLAIN LOGIN\n"
        );
        fs::write(dir.join("sasl/smtpd.conf"), sasl).unwrap();
        let script = "printf %s \"$2\" | saslpasswd2 -p -c -f \"$1/sasl/db\" -u mx.example.com app \
                      && chown -R postfix \"$1/sasl\" \"$1/data\" && chown nobody \"$1/mail\" \
                      && chmod 755 \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(dir).arg(PASSWORD);
        assert!(command.status().unwrap().success());
    }
}

/// The services of a Postfix that delivers to its own mailboxes only.
const MASTER: &str = "\
127.0.0.1:SUBMISSION inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
127.0.0.1:SUBMISSIONS inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

fn free_ports() -> [u16; 2] {
    let listeners = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn message(to: &str) -> Prepared {
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::now_v7(),
        template_id: Uuid::now_v7(),
        template_name: "sample".into(),
        attempt: 1,
        recipient: Recipient {
            id: "bob".into(),
            email: Some(to.into()),
            name: Some("Zoë Bob".into()),
            username: None,
        },
        endpoint: None,
        endpoint_settings: None,
        title: "Dépêche reçue".into(),
        body: "Hi there.\n\n.a line with a dot".into(),
        actions: Vec::new(),
        mail: MailFields {
            thread_key: Some("build 7".into()),
            unsubscribe_url: Some("https://example.com/u/1".into()),
            ..MailFields::default()
        },
        targets: Vec::new(),
        payload: serde_json::Value::Null.into(),
        created_at: SystemTime::now(),
    }
}

fn smtp(config: &SmtpConfig) -> Smtp {
    Smtp::new(config, &BrandingConfig::default()).unwrap()
}

fn deliver(smtp: &Smtp, message: &Prepared) -> Result<Receipt, Failure> {
    smtp.deliver(message, Deadline::after(LIMIT))
}

#[test]
fn postfix_takes_mail_by_starttls_and_by_implicit_tls_after_a_login() {
    let Some(postfix) = Postfix::start() else { return };
    let mut ids = Vec::new();
    for tls in [SmtpTls::Required, SmtpTls::Opportunistic, SmtpTls::Implicit] {
        let message = message("bob@example.com");
        let receipt = deliver(&smtp(&postfix.config(tls)), &message).unwrap();
        assert_eq!(receipt.code.as_deref(), Some("250"));
        assert!(receipt.detail.unwrap().contains("queued as"), "{tls:?}");
        ids.push(format!("{}@example.org", message.id));
    }
    let mut found = Vec::new();
    for raw in postfix.mails("bob", 3) {
        let mail = MessageParser::default().parse(&raw).unwrap();
        assert_eq!(mail.subject(), Some("Dépêche reçue"));
        assert_eq!(mail.to().unwrap().first().unwrap().name(), Some("Zoë Bob"));
        assert!(mail.body_text(0).unwrap().contains("\n.a line with a dot"));
        assert_eq!(mail.return_address(), Some("notify@example.org"));
        assert!(mail.in_reply_to().as_text().unwrap().starts_with("thread-"));
        assert!(mail.header_raw("List-Unsubscribe").unwrap().contains("<https://example.com/u/1>"));
        found.push(mail.message_id().unwrap().to_owned());
    }
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
}

#[test]
fn postfix_takes_many_mails_on_one_connection() {
    let Some(postfix) = Postfix::start() else { return };
    let smtp = smtp(&postfix.config(SmtpTls::Required));
    for _ in 0..10 {
        deliver(&smtp, &message("bob@example.com")).unwrap();
    }
    assert_eq!(postfix.mails("bob", 10).len(), 10);
    drop(smtp);
    postfix.wait_for_log(" auth=1 mail=10 rcpt=10 data=10 ");
}

#[test]
fn what_postfix_refuses_is_told_apart() {
    let Some(postfix) = Postfix::start() else { return };
    let config = postfix.config(SmtpTls::Required);
    let transport = smtp(&config);

    let failure = deliver(&transport, &message("nobody@example.com")).unwrap_err();
    assert_eq!((failure.verdict, failure.code.as_str()), (Verdict::BadAddress, "550"));
    assert!(failure.reason.contains("5.1.1"), "{}", failure.reason);

    let large = Prepared { body: "x".repeat(150_000), ..message("bob@example.com") };
    let failure = deliver(&transport, &large).unwrap_err();
    assert_eq!((failure.verdict, failure.code.as_str()), (Verdict::Permanent, "too_large"));

    let wrong = SmtpConfig { password: Some(Secret::new("wrong")), ..config.clone() };
    let failure = deliver(&smtp(&wrong), &message("bob@example.com")).unwrap_err();
    let wait = Some(Duration::from_mins(15));
    assert_eq!(failure.verdict, Verdict::Blocked { retry_after: wait });
    assert!(failure.code == "relay_auth" && failure.reason.contains("535"), "{failure}");

    let stranger = SmtpConfig { username: None, password: None, ..config.clone() };
    let failure = deliver(&smtp(&stranger), &message("bob@example.com")).unwrap_err();
    assert!(failure.reason.contains("554 5.7.1"), "{failure}");

    let untrusted = SmtpConfig { ca_file: None, ..config };
    let failure = deliver(&smtp(&untrusted), &message("bob@example.com")).unwrap_err();
    assert_eq!(failure.code, "relay_tls", "{failure}");
}
