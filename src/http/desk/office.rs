//! Where the machine is looked after: what an operator sees and does, and what shows an auditor and the
//! Operational Lead that it is done. No page here opens a message, and none says whom one is about.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::get;
use tokio::sync::{mpsc, oneshot};

use super::timeliness::Kept;
use super::{agencies, letters, may, record, revoke, timeliness};
use crate::directory::permission::Action;
use crate::http::api::Api;
use crate::http::health::{Concerns, Reload, Reloaded};
use crate::register::{Register, Told};

/// What these pages need besides what others do.
#[derive(Clone)]
pub struct Office {
    /// What every page needs.
    pub(super) api: Api,
    /// The register of certificates.
    pub(super) register: Register,
    /// What an operator should look at.
    pub(super) concerns: Arc<Concerns>,
    /// The figures that were made last.
    pub(super) figures: Arc<Kept>,
    reload: mpsc::Sender<Reload>,
}

impl Office {
    /// The office of this gateway; `reload` is where it is told that something changed.
    pub fn new(
        api: Api,
        register: Register,
        concerns: Arc<Concerns>,
        reload: mpsc::Sender<Reload>,
    ) -> Self {
        Self { api, register, concerns, figures: Arc::default(), reload }
    }

    /// Has this gateway take what was changed into use, as it does for a command.
    pub(super) async fn tell(&self) -> Told {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            if self.reload.send(Reload(reply)).await.is_err() {
                return Told::NotRunning;
            }
            match answer.await {
                Ok(Ok(Reloaded { cut, .. })) => Told::InUse { cut: cut as u64 },
                Ok(Err(error)) => {
                    tracing::error!(error, "changed files were not taken into use");
                    Told::Failed
                }
                Err(_) => Told::NotRunning,
            }
        };
        tokio::time::timeout(TELLING, asked).await.unwrap_or(Told::Failed)
    }
}

impl FromRef<Office> for Api {
    fn from_ref(office: &Office) -> Self {
        office.api.clone()
    }
}

/// The office's routes.
pub(super) fn routes(office: Office) -> Router<Api> {
    let api = office.api.clone();
    let sees = |methods| may(&api, Action::SeeAgencies, methods);
    let revokes = |methods| may(&api, Action::RevokeCertificate, methods);
    Router::new()
        .route("/agencies", sees(get(agencies::list)))
        .route("/agencies/{agency}", sees(get(agencies::agency)))
        .route("/agencies/{agency}/revoke", revokes(get(revoke::before_all)))
        .route(
            "/agencies/{agency}/revoke/confirm",
            revokes(get(revoke::ask_all).post(revoke::revoke_all)),
        )
        .route("/agencies/{agency}/certificates/{serial}", sees(get(revoke::certificate)))
        .route("/agencies/{agency}/certificates/{serial}/revoke", revokes(get(revoke::before)))
        .route(
            "/agencies/{agency}/certificates/{serial}/revoke/confirm",
            revokes(get(revoke::ask).post(revoke::revoke)),
        )
        .route("/dead-letters", sees(get(letters::list)))
        .route("/log", may(&api, Action::ReadLog, get(record::log)))
        .route("/timeliness", may(&api, Action::ReadFigures, get(timeliness::figures)))
        .route("/timeliness/plot", may(&api, Action::ReadFigures, get(timeliness::plot)))
        .with_state(office)
}

/// How long the gateway may take to cut off whoever is connected: as long as a command waits for it.
const TELLING: Duration = Duration::from_secs(15);
