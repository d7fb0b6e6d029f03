//! What the status port answers. Only embedded-svc's traits are known here.

use embedded_svc::http::Method;
use embedded_svc::http::server::asynch::{Connection, Handler};

use super::metrics;
use crate::gateway::report::Report;

/// Answers from one report.
pub struct Api<'r> {
    /// What is known at this moment.
    pub report: &'r Report,
}

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
const METRICS: (&str, &str) =
    ("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The answer shows a moment; a copy of it is of no use.
const NO_STORE: (&str, &str) = ("cache-control", "no-store");

/// Other sites must not guess at the type.
const NO_SNIFF: (&str, &str) = ("x-content-type-options", "nosniff");

const PATHS: &str = "/metrics\n/healthz\n/readyz\n/api/v1/status\n";

impl<C: Connection> Handler<C> for Api<'_> {
    type Error = C::Error;

    async fn handle(&self, connection: &mut C) -> Result<(), C::Error> {
        let (status, kind, body) = match (connection.method(), connection.uri()) {
            (Method::Get | Method::Head, path) => self.page(path),
            _ => (405, TEXT, "only GET and HEAD are answered\n".to_owned()),
        };
        connection.initiate_response(status, None, &[kind, NO_STORE, NO_SNIFF]).await?;
        connection.write_all(body.as_bytes()).await?;
        connection.flush().await
    }
}

impl Api<'_> {
    fn page(&self, path: &str) -> (u16, (&'static str, &'static str), String) {
        match path {
            "/metrics" => (200, METRICS, metrics::encode(self.report)),
            // That this is answered shows that the one thread runs.
            "/healthz" => (200, TEXT, "ok\n".to_owned()),
            "/readyz" if self.report.ready => (200, TEXT, "ready\n".to_owned()),
            "/readyz" => (503, TEXT, self.why_not_ready()),
            "/api/v1/status" => match serde_json::to_string(self.report) {
                Ok(json) => (200, JSON, json + "\n"),
                Err(error) => (500, TEXT, format!("{error}\n")),
            },
            "/" => (200, TEXT, PATHS.to_owned()),
            _ => (404, TEXT, format!("there is nothing here; there is\n{PATHS}")),
        }
    }

    fn why_not_ready(&self) -> String {
        let mut text = String::from("not ready: no pool is live\n");
        for link in &self.report.upstream {
            let error = link.error.as_deref().unwrap_or(link.state);
            text += &format!("pool {}: {error}\n", link.pool);
        }
        text
    }
}
