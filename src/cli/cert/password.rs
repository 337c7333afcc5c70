//! The password of a PKCS#12 file: from a file, made here, or typed twice. Never a flag.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::{Context, Exit, Failure};
use crate::pki::p12::{self, Format};

/// A password, and whether it was made here.
pub(super) struct Password {
    pub(super) text: Zeroizing<String>,
    pub(super) is_new: bool,
}

/// The password in this file, or a new one written there; without a file, one typed twice.
pub(super) fn obtain(
    file: Option<&Path>,
    format: Format,
    context: &Context,
) -> Result<Password, Failure> {
    let text = match file {
        Some(path) if path.exists() => kept(path)?,
        Some(path) => return made(path),
        None => typed(context)?,
    };
    match p12::check_password(&text, format) {
        Ok(()) => Ok(Password { text, is_new: false }),
        Err(error) => Err(Failure::new(Exit::Misused, error)
            .hint("--password-file FILE with a file that is not there: a strong one is made")),
    }
}

fn kept(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = Zeroizing::new(crate::cli::read_text(path)?);
    let is_open = std::fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if is_open {
        eprintln!("warning: others can read {}: chmod 600 it", path.display());
    }
    // Editors end the last line; that end is not part of the password.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn made(path: &Path) -> Result<Password, Failure> {
    let text = p12::new_password()?;
    let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = new.map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
    })?;
    file.write_all(format!("{}\n", *text).as_bytes())?;
    file.sync_all()?;
    Ok(Password { text, is_new: true })
}

fn typed(context: &Context) -> Result<Zeroizing<String>, Failure> {
    if context.global.no_input || !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Misused, "a PKCS#12 file needs a password").hint(
            "--password-file FILE; if FILE is not there, a strong one is made and kept in it",
        ));
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Zeroizing::new);
    let first = ask("Password for the PKCS#12 file: ")?;
    if *ask("The same again: ")? != *first {
        return Err(Failure::new(Exit::Misused, "the two passwords differ; nothing was issued"));
    }
    Ok(first)
}
