//! Who sits at the desk: the one place where a request becomes somebody's.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;

use crate::directory::Admission;
use crate::http::api::Api;
use crate::message::{AgencyId, Role};
use crate::pki::identity::Peer;
use crate::problem::{Problem, ProblemType};

/// A person whose certificate is good, in a role that their agency has. Only [`Visitor::admit`] makes one,
/// and no page can be asked for without.
#[derive(Clone)]
pub(super) struct Visitor {
    peer: Arc<Peer>,
    role: Role,
    at: Timestamp,
}

impl Visitor {
    /// Lets a person in whose certificate it is; `at` is when they ask.
    pub(super) fn admit(api: &Api, peer: Arc<Peer>, at: Timestamp) -> Result<Self, Problem> {
        let Some(role) = peer.role() else {
            let detail = "This certificate is a program's. Pages are for people, who each have one of \
                          their own.";
            return Err(Problem::new(ProblemType::RoleNotPermitted, detail));
        };
        match api.gateway.directory().admission(peer.agency(), at) {
            Admission::Everything => Ok(Self { peer, role, at }),
            Admission::Nothing | Admission::TestsOnly => Err(Problem::new(
                ProblemType::AgencyInactive,
                "Your agency does not take part now, or not yet.",
            )),
        }
    }

    /// Their agency.
    pub(super) fn agency(&self) -> &AgencyId {
        self.peer.agency()
    }

    /// Their role there.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// The serial of their certificate, for the log.
    pub(super) fn certificate(&self) -> Option<&str> {
        Some(self.peer.serial())
    }

    /// When they ask.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Problem::new(ProblemType::CertificateRefused, "There is no certificate.")
        })
    }
}

/// Whether another site's page had the browser ask this. A certificate goes with whatever a browser is made
/// to ask: so only our own pages send anything, and from elsewhere, such as a notice's link, only the start
/// page is opened.
pub(super) fn is_foreign(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let header = |name: header::HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let is_safe = matches!(*method, Method::GET | Method::HEAD);
    match (site, header(header::ORIGIN)) {
        (Some(b"same-origin"), _) => false,
        (Some(b"none"), _) => !is_safe,
        (Some(_), _) => !(is_safe && path == "/"),
        (None, None) => false,
        (None, Some(origin)) => {
            let host = header(header::HOST).unwrap_or_default();
            origin.strip_prefix(b"https://") != Some(host) && !(is_safe && path == "/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_send_anything() {
        let foreign = |method: &Method, path: &str, given: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("mash.example:8444"));
            for (name, value) in given {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_foreign(method, path, &headers)
        };
        let (get, post) = (Method::GET, Method::POST);
        let site = |value| [("sec-fetch-site", value)];
        for (method, path, site_is, is_refused) in [
            (&get, "/requests", "same-origin", false),
            (&get, "/requests", "none", false),
            (&get, "/requests", "cross-site", true),
            (&get, "/requests", "same-site", true),
            (&get, "/", "cross-site", false),
            (&post, "/requests/x/open", "same-origin", false),
            (&post, "/requests/x/open", "none", true),
            (&post, "/requests/x/open", "same-site", true),
            (&post, "/", "cross-site", true),
        ] {
            assert_eq!(
                foreign(method, path, &site(site_is)),
                is_refused,
                "{method} {path} {site_is}"
            );
        }
        // A browser that does not say the one says the other.
        assert!(foreign(&post, "/x", &[("origin", "https://evil.example")]));
        assert!(foreign(&post, "/x", &[("origin", "null")]));
        assert!(foreign(&post, "/x", &[("origin", "http://mash.example:8444")]));
        assert!(!foreign(&post, "/x", &[("origin", "https://mash.example:8444")]));
        assert!(!foreign(&post, "/x", &[]));
    }
}
