//! `partners.toml`, opened to be changed by one command at a time.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::cli::running;
use crate::cli::{Context, Exit, Failure, read_text};
use crate::config::Config;
use crate::config::write_synced;
use crate::directory::edit::{self, Setting};
use crate::directory::parse::ParseOptions;
use crate::directory::{Directory, Partner};
use crate::message::AgencyId;
use crate::register::Told;

/// `partners.toml`, held so that no other command changes it meanwhile.
pub(in crate::cli) struct PartnersFile {
    path: PathBuf,
    text: String,
    directory: Directory,
    pub(in crate::cli) config: Config,
    // The home folder itself is what is locked: a file that is replaced cannot be.
    _lock: File,
}

impl PartnersFile {
    /// Waits for whoever else changes it, then reads it. It must be without mistakes.
    pub(in crate::cli) fn open(context: &Context, at: Timestamp) -> Result<Self, Failure> {
        let config = crate::cli::config(&context.home)?;
        let lock = File::open(context.home.folder())?;
        lock.lock()?;
        let path = context.home.partners();
        let text = read_text(&path)?;
        let directory = Directory::parse(&text, options(&config), at)?;
        Ok(Self { path, text, directory, config, _lock: lock })
    }

    pub(in crate::cli) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The agency's entry as it is now.
    pub(in crate::cli) fn partner(&self, id: &AgencyId) -> Result<&Partner, Failure> {
        self.directory.get(id).ok_or_else(|| no_such_agency(&self.directory, id))
    }

    /// What the file would hold with these keys of the agency's entry set; nothing is written.
    pub(in crate::cli) fn set(
        self,
        id: &AgencyId,
        settings: &[Setting],
        at: Timestamp,
    ) -> Result<Changed, Failure> {
        self.partner(id)?;
        let text = edit::set(&self.text, id, settings)?;
        self.changed(text, at)
    }

    /// What the file would hold with one more agency; nothing is written.
    pub(in crate::cli) fn add(
        self,
        id: &AgencyId,
        settings: &[Setting],
        at: Timestamp,
    ) -> Result<Changed, Failure> {
        let text = edit::add(&self.text, id, settings)?;
        self.changed(text, at)
    }

    // Only what can be routed by is ever written.
    fn changed(self, text: String, at: Timestamp) -> Result<Changed, Failure> {
        let directory = Directory::parse(&text, options(&self.config), at).map_err(|mistakes| {
            let mut message = "nothing was written: with this change,".to_owned();
            for mistake in mistakes.all() {
                let (field, problem) = (&mistake.field, &mistake.problem);
                message.push_str(&format!("\n  {field}: {problem}. {}", mistake.remedy));
            }
            Failure::new(Exit::Misused, message)
        })?;
        Ok(Changed { file: self, text, directory })
    }
}

/// `partners.toml` as it would be, checked.
pub(in crate::cli) struct Changed {
    file: PartnersFile,
    text: String,
    directory: Directory,
}

impl Changed {
    pub(in crate::cli) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The lines that are new or different, for somebody who wants to look first.
    pub(in crate::cli) fn lines(&self) -> String {
        let (before, after) = (&self.file.text, &self.text);
        let front = before.lines().zip(after.lines()).take_while(|(a, b)| a == b).count();
        let rest = |text: &str| text.lines().skip(front).map(str::to_owned).collect::<Vec<_>>();
        let (before, mut after) = (rest(before), rest(after));
        let back = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        after.truncate(after.len() - back);
        after.join("\n").trim().to_owned()
    }

    /// Writes it, has the running gateway take it into use, and lets go of the file.
    pub(in crate::cli) async fn write(self, context: &Context) -> Result<Written, Failure> {
        let Self { file, text, directory } = self;
        // An editor does not know of our lock.
        if read_text(&file.path)? != file.text {
            let message = "somebody else changed partners.toml meanwhile; nothing was written";
            return Err(Failure::new(Exit::Failed, message).hint("run the command again"));
        }
        let mode = std::fs::metadata(&file.path)?.permissions().mode() & 0o777;
        write_synced(&file.path, text.as_bytes(), mode)?;
        let told = running::tell(&context.home, &file.config).await;
        Ok(Written { config: file.config, directory, told })
    }
}

/// A change that is written.
pub(in crate::cli) struct Written {
    pub(in crate::cli) config: Config,
    pub(in crate::cli) directory: Directory,
    pub(in crate::cli) told: Told,
}

impl Written {
    /// Whether the running gateway uses it, in words.
    pub(in crate::cli) fn use_in_words(&self) -> &'static str {
        match self.told {
            Told::Failed => {
                "NOT IN USE: something listens on the local door that did not take it; curl /readyz"
            }
            Told::InUse { .. } => "In use: the running gateway has confirmed.",
            Told::NotRunning => "No gateway is running; it takes this into use when it starts.",
        }
    }
}

/// That there is no such agency, and which one was perhaps meant.
pub(in crate::cli) fn no_such_agency(directory: &Directory, id: &AgencyId) -> Failure {
    let hint = match directory.nearest(id) {
        Some(nearest) => format!("did you mean {nearest}? mash-gateway partner list shows all"),
        None => "mash-gateway partner list".to_owned(),
    };
    Failure::new(Exit::NotFound, "there is no such agency in partners.toml").hint(hint)
}

fn options(config: &Config) -> ParseOptions {
    ParseOptions { allow_loopback: config.push.allow_loopback }
}
