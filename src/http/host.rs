//! Whom a request is for: exactly one name, and one of ours.
//!
//! A page elsewhere can give its own name our address and have a browser ask us with whatever
//! certificate it holds (DNS rebinding); a proxy and a server that take different names from one
//! request can be told different things. Neither gets further than this.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, UPGRADE};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Version};

/// The names that a door answers to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostNames(BTreeSet<String>);

impl HostNames {
    /// These, which are DNS names or IP addresses, and no others.
    pub fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(names.into_iter().map(|name| spelled(name.as_ref())).collect())
    }

    /// What this machine calls itself.
    pub fn of_this_machine() -> Self {
        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        Self::new(addresses.iter().map(IpAddr::to_string).chain(["localhost".to_owned()]))
    }

    /// Why this request is not one to one of these names, as a code, if it is not.
    pub fn fault<B>(&self, request: &Request<B>) -> Option<&'static str> {
        if request.headers().contains_key(UPGRADE) {
            return Some("upgrade");
        }
        if request.method() == Method::CONNECT {
            return Some("not-a-path");
        }
        let uri = request.uri();
        let mut hosts = request.headers().get_all(HOST).iter();
        let said = match (request.version() == Version::HTTP_2, hosts.next(), hosts.next()) {
            (_, Some(_), Some(_)) => return Some("two-hosts"),
            // RFC 9113, 8.3.1: the pseudo-header, and beside it nothing else.
            (true, host, _) => match (uri.authority(), host) {
                (Some(authority), None) => authority.as_str().as_bytes(),
                (Some(authority), Some(host)) if authority.as_str() == host => host.as_bytes(),
                (Some(_), Some(_)) => return Some("two-hosts"),
                (None, Some(host)) => host.as_bytes(),
                (None, None) => return Some("no-host"),
            },
            // As for a proxy: another name, and another way to be understood differently.
            (false, _, _) if uri.scheme().is_some() || uri.authority().is_some() => {
                return Some("not-a-path");
            }
            (false, Some(host), None) => host.as_bytes(),
            (_, None, _) => return Some("no-host"),
        };
        let is_ours = name_in(said).is_some_and(|name| self.0.contains(&name));
        if is_ours { None } else { Some("foreign-host") }
    }
}

// The name in a Host header, without its port: there is one spelling of each.
fn name_in(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?;
    if host.contains('@') {
        return None;
    }
    let authority: Authority = host.parse().ok()?;
    // A colon with nothing after it is a port that was left out.
    let rest = host.get(authority.host().len()..)?;
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
        .then(|| spelled(authority.host()))
}

fn spelled(name: &str) -> String {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        // The dot at the end of a whole name says nothing here.
        Err(_) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(version: Version, uri: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        let names = HostNames::new(["mash.example.org", "192.0.2.7", "2001:db8::7"]);
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        names.fault(&request.body(()).unwrap())
    }

    #[test]
    fn one_name_of_ours_however_it_is_spelled() {
        for host in [
            "mash.example.org",
            "mash.example.org:8443",
            "mash.example.org:",
            "MASH.Example.org.",
            "192.0.2.7:8443",
            "[2001:DB8::7]:8443",
            "[2001:db8:0:0::7]",
        ] {
            assert_eq!(fault(Version::HTTP_11, "/v1/inbox", &[("host", host)]), None, "{host}");
            let uri = format!("https://{host}/v1/inbox");
            assert_eq!(fault(Version::HTTP_2, &uri, &[]), None, "{host}");
        }
    }

    #[test]
    fn nobody_elses_and_no_second_one() {
        for host in [
            "evil.example",
            "mash.example.org.evil.example",
            "xmash.example.org",
            "mash.example.org..",
            "mash.example.org:8443:1",
            "mash.example.org:port",
            "mash.example.org:99999",
            "mash.example.org, evil.example",
            "user@mash.example.org",
            "192.0.2.70",
            "[2001:db8::8]",
            "",
        ] {
            let found = fault(Version::HTTP_11, "/v1/inbox", &[("host", host)]);
            assert_eq!(found, Some("foreign-host"), "{host}");
        }
        let ours = ("host", "mash.example.org");
        for (version, uri, headers, found) in [
            (Version::HTTP_11, "/", &[][..], "no-host"),
            (Version::HTTP_10, "/", &[], "no-host"),
            (Version::HTTP_2, "/", &[], "no-host"),
            (Version::HTTP_11, "/", &[ours, ours], "two-hosts"),
            (Version::HTTP_2, "https://mash.example.org/", &[ours, ours], "two-hosts"),
            (
                Version::HTTP_2,
                "https://mash.example.org/",
                &[("host", "evil.example")],
                "two-hosts",
            ),
            (Version::HTTP_11, "https://mash.example.org/", &[ours], "not-a-path"),
            (Version::HTTP_11, "mash.example.org:8443", &[ours], "not-a-path"),
            (Version::HTTP_11, "/", &[ours, ("upgrade", "h2c")], "upgrade"),
            (Version::HTTP_11, "/", &[ours, ("upgrade", "websocket")], "upgrade"),
        ] {
            assert_eq!(fault(version, uri, headers), Some(found), "{uri} {headers:?}");
        }
    }
}
