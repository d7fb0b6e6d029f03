//! An update through the API: its bytes are forwarded in pieces and never stored.

use embedded_svc::http::server::asynch::Connection;
use loka_stratum::limits::{UPDATE_HEADER_BYTES_MAX, UPDATE_IMAGE_BYTES_MAX};

use super::answer::{Answer, Fault};
use super::api::{self, Api};
use super::guard::Bearer;
use crate::gateway::base::answer::Whence;
use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::update::trial;

/// The path.
pub const PATH: &str = "/api/v1/update";

/// Bytes read per step while the rest of a refused file is drained.
const PASSED_BYTES: usize = 4096;

impl Api<'_> {
    /// Installs an update, and reboots the machine after the answer.
    pub(super) async fn update<C: Connection>(
        &self,
        connection: &mut C,
        query: &str,
        bearer: Option<Bearer>,
    ) -> Answer {
        let may_downgrade = match api::value(query, "downgrade") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Fault::new(400, "downgrade: allowed true or false").into(),
        };
        let (from, role) = (self.peer.address, bearer.map(|bearer| bearer.session.role));
        log::info(Kind::Update, format_args!("an update comes from {from}"));
        let hub = self.control.hub();
        let installed = match self.control.may_update() {
            Ok(()) => self.updates.install(hub, connection, may_downgrade).await,
            Err(refused) => Err(refused),
        };
        let note = |what: &str, result: &str| {
            self.control.note(role, Whence::Web(from), what, result);
        };
        match installed {
            Ok(installed) => {
                let what = format!("update from {} to {}", installed.from, installed.to);
                note(&what, &format!("written to slot {}, the machine reboots", installed.slot));
                event_loop::spawn("restart", trial::restart_soon(self.updates.clone()));
                Answer::json(200, &installed)
            }
            Err(refused) => {
                note("update", &refused.to_string());
                log::warn(Kind::Update, format_args!("{refused}"));
                pass_over(connection).await;
                Fault::from(refused).into()
            }
        }
    }
}

/// Drains the rest of a refused file, so that the uploader reads the reason.
async fn pass_over<C: Connection>(connection: &mut C) {
    let mut bytes = [0; PASSED_BYTES];
    let mut left = UPDATE_IMAGE_BYTES_MAX + UPDATE_HEADER_BYTES_MAX as u64;
    while let Ok(count @ 1..) = connection.read(&mut bytes).await {
        left = left.saturating_sub(count as u64);
        if left == 0 {
            return;
        }
    }
}
