//! `test-send`: one message past the queue, and what happened step by step.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use clap::Args;
use postrider::message::{MailFields, MessageId, Prepared, Recipient};
use postrider::outcome::{Failure, Receipt};
use postrider::store::admin::endpoints;
use postrider::transport::smtp::Smtp;
use postrider::transport::webhook::Webhook;
use postrider::transport::{Deadline, Trace, Transport};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use super::output::{Failed, Output};
use super::sample::sample;

pub(super) const EXAMPLES: &str = "\
Example: postrider test-send --to ada@example.com
Example: postrider test-send --endpoint ops build-failed
Example: postrider test-send --endpoint https://hooks.example.com/in --json

The values of a template are sample ones. No secret is shown.";

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub(super) struct TestSend {
    /// Address that a mail goes to, by the relay of the settings
    #[arg(long, value_name = "EMAIL", group = "target")]
    to: Option<String>,
    /// Endpoint that a webhook goes to: a name, or a URL
    #[arg(long, value_name = "NAME|URL", group = "target")]
    endpoint: Option<String>,
    /// Template to send; a short text unless given
    template: Option<String>,
}

/// Steps in the order in which they were made.
type Steps = Arc<Mutex<Vec<(&'static str, String)>>>;

impl TestSend {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let steps = Steps::default();
        let recorder = Arc::clone(&steps);
        let trace = Trace::new(move |step, what| {
            if !output.json {
                println!("{step}: {what}");
            }
            lock(&recorder).push((step, what.to_owned()));
        });
        let message = self.message(context)?;
        let deadline = Deadline::after(context.config.worker.dispatch_timeout);
        let result = self.transport(context, &trace)?.deliver(&message, deadline);
        report(&message, &lock(&steps), &result, output)
    }

    fn transport(&self, context: &Context, trace: &Trace) -> Result<Box<dyn Transport>, Failed> {
        let config = &context.config;
        let usage = |err: &dyn std::fmt::Display| Failed::usage(err.to_string());
        if self.to.is_some() {
            let smtp = Smtp::new(&config.smtp, &config.branding).map_err(|err| usage(&err))?;
            return Ok(Box::new(smtp.traced(trace)));
        }
        let webhook = Webhook::traced(&config.webhook, trace).map_err(|err| usage(&err))?;
        Ok(Box::new(webhook.with_branding(&config.branding)))
    }

    fn message(&self, context: &Context) -> Result<Prepared, Failed> {
        let mut message = match &self.template {
            Some(name) => sample(&mut context.client()?, &context.config.branding, name)?,
            None => short(),
        };
        message.id = MessageId(Uuid::now_v7());
        if let Some(email) = &self.to {
            message.recipient.email = Some(email.clone());
            let mut payload =
                message.payload.to_value().map_err(|err| Failed::new(err.to_string()))?;
            payload["user_email"] = email.as_str().into();
            message.payload = payload.into();
        }
        message.endpoint.clone_from(&self.endpoint);
        if let Some(name) = self.endpoint.as_deref().filter(|text| !text.contains("://")) {
            let found = endpoints::find(&mut context.client()?, name)?;
            let settings = found.ok_or_else(|| {
                Failed::new(format!(
                    "no endpoint is named `{name}`; give a URL, or see `postrider endpoint list`"
                ))
            })?;
            message.endpoint = Some(settings.url.clone());
            message.endpoint_settings = Some(Arc::new(settings));
        }
        Ok(message)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn short() -> Prepared {
    Prepared {
        id: MessageId(Uuid::nil()),
        notification_id: Uuid::nil(),
        template_id: Uuid::nil(),
        template_name: "test".into(),
        attempt: 1,
        recipient: Recipient { id: "test".into(), ..Recipient::default() },
        endpoint: None,
        endpoint_settings: None,
        title: "Test of Postrider".into(),
        body: "This message was sent by `postrider test-send`. It asks for nothing.".into(),
        actions: Vec::new(),
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: json!({
            "_version": "1.2", "notification_name": "test", "user_id": "test", "user_email": "",
            "user_name": "", "user_username": "", "actions": [], "labels": {}, "data": null,
            "targets": []
        })
        .into(),
        created_at: SystemTime::now(),
    }
}

fn report(
    message: &Prepared,
    steps: &[(&str, String)],
    result: &Result<Receipt, Failure>,
    output: Output,
) -> Result<(), Failed> {
    let steps: Vec<Value> =
        steps.iter().map(|(step, what)| json!({"step": step, "what": what})).collect();
    let failed = match result {
        Ok(_) => None,
        Err(failure) => Some(format!("{failure}; {}", advice(&failure.code))),
    };
    let (code, reason) = match result {
        Ok(receipt) => (receipt.code.as_deref(), receipt.detail.as_deref()),
        Err(failure) => (Some(failure.code.as_str()), Some(failure.reason.as_str())),
    };
    let value = json!({
        "ok": failed.is_none(), "id": message.id, "code": code, "reason": reason, "steps": steps
    });
    let sent = |_: &Value| match &failed {
        None => format!("sent as {}", message.id),
        Some(_) => String::new(),
    };
    output.print(&value, sent)?;
    failed.map_or(Ok(()), |line| Err(Failed::new(line)))
}

/// What an operator can do about a failure, by its code.
fn advice(code: &str) -> &'static str {
    match code {
        "dns" => "check the host name, and the name servers of this machine",
        "connect" => "check host and port, that it listens there, and firewalls on the way",
        "timeout" => {
            "check that it answers within worker.dispatch_timeout, and firewalls on the way"
        }
        "tls" => {
            "check its certificate; webhook.ca_file, or endpoint set --ca-file, adds a private authority"
        }
        "blocked_address" => "if it is meant, allow its network in webhook.allow_private",
        "proxy" => "check webhook.proxy",
        "encryption_key" => {
            "set webhook.encryption_key to the key that the endpoint was saved with"
        }
        "redirect_not_followed" => "give the endpoint the URL that it redirects to",
        "http_401" | "http_403" => "check the signing secret and the endpoint's headers",
        "http_404" | "http_410" => "check the path of the URL",
        "http_400" | "http_415" | "http_422" => "check the endpoint's --format",
        "http_413" => "the message is too large for it; shorten the template",
        "http_429" => "it wants fewer requests; see endpoint set --max-concurrent",
        _ if code.starts_with("http_5") => "the fault is on its side; its logs will say more",
        "relay_auth" => "check smtp.username and smtp.password, and what the relay offers",
        "relay_policy" => "check smtp.from: the relay does not let this sender in",
        "relay_unavailable" => "check smtp.host and smtp.port, and firewalls on the way",
        "relay_blocked" => "ask who runs the relay why it refuses this machine; see smtp.hello",
        "relay_tls" => "check smtp.tls, smtp.port, smtp.ca_file and smtp.server_name",
        _ => "`postrider config print` shows the settings in force",
    }
}
