//! `[notices]`: the mail server through which people are told that something waits, and who is told.

use std::net::IpAddr;
use std::path::PathBuf;

use super::number;
use crate::directory::document::Section;
use crate::directory::shape::{self, Loopback, Misshapen, is_host_name};

/// E-mail notices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoticeSettings {
    /// The mail server; none when nobody is told anything by e-mail.
    pub server: Option<MailServer>,
    /// The address in the notices' From.
    pub from: String,
    /// Where the notices say that one can look; none when they do not say.
    pub desk_url: Option<String>,
    /// Whom to tell what the operators look after.
    pub operators: Vec<String>,
    /// How often it is looked whether there is anything to tell.
    pub every_s: u32,
}

impl NoticeSettings {
    /// The file with the mail server's password, if it asks for one; a secret.
    pub fn password_file(&self) -> Option<&PathBuf> {
        Some(&self.server.as_ref()?.login.as_ref()?.1)
    }
}

/// A mail server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailServer {
    /// Its host, a name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How what is said to it is kept from others.
    pub encryption: Encryption,
    /// Whose certificates it may show, a PEM file relative to the home folder; the authorities that
    /// browsers trust when none.
    pub authorities: Option<PathBuf>,
    /// As whom the gateway logs in, and the file with the password, relative to the home folder.
    pub login: Option<(String, PathBuf)>,
}

/// How what is said to a mail server is kept from others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// Not at all: it is on this machine.
    None,
    /// By TLS once it was asked for, and never without.
    StartTls,
    /// By TLS from the first byte.
    Tls,
}

pub(super) fn notices(mut section: Section<'_>) -> NoticeSettings {
    let kinds =
        [("none", Encryption::None), ("starttls", Encryption::StartTls), ("tls", Encryption::Tls)];
    let encryption = section.choice("encryption", &kinds).unwrap_or(Encryption::StartTls);
    let authorities = section.text("authorities").map(PathBuf::from);
    let login = login(&mut section);
    let server = server(&mut section).map(|(host, port)| MailServer {
        host,
        port,
        encryption,
        authorities,
        login,
    });
    let settings = NoticeSettings {
        from: section.text("from").unwrap_or_default().to_owned(),
        desk_url: section.text("desk_url").map(str::to_owned),
        operators: section.texts("operators").into_iter().map(|(_, to)| to.to_owned()).collect(),
        every_s: number(&mut section, "every_s", 1..=3_600, 60),
        server,
    };
    hold(&section, &settings);
    section.finish();
    settings
}

// As whom and with which password: both or neither.
fn login(section: &mut Section<'_>) -> Option<(String, PathBuf)> {
    let user = section.text("user").map(str::to_owned);
    let password = section.text("password_file").map(PathBuf::from);
    let lonely = match (user, password) {
        (Some(user), Some(password)) => return Some((user, password)),
        (None, None) => return None,
        (Some(_), None) => "user",
        (None, Some(_)) => "password_file",
    };
    section.wrong(
        lonely,
        "is one of two settings that belong together",
        "Write user and password_file, or neither where the server does not ask for them",
    );
    None
}

// Where the mail server is.
fn server(section: &mut Section<'_>) -> Option<(String, u16)> {
    let text = section.text("server")?;
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        let is_host = match inner {
            Some(_) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host_name(host),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        is_host.then(|| (host.to_owned(), port))
    });
    if parsed.is_none() {
        section.wrong(
            "server",
            "is not a host and port",
            "Write them with a colon between, such as \"mail.example.org:587\"",
        );
    }
    parsed
}

// What fits together. Once there is a server, somebody is told something by it.
fn hold(section: &Section<'_>, settings: &NoticeSettings) {
    let Some(server) = &settings.server else {
        let said = ["authorities", "desk_url", "from", "password_file", "user"];
        let said = said.into_iter().filter(|key| section.has(key));
        let operators = (!settings.operators.is_empty()).then_some("operators");
        for key in said.chain(operators) {
            if !section.has("server") {
                section.wrong(
                    key,
                    "is of no use without server: nothing is sent by e-mail",
                    "Name the mail server, or remove the key",
                );
            }
        }
        return;
    };
    if server.encryption == Encryption::None && !is_this_machine(&server.host) {
        section.wrong(
            "encryption",
            "is \"none\", and the server is not on this machine: others could read and change what \
             is said to it",
            "Write \"starttls\" or \"tls\"; \"none\" is for a mail server at a loopback address",
        );
    }
    if server.encryption == Encryption::None && server.authorities.is_some() {
        section.wrong(
            "authorities",
            "is of no use with encryption = \"none\"",
            "Write \"starttls\" or \"tls\", or remove the key",
        );
    }
    if section.has("from") {
        misshapen(section, "from", shape::email(&settings.from));
    } else {
        section.wrong(
            "from",
            "is missing",
            "Write the address that notices come from, such as \"mash-gateway@example.org\"",
        );
    }
    for (at, operator) in settings.operators.iter().enumerate() {
        misshapen(section, &format!("operators[{at}]"), shape::email(operator));
    }
    if let Some(url) = &settings.desk_url {
        misshapen(section, "desk_url", shape::push_url(url, Loopback::Allowed));
    }
}

fn misshapen(section: &Section<'_>, field: &str, shape: Result<(), Misshapen>) {
    if let Err(Misshapen { problem, remedy }) = shape {
        section.wrong(field, problem, remedy);
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &str) -> Result<NoticeSettings, crate::directory::document::Mistakes> {
        let text = format!("domain = \"mash.example.org\"\n[notices]\n{lines}\n");
        Config::parse(&text).map(|config| config.notices)
    }

    #[test]
    fn nothing_is_sent_unless_a_server_is_named() {
        assert_eq!(read("").unwrap().server, None);
        let mail = "server = \"mail.example.org:587\"\nfrom = \"mash-gateway@example.org\"";
        let server = read(mail).unwrap().server.unwrap();
        assert_eq!((server.host.as_str(), server.port), ("mail.example.org", 587));
        assert_eq!(server.encryption, Encryption::StartTls);
        let here = "server = \"[::1]:25\"\nencryption = \"none\"\nfrom = \"a@example.org\"";
        assert_eq!(read(here).unwrap().server.unwrap().host, "::1");
    }

    #[test]
    fn every_mistake_says_where_what_and_what_to_do() {
        let mail = "server = \"mail.example.org:587\"\n";
        let from = "from = \"mash-gateway@example.org\"\n";
        for (lines, field, problem, remedy) in [
            ("server = \"mail.example.org\"".to_owned(), "server", "host and port", ":587"),
            ("server = \"mail example:25\"".to_owned(), "server", "host and port", ":587"),
            ("server = \"mail.example.org:0\"".to_owned(), "server", "host and port", ":587"),
            (mail.to_owned(), "from", "missing", "come from"),
            (format!("{mail}from = \"nobody\""), "from", "not an e-mail address", "plain address"),
            (format!("{mail}{from}encryption = \"none\""), "encryption", "could read", "starttls"),
            (format!("{mail}{from}encryption = \"ssl\""), "encryption", "choices", "starttls"),
            (format!("{mail}{from}user = \"gateway\""), "user", "belong together", "password_file"),
            (format!("{mail}{from}password_file = \"p\""), "password_file", "belong", "user"),
            (
                format!("{mail}{from}operators = [\"Ann <a@example.org>\"]"),
                "operators[0]",
                "not an e-mail address",
                "without a name",
            ),
            (format!("{mail}{from}desk_url = \"http://a.b/\""), "desk_url", "https", "https"),
            (format!("{mail}{from}every_s = 0"), "every_s", "range", "1 to 3600"),
            (format!("{mail}{from}port = 25"), "port", "not a known", "Known here"),
            ("desk_url = \"https://a.b/\"".to_owned(), "desk_url", "of no use", "mail server"),
            (
                format!(
                    "server = \"127.0.0.1:25\"\n{from}encryption = \"none\"\nauthorities = \"a\""
                ),
                "authorities",
                "of no use",
                "starttls",
            ),
        ] {
            let found = read(&lines).expect_err(&lines);
            let [found] = found.all() else { panic!("{lines}: {found}") };
            assert_eq!(found.field, format!("notices.{field}"), "{lines}");
            assert!(found.problem.contains(problem), "{lines}: {found}");
            assert!(found.remedy.contains(remedy), "{lines}: {found}");
        }
    }
}
