//! The shapes of the values a directory holds: telephones, e-mail addresses, push URLs.
//!
//! Each check answers with a problem and a remedy, and never with the value it looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a value is not what its field wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Misshapen {
    /// What is wrong.
    pub(crate) problem: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

const fn misshapen(problem: &'static str, remedy: &'static str) -> Result<(), Misshapen> {
    Err(Misshapen { problem, remedy })
}

/// A telephone number: `+` or a leading 0, then digits, however they are spaced; `;ext=` allowed.
pub(crate) fn telephone(text: &str) -> Result<(), Misshapen> {
    let (number, extension) = text.split_once(";ext=").unwrap_or((text, "0"));
    let international = number.starts_with('+');
    let number = number.strip_prefix('+').unwrap_or(number);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let good = number.bytes().all(|c| c.is_ascii_digit() || b" -().".contains(&c))
        && (international || number.trim_start_matches([' ', '(']).starts_with('0'))
        && (9..=15).contains(&digits)
        && (1..=8).contains(&extension.len())
        && extension.bytes().all(|c| c.is_ascii_digit());
    if good {
        return Ok(());
    }
    misshapen(
        "is not a telephone number",
        "Write it with its area code or country code, such as \"01632 960123\" or \
         \"+44 1632 960123;ext=45\"",
    )
}

/// An e-mail address whose domain still exists.
pub(crate) fn email(text: &str) -> Result<(), Misshapen> {
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        let odd = |c: char| c.is_whitespace() || "<>()[],;:\\\"".contains(c);
        !local.is_empty() && !local.contains(odd) && domain.contains('.') && is_host_name(domain)
    });
    if !good {
        return misshapen(
            "is not an e-mail address",
            "Write one plain address, without a name or brackets around it",
        );
    }
    if is_retired_domain(text.rsplit('@').next().unwrap_or_default()) {
        return misshapen(
            "is in a retired government mail domain, where nothing arrives",
            "Ask the agency for its present secure address (for example on nhs.net, police.uk or \
             gov.uk), or remove the key: e-mail only ever says that something waits",
        );
    }
    Ok(())
}

/// A SHA-256, as `sha256sum` prints it.
pub(crate) fn sha256(text: &str) -> Result<(), Misshapen> {
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.len() == 64 && text.bytes().all(is_hex) {
        return Ok(());
    }
    misshapen("is not a SHA-256", "Write its 64 digits and small letters, as sha256sum prints them")
}

/// An organisation's code in the NHS Organisation Data Service.
pub(crate) fn ods_code(text: &str) -> Result<(), Misshapen> {
    let plain = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit();
    if (3..=10).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    misshapen(
        "is not an ODS code",
        "Write 3 to 10 capital letters and digits, as the NHS Organisation Data Service lists it",
    )
}

/// Text that looks like an age X25519 recipient. The sealer, which knows age, reads it for real.
pub(crate) fn age_recipient(text: &str) -> Result<(), Misshapen> {
    const BECH32: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let good = text
        .strip_prefix("age1")
        .is_some_and(|rest| rest.len() == 58 && rest.bytes().all(|c| BECH32.contains(&c)));
    if good {
        return Ok(());
    }
    if text.starts_with("AGE-SECRET-KEY-") {
        return misshapen(
            "is a SECRET key, and now in a file that others read",
            "Remove it, treat that key as lost, make another with `age-keygen`, and write only its \
             public half: age1…",
        );
    }
    misshapen(
        "is not an age recipient",
        "Write the public key `age-keygen` printed: age1 and 58 small letters and digits",
    )
}

/// Whether endpoints on this machine may be named: for tests and the demonstration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loopback {
    Allowed,
    Refused,
}

/// A URL the gateway may push to.
pub(crate) fn push_url(url: &str, loopback: Loopback) -> Result<(), Misshapen> {
    let Some(rest) = url.strip_prefix("https://") else {
        return misshapen("does not start with https://", "Give the endpoint's https:// address");
    };
    let plain = |c: u8| c.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&c);
    if !url.bytes().all(plain) {
        return misshapen(
            "holds a space or a character that URLs do not",
            "Write it in ASCII, with anything else percent-encoded",
        );
    }
    if url.contains(['?', '#']) {
        return misshapen(
            "has a query or a fragment",
            "Give scheme, host, port and path only; the endpoint knows us by our certificate",
        );
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return misshapen(
            "holds a user name or password",
            "Remove everything up to the @; the endpoint knows us by our certificate",
        );
    }
    let (host, port) = match authority.rfind(':').filter(|colon| *colon >= last(authority, ']')) {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    if host.is_empty() {
        return misshapen("has no host", "Write the endpoint's host after https://");
    }
    let digits = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    if port.is_some_and(|port| !digits(port) || port.parse::<u16>().unwrap_or(0) == 0) {
        return misshapen("has a port that is not one", "Write a port from 1 to 65535, or none");
    }
    push_host(&host.to_ascii_lowercase(), loopback)
}

fn push_host(host: &str, loopback: Loopback) -> Result<(), Misshapen> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    };
    match address {
        Some(address) => {
            let address = address.to_canonical();
            if address.is_loopback() {
                return this_machine(loopback);
            }
            if is_unreachable(address) {
                return misshapen(
                    "is an address no agency's endpoint can have (link-local, metadata, multicast \
                     or unspecified)",
                    "Give the agency's own host name",
                );
            }
        }
        None if !is_host_name(host) || is_odd_address(host) => {
            return misshapen(
                "has a host that is neither a name nor an IP address",
                "Write the host name in small letters, digits, hyphens and dots",
            );
        }
        None if host == "localhost" || host.ends_with(".localhost") => {
            return this_machine(loopback);
        }
        None if host == "metadata" || host.starts_with("metadata.") => {
            return misshapen(
                "is a cloud's metadata service, not an agency",
                "Give the agency's own host name",
            );
        }
        None if is_retired_domain(host) => {
            return misshapen(
                "is in a retired government domain",
                "Ask the agency for its present address",
            );
        }
        None => {}
    }
    Ok(())
}

fn this_machine(loopback: Loopback) -> Result<(), Misshapen> {
    match loopback {
        Loopback::Allowed => Ok(()),
        Loopback::Refused => misshapen(
            "is this machine",
            "Give the agency's own host name; for a trial on one machine only, set `allow_loopback \
             = true` under [push] in gateway.toml",
        ),
    }
}

fn last(text: &str, c: char) -> usize {
    text.rfind(c).unwrap_or(0)
}

fn is_unreachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || v6 == AWS_METADATA
        }
    }
}

// 2130706433, 0x7f.1 and 127.1 are old spellings of 127.0.0.1 that some resolvers still follow.
fn is_odd_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.starts_with("0x") || last.bytes().all(|c| c.is_ascii_digit())
}

/// Whether this can be the name of a host: labels of letters, digits and inner hyphens.
pub(crate) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

// The agreement still prints addresses in these; the networks behind them are switched off.
fn is_retired_domain(domain: &str) -> bool {
    const RETIRED: [&str; 5] = ["gcsx", "gse", "gsi", "gsx", "pnn"];
    let domain = domain.to_ascii_lowercase();
    ["gov.uk", "police.uk"].iter().any(|parent| {
        let above = domain.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.'));
        above.and_then(|rest| rest.rsplit('.').next()).is_some_and(|label| RETIRED.contains(&label))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telephones_are_taken_as_people_write_them() {
        for good in [
            "01632 960123",
            "(01632) 960-123",
            "+44 1632 960123",
            "020 7946 0000;ext=12",
            "+441632960123",
        ] {
            assert_eq!(telephone(good), Ok(()), "{good}");
        }
        for bad in ["", "999", "1632 960123", "01632 96O123", "01632 960123 ext 4", "+44", "0;ext="]
        {
            assert!(telephone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn retired_mail_domains_are_refused() {
        for good in ["mash@example.org", "a.b+c@sefton.example.gov.uk", "x@merseyside.police.uk"] {
            assert_eq!(email(good), Ok(()), "{good}");
        }
        for bad in ["", "a", "@b.uk", "a@b", "a b@c.uk", "A <a@c.uk>", "a@b@c.uk", "a@-b.uk"] {
            let fault = email(bad).unwrap_err();
            assert!(fault.problem.contains("not an e-mail"), "{bad}");
        }
        for network in ["gsi", "gsx", "gcsx", "gse", "pnn", "GCSX"] {
            for domain in [
                format!("{network}.gov.uk"),
                format!("example.{network}.gov.uk"),
                format!("example.{network}.police.uk"),
            ] {
                let fault = email(&format!("someone@{domain}")).unwrap_err();
                assert!(fault.problem.contains("retired"), "{domain}");
            }
        }
        assert_eq!(email("a@gsi.example.uk"), Ok(()));
        assert_eq!(email("a@notgsi.gov.uk"), Ok(()));
    }

    #[test]
    fn a_secret_key_in_the_directory_is_called_one() {
        assert_eq!(age_recipient(&format!("age1{}", "q".repeat(58))), Ok(()));
        assert!(age_recipient("age1q").is_err());
        assert!(age_recipient(&format!("age1{}", "B".repeat(58))).is_err());
        let fault = age_recipient("AGE-SECRET-KEY-1QQ").unwrap_err();
        assert!(fault.problem.contains("SECRET"));
    }

    #[test]
    fn only_an_agencys_own_address_can_be_pushed_to() {
        for good in [
            "https://officer.example.org/inbox",
            "https://officer.example.org",
            "https://officer.example.org:8443/a/b",
            "https://192.0.2.7/x",
            "https://[2001:db8::1]:9000/x",
            "https://10.1.2.3/inbox",
        ] {
            assert_eq!(push_url(good, Loopback::Refused), Ok(()), "{good}");
        }
        for (bad, problem) in [
            ("http://officer.example.org/", "https://"),
            ("HTTPS://officer.example.org/", "https://"),
            ("https://", "no host"),
            ("https:///inbox", "no host"),
            ("https://:443/inbox", "no host"),
            ("https://me:secret@officer.example.org/", "user name"),
            ("https://officer.example.org/?key=1", "query"),
            ("https://officer.example.org/#a", "query or a fragment"),
            ("https://officer.example.org/a b", "a space"),
            ("https://officer.example.org\\@evil.example/", "a space or a character"),
            ("https://officer.example.org:0/", "port"),
            ("https://officer.example.org:70000/", "port"),
            ("https://officer.example.org:+443/", "port"),
            ("https://officer.example.org:/", "port"),
            ("https://officer.example.org./", "neither a name"),
            ("https://under_score.example.org/", "neither a name"),
            ("https://[::1/", "neither a name"),
            ("https://[fe80::1%25eth0]/", "neither a name"),
            ("https://2130706433/", "neither a name"),
            ("https://0x7f.1/", "neither a name"),
            ("https://127.1/", "neither a name"),
            ("https://0.0.0.0/", "link-local"),
            ("https://169.254.169.254/latest", "link-local"),
            ("https://224.0.0.1/", "link-local"),
            ("https://255.255.255.255/", "link-local"),
            ("https://[fe80::1]/", "link-local"),
            ("https://[ff02::1]/", "link-local"),
            ("https://[fd00:ec2::254]/", "link-local"),
            ("https://[::ffff:169.254.169.254]/", "link-local"),
            ("https://[::]/", "link-local"),
            ("https://metadata.google.internal/", "metadata"),
            ("https://push.example.pnn.police.uk/", "retired"),
        ] {
            // Permission to use this machine is not permission for anything else.
            for loopback in [Loopback::Allowed, Loopback::Refused] {
                let fault = push_url(bad, loopback).expect_err(bad);
                assert!(fault.problem.contains(problem), "{bad}: {}", fault.problem);
            }
        }
        for local in [
            "https://127.0.0.1:9/x",
            "https://127.9.9.9/",
            "https://[::1]:9/x",
            "https://[::ffff:127.0.0.1]/",
            "https://localhost:9/x",
            "https://LocalHost:9/x",
            "https://a.localhost/",
        ] {
            assert_eq!(push_url(local, Loopback::Allowed), Ok(()), "{local}");
            let fault = push_url(local, Loopback::Refused).expect_err(local);
            assert_eq!(fault.problem, "is this machine", "{local}");
        }
    }
}
