//! What the monitor shows.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::DatabaseConfig;
use crate::store::StoreError;
use crate::store::figures::{self, Figures};
use crate::store::migrate;
use crate::store::pool::Pool;
use crate::telemetry::beats;
use crate::telemetry::metrics::{self, head};
use crate::worker::LeasesOut;

/// How long figures of the database are good for: they cost it a look at every live message.
const FIGURES_AGE_MAX: Duration = Duration::from_secs(10);

/// An answer.
pub(super) struct Page {
    pub(super) status: &'static str,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Page {
    pub(super) fn plain(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// All there is to see, and where it comes from.
pub(super) struct Pages {
    pool: Pool,
    leases: LeasesOut,
    figures: Mutex<Option<(Instant, Figures)>>,
}

impl Pages {
    pub(super) fn new(database: &DatabaseConfig, leases: LeasesOut) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::new(database)?, leases, figures: Mutex::default() })
    }

    pub(super) fn find(&self, path: &str) -> Page {
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => health(),
            "/readyz" => self.readiness(),
            "/" => Page::plain("200 OK", "postrider: /metrics /healthz /readyz\n"),
            _ => Page::plain("404 Not Found", "there are /metrics, /healthz and /readyz\n"),
        }
    }

    fn metrics(&self) -> Page {
        let mut body = metrics::text();
        head(&mut body, "postrider_leases_out", "gauge", "Leases that this worker has out.");
        _ = writeln!(body, "postrider_leases_out {}", self.leases.get());
        // Figures of the process are worth having without those of the database.
        let figures = self.figures();
        head(
            &mut body,
            "postrider_database_up",
            "gauge",
            "Whether the database answered just now.",
        );
        _ = writeln!(body, "postrider_database_up {}", i32::from(figures.is_ok()));
        if let Ok(figures) = figures {
            write_figures(&mut body, &figures);
        }
        Page { status: "200 OK", kind: "text/plain; version=0.0.4; charset=utf-8", body }
    }

    fn figures(&self) -> Result<Figures, StoreError> {
        let mut kept = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, figures)) = *kept
            && at.elapsed() < FIGURES_AGE_MAX
        {
            return Ok(figures);
        }
        let figures = figures::read(&mut *self.pool.get()?)?;
        *kept = Some((Instant::now(), figures));
        Ok(figures)
    }

    fn readiness(&self) -> Page {
        let health = health();
        if health.status != "200 OK" {
            return health;
        }
        let checked = self.pool.get().map_err(migrate::MigrateError::Store);
        match checked.and_then(|mut client| migrate::check(&mut client)) {
            Ok(()) => Page::plain("200 OK", format!("{}database ok\n", health.body)),
            Err(err) => {
                let body = format!("{}database: {err}\n", health.body);
                Page::plain("503 Service Unavailable", body)
            }
        }
    }
}

fn health() -> Page {
    let mut body = String::new();
    let mut well = true;
    for (name, state) in beats::states() {
        let word = match state {
            None => "not running",
            Some(true) => "ok",
            Some(false) => "stuck",
        };
        well &= state != Some(false);
        _ = writeln!(body, "{name} {word}");
    }
    Page::plain(if well { "200 OK" } else { "503 Service Unavailable" }, body)
}

fn write_figures(body: &mut String, figures: &Figures) {
    head(body, "postrider_queue_messages", "gauge", "Live messages, by status.");
    let depths = [
        ("pending", figures.pending),
        ("leased", figures.leased),
        ("temporary_failure", figures.temporary_failure),
    ];
    for (status, count) in depths {
        _ = writeln!(body, "postrider_queue_messages{{status=\"{status}\"}} {count}");
    }
    head(
        body,
        "postrider_lapsed_leases",
        "gauge",
        "Leases that ran out, their messages not acquired again.",
    );
    _ = writeln!(body, "postrider_lapsed_leases {}", figures.lapsed);
    head(body, "postrider_oldest_due_seconds", "gauge", "Age of the oldest message that is due.");
    _ = writeln!(body, "postrider_oldest_due_seconds {}", figures.oldest_due_seconds);
    head(
        body,
        "postrider_oldest_snapshot_seconds",
        "gauge",
        "Age of the transaction that holds back cleaning.",
    );
    _ = writeln!(body, "postrider_oldest_snapshot_seconds {}", figures.oldest_snapshot_seconds);
    let transactions = figures.oldest_snapshot_transactions;
    head(
        body,
        "postrider_oldest_snapshot_transactions",
        "gauge",
        "The same in transactions begun since.",
    );
    _ = writeln!(body, "postrider_oldest_snapshot_transactions {transactions}");
}
