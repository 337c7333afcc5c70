//! `CONNECT.txt`: how one agency connects, in commands that only need openssl and curl.
//!
//! Holds no secret and nobody's name, so that it can be sent by e-mail.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::init::in_url;
use super::{Context, Exit, Failure, read_text};
use crate::config::write_synced;
use crate::directory::{Custody, Directory, Endpoint, Partner};
use crate::message::{AgencyId, Exchange, MessageId, sha256};
use crate::pki::ca;
use crate::pki::fingerprint::{fingerprint, spoken};
use crate::pki::tls::MinTls;

/// Where an agency reaches the gateway, and what else its commands depend on.
#[derive(Clone, Debug)]
pub(super) struct Connection<'a> {
    agency: &'a Partner,
    hub: &'a Partner,
    /// The names in the gateway's certificate, the first of which commands use.
    hosts: Vec<String>,
    port: u16,
    enrolment_port: u16,
    min_tls: MinTls,
}

impl<'a> Connection<'a> {
    /// What the home says of it: the names are those the gateway's certificate is for, so that the
    /// agency's check of it will hold.
    pub(super) fn of(
        context: &Context,
        directory: &'a Directory,
        agency: &'a Partner,
    ) -> Result<Self, Failure> {
        let config = super::config(&context.home)?;
        let certificate = context.home.resolve(&config.paths.tls_certificate);
        let (names, _, _) = ca::server_certificate(&read_text(&certificate)?)?;
        let hosts: Vec<_> = names.iter().map(|name| in_url(name)).collect();
        if hosts.is_empty() {
            let message = format!("{} names no host", certificate.display());
            return Err(Failure::new(Exit::Failed, message));
        }
        Ok(Self {
            agency,
            hub: directory.hub(),
            hosts,
            port: config.listen.partner_api.port(),
            enrolment_port: config.listen.enrolment.port(),
            min_tls: config.tls.min,
        })
    }

    fn url(&self) -> String {
        format!("https://{}:{}", self.hosts[0], self.port)
    }

    fn enrolment(&self) -> String {
        format!("https://{}:{}/.well-known/est", self.hosts[0], self.enrolment_port)
    }

    // curl as this agency. Nothing is said of progress, and all of failure.
    fn curl(&self) -> String {
        let id = &self.agency.id;
        format!("curl -sS --cert {id}.pem --key {id}.key --cacert ca.pem")
    }

    /// The commands that collect and answer this very test: for the operator to read out or send.
    pub(super) fn test_commands(&self, exchange: &Exchange) -> String {
        let (curl, url) = (self.curl(), self.url());
        let Exchange { id, rfi: test, .. } = exchange;
        let collect = match self.agency.endpoints.first() {
            Some(Endpoint::Push { .. }) => {
                "  the test is posted to its endpoint; the code word is under data\n".to_owned()
            }
            Some(Endpoint::Mailbox) | None => {
                format!("  {curl} {url}/v1/messages/{test}\n")
            }
        };
        let answer = self.answer(&test.to_string(), &id.to_string(), "THE-CODE-WORD-IN-IT");
        let saved = self.saved(test);
        format!("{collect}{}{saved}", indented(&answer, "  "))
    }

    fn answer(&self, test: &str, exchange: &str, code_word: &str) -> String {
        format!(
            "{} -H 'Content-Type: application/json' \\\n  \
             -H \"Idempotency-Key: $({NEW_UUID})\" \\\n  \
             -d '{{\"inReplyTo\":\"{test}\",\"codeWord\":\"{code_word}\"}}' \\\n  \
             {}/v1/exchanges/{exchange}/test-replies\n",
            self.curl(),
            self.url()
        )
    }

    fn saved(&self, test: &MessageId) -> String {
        format!("  {} -X POST {}/v1/messages/{test}/saved\n", self.curl(), self.url())
    }

    /// The text of `CONNECT.txt`.
    pub(super) fn text(&self) -> String {
        let Self { agency, hub, hosts, port, .. } = self;
        let (id, curl, url, est) = (&agency.id, self.curl(), self.url(), self.enrolment());
        let others = match &hosts[1..] {
            [] => String::new(),
            others => format!("\nAlso known as   {}", others.join(", ")),
        };
        let ring = match &hub.telephone {
            Some(telephone) => format!("{}, {telephone}", hub.name),
            None => format!("{}, on the number you have for it already", hub.name),
        };
        let mut text = format!(
            "How {name} connects to the gateway of\n{hub}\n\n\
             Your id         {id}\n\
             The gateway     {url}  (TCP port {port}, {tls}){others}\n\
             Enrolment       {est}\n\
             Who to ring     {ring}\n\n\
             There is nothing secret in this file. Commands are for a shell (sh, bash, Git Bash), in a\n\
             folder of your own; {id}.key never leaves it. You need openssl and curl.\n",
            name = agency.name,
            hub = hub.name,
            tls = match self.min_tls {
                MinTls::Tls12 => "TLS 1.2 or 1.3",
                MinTls::Tls13 => "TLS 1.3",
            },
        );
        let mut section = |title: &str, body: String| {
            let _ = write!(text, "\n{title}\n{}\n{body}", "-".repeat(title.len()));
        };
        section(
            "1. Make a key and a request",
            format!(
                "{}\nSend {id}.csr to the hub's operator. Never send {id}.key: nobody needs it but you.\n",
                indented(
                    &format!(
                        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\\n  \
                         -keyout {id}.key -out {id}.csr -subj /CN={id}\n"
                    ),
                    INDENT
                )
            ),
        );
        section(
            "2. Check what you get back",
            format!(
                "You get {id}.pem, ca.pem and log-key.txt. Ring the number above, have the fingerprint of\n\
                 ca.pem read to you, and go on only when it is the one that you see:\n\n\
                 {INDENT}openssl x509 -in ca.pem -noout -fingerprint -sha256\n\n\
                 A number that came with the files is not good enough for this: use one that you have\n\
                 from elsewhere. Then see that the certificate is yours and your key's:\n\n\
                 {INDENT}openssl verify -CAfile ca.pem -untrusted {id}.pem {id}.pem\n\
                 {INDENT}openssl x509 -in {id}.pem -noout -enddate -ext subjectAltName\n\
                 {INDENT}openssl x509 -in {id}.pem -noout -pubkey > {id}.pub\n\
                 {INDENT}openssl pkey -in {id}.key -pubout | cmp - {id}.pub\n"
            ),
        );
        section(
            "3. Or enrol with a token, without sending a request",
            format!(
                "If the operator gave you a token (it is good once, and not for long): after step 1, and\n\
                 with ca.pem checked as in step 2. curl asks for the token as a password.\n\
                 When it fails, {id}.p7 says why.\n\n\
                 {INDENT}openssl req -in {id}.csr -outform DER | openssl base64 > {id}.csr.b64\n\
                 {INDENT}curl -sS --fail-with-body --cacert ca.pem --user {id} -H 'Content-Type: application/pkcs10' \\\n\
                 {INDENT}  --data-binary @{id}.csr.b64 -o {id}.p7 {est}/simpleenroll\n\
                 {INDENT}openssl base64 -A -d -in {id}.p7 | openssl pkcs7 -inform DER -print_certs -out {id}.pem\n\n\
                 To check it as under 2, its authority's certificate is needed too:\n\n\
                 {INDENT}curl -sS --fail-with-body --cacert ca.pem -o authorities.p7 {est}/cacerts\n\
                 {INDENT}openssl base64 -A -d -in authorities.p7 \\\n\
                 {INDENT}  | openssl pkcs7 -inform DER -print_certs -out authorities.pem\n\
                 {INDENT}openssl verify -CAfile ca.pem -untrusted authorities.pem {id}.pem\n"
            ),
        );
        section(
            "4. Say who you are",
            format!(
                "{INDENT}{curl} {url}/v1/whoami\n\nThe answer has your id, and when your certificate ends.\n"
            ),
        );
        section("5. Collect a message", self.collecting());
        section(
            "6. Answer the test",
            format!(
                "Before you take part, the hub sends a test. It is about nobody. In test.json, take id,\n\
                 subject (the exchange) and the codeWord under data, and put them in here:\n\n\
                 {}{INDENT}{curl} -X POST {url}/v1/messages/MESSAGE-ID/saved\n\n\
                 A code word that is not the test's is refused. The second command says that the message\n\
                 is in your own record; for a test, that you have seen it.\n",
                indented(&self.answer("MESSAGE-ID", "EXCHANGE-ID", "CODE-WORD"), INDENT)
            ),
        );
        section(
            "7. Keep and check receipts",
            format!(
                "Whatever the gateway accepts from you has a receipt in the answer. It can be fetched again,\n\
                 and proves by itself what was accepted and when:\n\n\
                 {INDENT}{curl} -o MESSAGE-ID.receipt {url}/v1/messages/MESSAGE-ID/receipt\n\
                 {INDENT}mash-gateway receipt verify MESSAGE-ID.receipt --log-key log-key.txt\n\n\
                 The second command needs no network. A receipt is a C2SP tlog-proof: any tool for those\n\
                 checks it too.\n"
            ),
        );
        section(
            "8. Renew, well before the end",
            format!(
                "Make a new key and request each time (step 1, under new names), and either send the\n\
                 request to the operator, who runs mash-gateway cert renew {id}, or do it yourself with the\n\
                 certificate that is still good:\n\n\
                 {}\
                 {INDENT}openssl req -in new.csr -outform DER | openssl base64 > new.csr.b64\n\
                 {INDENT}{curl} --fail-with-body -H 'Content-Type: application/pkcs10' \\\n\
                 {INDENT}  --data-binary @new.csr.b64 -o new.p7 {est}/simplereenroll\n\
                 {INDENT}openssl base64 -A -d -in new.p7 | openssl pkcs7 -inform DER -print_certs -out new.pem\n\n\
                 Try step 4 with new.pem and new.key, then put them in the place of the old ones.\n",
                indented(
                    &format!(
                        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\\n  \
                         -keyout new.key -out new.csr -subj /CN={id}\n"
                    ),
                    INDENT
                )
            ),
        );
        section(
            "9. When curl fails",
            format!(
                "In TLS 1.3 a client learns only after its own handshake that its certificate was refused:\n\
                 the connection seems to open, and then breaks. echo $? shows curl's exit code.\n\n\
                 {EXIT_CODES}\n\
                 An answer with \"type\": \"urn:mash:problem:…\" came from the gateway: its title and detail\n\
                 say what to do. agency-inactive means that you are not taking part yet, or not now.\n\
                 Ring the operator with the instance in it: it is in the gateway's log too.\n"
            ),
        );
        text
    }

    fn collecting(&self) -> String {
        let (curl, url) = (self.curl(), self.url());
        let mut text = String::new();
        if let Some(Endpoint::Push { url: own, .. }) = self.agency.endpoints.first() {
            let _ = write!(
                text,
                "The gateway posts to {own},\n\
                 over mutual TLS: let in the certificate whose URI is the gateway's, from the authority\n\
                 above your own ({}.pem has it), and answer 2xx once the message is safe with you. Each\n\
                 message may come more than once: go by mash-message-id. What your endpoint does not take\n\
                 is asked for like this:\n\n",
                self.agency.id
            );
        }
        let _ = write!(
            text,
            "{INDENT}{curl} {url}/v1/inbox\n\
             {INDENT}{curl} -o test.json {url}/v1/messages/MESSAGE-ID\n\n\
             Put the id from the list in the place of MESSAGE-ID. Ask every minute or so.\n"
        );
        if self.agency.custody == Custody::Agency {
            text.push_str(
                "\nOnly your own age key opens what is sent to you; it is in data_base64:\n\n    \
                 sed 's/.*\"data_base64\":\"\\([^\"]*\\)\".*/\\1/' test.json | openssl base64 -d -A \\\n      \
                 | age -d -i your-age-key.txt\n\nThe first line of what comes out is the gateway's label.\n",
            );
        }
        text
    }
}

/// Writes the agency's `CONNECT.txt` into this folder, and returns where it is.
pub(super) fn write(
    context: &Context,
    directory: &Directory,
    agency: &Partner,
    out: &Path,
) -> Result<PathBuf, Failure> {
    let text = Connection::of(context, directory, agency)?.text();
    write_public(context, out)?;
    let path = out.join("CONNECT.txt");
    write_synced(&path, text.as_bytes(), 0o644)?;
    Ok(path)
}

/// Writes what everybody needs to check the gateway and its receipts into this folder: `ca.pem`, with
/// the roots, and `log-key.txt`.
pub(super) fn write_public(context: &Context, out: &Path) -> Result<(), Failure> {
    let (home, config) = (&context.home, super::config(&context.home)?);
    std::fs::create_dir_all(out)?;
    for (from, name) in
        [(home.resolve(&config.paths.root), "ca.pem"), (home.log_key_public(), "log-key.txt")]
    {
        write_synced(&out.join(name), read_text(&from)?.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The fingerprints of what is in `ca.pem`, to be read out: an agency goes on only when it sees the
/// same.
pub(super) fn root_fingerprints(context: &Context) -> Result<String, Failure> {
    let config = super::config(&context.home)?;
    let roots = read_text(&context.home.resolve(&config.paths.root))?;
    let mut lines = Vec::new();
    for root in ca::certificates(&roots)? {
        let sha256 = sha256(&root);
        lines.push(format!("  ca.pem       SHA256 {}", fingerprint(&sha256)));
        lines.extend(spoken(&sha256).map(|line| format!("               {line}")));
    }
    Ok(lines.join("\n"))
}

/// The request that an agency makes, as its file is called.
pub(super) fn request(agency: &AgencyId) -> String {
    format!("{agency}.csr")
}

fn indented(text: &str, indent: &str) -> String {
    text.lines().flat_map(|line| [indent, line, "\n"]).collect()
}

const INDENT: &str = "    ";

/// A random UUID, wherever there is openssl; the version and variant do not matter.
const NEW_UUID: &str =
    "openssl rand -hex 16 | sed 's/\\(.\\{8\\}\\)\\(....\\)\\(....\\)\\(....\\)/\\1-\\2-\\3-\\4-/'";

/// What curl says when a connection comes to nothing, and whose doing that is.
const EXIT_CODES: &str = "    6   the gateway's name is not known: your DNS, or a slip in the name
    7   nothing answers there: a firewall between us, or the gateway is down
    28  no answer in time: a firewall between us that drops what it does not like
    35  no handshake: no TLS version in common (see the top), or, with TLS 1.2, your
        certificate was refused as under 56
    52  the connection was closed without an answer: as under 56
    55, 56  your certificate was refused: none was sent, it is not from this gateway's
        authority, it has expired, or it was revoked. Check step 2, then ring
    58  your key or certificate cannot be read, or they do not belong together
    60  the gateway's certificate does not lead to ca.pem, or is for another name: do not
        go round this with -k. Check the fingerprint again, then ring
    77  ca.pem cannot be read
";
