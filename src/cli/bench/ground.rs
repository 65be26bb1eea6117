//! What a benchmark stands on: a private PostgreSQL, a template, and a sink.

use std::net::ToSocketAddrs;
use std::sync::Arc;

use postgres::Client;
use postrider::config::{AllowPrivate, Config, Secret, SmtpTls};
use postrider::embedded::Postgres;
use postrider::enqueue::Notification;
use postrider::message::{Prepared, Recipient};
use postrider::outcome::{Failure, Receipt};
use postrider::sink::http::{Reply, WebhookSink};
use postrider::sink::smtp::{SmtpSink, SmtpSinkOptions};
use postrider::store::admin::methods;
use postrider::store::admin::templates::{self, NewTemplate};
use postrider::store::connect::Connector;
use postrider::store::migrate;
use postrider::transport::{Deadline, Transport};
use postrider::worker::Worker;

use super::{Mode, SERVER};
use crate::cli::output::Failed;

/// Name of the template.
pub(super) const TEMPLATE: &str = "Workspace Deleted";

pub(super) struct Ground {
    pub(super) mode: Mode,
    pub(super) config: Config,
    pub(super) client: Client,
    pub(super) webhook: Option<WebhookSink>,
    _smtp: Option<SmtpSink>,
    _server: Postgres,
}

impl Ground {
    pub(super) fn new(mode: Mode, threads: u16, sink: Option<&str>) -> Result<Self, Failed> {
        let server =
            Postgres::temporary_with(&SERVER).map_err(|err| Failed::new(err.to_string()))?;
        let mut config = Config::default();
        config.database.url = Some(Secret::new(server.url("postgres")));
        config.worker.threads = threads.into();
        // There is but one to deliver to.
        config.worker.threads_per_endpoint = Some(threads.into());
        config.webhook.allow_private = AllowPrivate::All;
        config.branding.base_url = "https://app.example.com".into();
        let webhook = (mode == Mode::Webhook && sink.is_none())
            .then(|| WebhookSink::start(|_| Reply::status(204)))
            .transpose()
            .map_err(|err| Failed::new(format!("start the webhook sink: {err}")))?;
        if mode == Mode::Webhook {
            let own = webhook.as_ref().map(|it| it.url("/hook"));
            config.webhook.endpoint = own.or_else(|| sink.map(str::to_owned));
        }
        let smtp = (mode == Mode::Smtp && sink.is_none())
            .then(|| {
                SmtpSink::start(SmtpSinkOptions { connections_max: 1024, ..Default::default() })
            })
            .transpose()
            .map_err(|err| Failed::new(format!("start the SMTP sink: {err}")))?;
        if mode == Mode::Smtp {
            let address = match (&smtp, sink) {
                (Some(smtp), _) => Some(smtp.addr()),
                (None, sink) => sink.and_then(|it| it.to_socket_addrs().ok()?.next()),
            };
            let address = address.ok_or_else(|| Failed::usage("--sink: write it as HOST:PORT"))?;
            config.smtp.host = Some(address.ip().to_string());
            config.smtp.port = address.port();
            config.smtp.tls = Some(SmtpTls::None);
            config.smtp.from = Some("Postrider <noreply@example.com>".into());
        }
        let mut client = Connector::new(&config.database)?.connect()?;
        migrate::migrate(&mut client)?;
        templates::set(&mut client, &template())?;
        methods::add(&mut client, &[Mode::Noop.method()])?;
        Ok(Self { mode, config, client, webhook, _smtp: smtp, _server: server })
    }

    /// Messages that arrived at our own webhook sink, each id counted once; a repeat fails the
    /// count, for nothing here explains one.
    pub(super) fn arrived(&self) -> u64 {
        self.webhook.as_ref().map_or(0, |sink| {
            let arrivals = sink.arrivals();
            (arrivals.distinct() as u64).saturating_sub(arrivals.duplicates())
        })
    }

    /// A worker that knows the transport of each mode.
    pub(super) fn worker(&self) -> Result<Worker, Failed> {
        let worker =
            Worker::new(self.config.clone()).map_err(|err| Failed::new(err.to_string()))?;
        Ok(worker.with_transport("noop", Arc::new(Noop)))
    }
}

fn template() -> NewTemplate {
    NewTemplate {
        name: TEMPLATE.into(),
        title: "Workspace {{labels.name}} deleted".into(),
        body: "Your workspace **{{labels.name}}** was deleted.\n\n\
               The reason was: **{{labels.reason}}** ({{labels.initiator}})."
            .into(),
        actions: vec![postrider::message::Action {
            label: "View workspaces".into(),
            url: "{{base_url}}/workspaces".into(),
        }],
        enabled_by_default: true,
        ..NewTemplate::default()
    }
}

/// What a producer enqueues: to a recipient of its own, so that none is a duplicate.
pub(super) fn notification(mode: Mode, number: u32) -> Notification {
    let recipient = Recipient {
        id: format!("r{number}"),
        email: Some("ada@example.com".into()),
        name: Some("Ada Lovelace".into()),
        username: Some("ada".into()),
    };
    let mut notification = Notification::new(TEMPLATE, recipient)
        .with_label("name", "analytical-engine")
        .with_label("reason", "autodeleted due to dormancy")
        .with_label("initiator", "autobuild");
    notification.methods = vec![mode.method().to_owned()];
    notification
}

/// Takes everything at once.
struct Noop;

impl Transport for Noop {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        Ok(Receipt::default())
    }
}
