//! A real mail server of others' making (aiosmtpd, as Debian has it), and what it took.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A mail server that runs until the test ends, or until it is stopped.
pub(crate) struct MailServer {
    port: u16,
    folder: TempDir,
    more: Vec<String>,
    process: Option<Child>,
}

/// What it took.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// To whom it was handed over.
    pub(crate) to: String,
    /// All of it, as it came.
    pub(crate) raw: String,
}

impl MailServer {
    /// A port at which nobody answers yet.
    pub(crate) fn reserve() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, folder: TempDir::new().unwrap(), more: Vec::new(), process: None }
    }

    /// A server that takes everything, without TLS.
    pub(crate) fn start() -> Self {
        let mut server = Self::reserve();
        server.run();
        server
    }

    /// What it is to do otherwise, as its script has it, from its next start on.
    pub(crate) fn with(&mut self, more: &[&str]) {
        self.more = more.iter().map(|word| (*word).to_owned()).collect();
    }

    /// A certificate to show, and its key.
    pub(crate) fn certify(&self, (certificate, key): &(String, String)) -> [String; 2] {
        [("certificate.pem", certificate), ("key.pem", key)].map(|(name, pem)| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        })
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn run(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/mail_server.py");
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        // Debian's own, which has Debian's libraries.
        let mut process = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(self.port.to_string())
            .arg(self.maildir())
            .args(&self.more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert_eq!(line, "ready\n", "is python3-aiosmtpd installed? {log}");
        self.process = Some(process);
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }

    /// Where it is, as the settings name it.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// What it took so far, in no order.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        let Ok(folder) = std::fs::read_dir(self.maildir().join("new")) else { return Vec::new() };
        folder
            .map(|entry| {
                let raw = std::fs::read_to_string(entry.unwrap().path()).unwrap();
                let to = raw.lines().find_map(|line| line.strip_prefix("X-RcptTo: ")).unwrap();
                Mail { to: to.to_owned(), raw: raw.clone() }
            })
            .collect()
    }

    /// The same since the last time that this was asked, in the order of their addressees.
    pub(crate) fn take(&self) -> Vec<Mail> {
        let mut mails = self.mails();
        mails.sort_by(|one, other| one.to.cmp(&other.to));
        let _ = std::fs::remove_dir_all(self.maildir().join("new"));
        std::fs::create_dir_all(self.maildir().join("new")).unwrap();
        mails
    }

    fn maildir(&self) -> PathBuf {
        self.folder.path().join("mail")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Mail {
    /// The lines of its text that say how much of what there is.
    pub(crate) fn counts(&self) -> Vec<&str> {
        let lines = self.text().lines().filter_map(|line| line.strip_prefix("    "));
        lines.filter(|line| !line.starts_with("https://")).collect()
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        self.raw.split_once("\n\n").unwrap().1
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> &str {
        let (headers, _) = self.raw.split_once("\n\n").unwrap();
        let value = headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name} in {headers}"))
    }
}
