//! Who asks, and whether they may ask now: the same at the partner API and at the desk.

use std::sync::Arc;

use axum::http::HeaderMap;
use jiff::Timestamp;

use crate::http::api::Api;
use crate::http::connection::Guest;
use crate::http::share::Place;
use crate::message::AgencyId;
use crate::pki::identity::{Peer, Standing};
use crate::problem::{Problem, ProblemType};
use crate::telemetry::Limit;

/// One request, received: whose it is. The agency's place among the requests in hand is given up when this
/// is dropped.
pub(super) struct Reception {
    peer: Result<Arc<Peer>, Problem>,
    agency: Option<AgencyId>,
    allowed: Option<Result<u32, u32>>,
    place: Option<Option<Place<AgencyId>>>,
}

impl Reception {
    /// Receives a request of this guest; `is_foreign` says that another site's page had a browser make it.
    pub(super) fn of(api: &Api, guest: Option<&Guest>, is_foreign: bool, at: Timestamp) -> Self {
        let known = identify(api, guest, at);
        let agency = known.as_ref().ok().map(|peer| peer.agency().clone());
        let allowed = agency.as_ref().map(|agency| api.rate.take(agency));
        // Until it is answered.
        let place =
            agency.as_ref().map(|agency| api.in_hand.enter(agency.clone(), api.in_hand_max));
        let peer = known
            .and_then(|peer| if is_foreign { Err(cross_site()) } else { Ok(peer) })
            .and_then(|peer| match &allowed {
                Some(Err(wait_s)) => {
                    api.metrics.limit_reached(Limit::RequestsPerMinute);
                    Err(too_many(format!("Your agency may ask again in {wait_s} s.")))
                }
                Some(Ok(_)) | None => Ok(peer),
            })
            .and_then(|peer| match &place {
                Some(None) => {
                    api.metrics.limit_reached(Limit::RequestsAtOnce);
                    let detail = "Your agency has as many requests in hand as it may.";
                    Err(too_many(detail.to_owned()))
                }
                Some(Some(_)) | None => Ok(peer),
            });
        Self { peer, agency, allowed, place }
    }

    /// Who asks, if they may.
    pub(super) fn peer(&self) -> Result<Arc<Peer>, Problem> {
        self.peer.clone()
    }

    /// Whose certificate it is, be it that they may not ask now.
    pub(super) fn agency(&self) -> Option<&AgencyId> {
        self.agency.as_ref()
    }

    /// Whether whoever asks is turned away for good, and not only for now.
    pub(super) fn is_nobody(&self) -> bool {
        let is_for_now = matches!(self.allowed, Some(Err(_))) || matches!(self.place, Some(None));
        self.peer.is_err() && !is_for_now
    }

    /// Says in an answer's headers how often the agency may still ask.
    pub(super) fn say(&self, api: &Api, headers: &mut HeaderMap) {
        if let Some(allowed) = self.allowed {
            api.rate.say(allowed, headers);
        }
    }
}

fn cross_site() -> Problem {
    let detail = "A page that is not this gateway's own made a browser ask this.";
    Problem::new(ProblemType::CrossSite, detail)
}

fn too_many(detail: String) -> Problem {
    Problem::new(ProblemType::TooManyRequests, detail)
}

fn identify(api: &Api, guest: Option<&Guest>, at: Timestamp) -> Result<Arc<Peer>, Problem> {
    let refused = |reason, detail: &str| {
        Err(Problem::new(ProblemType::CertificateRefused, detail).with_reason(reason))
    };
    match guest {
        Some(Guest::Named(peer, from)) => match api.registry.borrow().standing(peer.sha256(), at) {
            Standing::Active => {
                api.presence.used(peer.sha256(), *from, at);
                Ok(Arc::clone(peer))
            }
            Standing::Revoked => {
                let problem = Problem::new(ProblemType::CertificateRevoked, "It was revoked.");
                Err(problem.with_reason("certificate-revoked"))
            }
            Standing::Expired => refused("certificate-expired", "The certificate has expired."),
            Standing::Unknown => refused(
                "certificate-not-registered",
                "The certificate is not on this gateway's register.",
            ),
        },
        Some(Guest::Refused(code)) => refused(
            code,
            &format!("The certificate does not name exactly one agency of this gateway ({code})."),
        ),
        Some(Guest::Nobody(_)) | None => refused("certificate-missing", "There is no certificate."),
    }
}
