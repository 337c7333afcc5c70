//! E-mail notices: whether the mail server takes any, and who would have none.

use jiff::Timestamp;

use super::Report;
use crate::config::{Config, Home};
use crate::directory::{Directory, Officer};
use crate::worker::notify::mail::Mailer;

/// Everything about notices. Nothing is said of a gateway that sends none.
pub(super) async fn look(
    home: &Home,
    config: &Config,
    directory: Option<&Directory>,
    at: Timestamp,
    report: &mut Report,
) {
    let mailer = match Mailer::new(home, config) {
        Ok(None) => return,
        Ok(Some(mailer)) => mailer,
        Err(error) => {
            report.act("notices", format!("the gateway cannot start: {error:#}"));
            report.next("put it right, or remove server under [notices] in gateway.toml");
            return;
        }
    };
    if let Err(why) = mailer.look().await {
        report.note("notices", format!("{why}: nobody is told by e-mail that something waits"));
        report.next("is it what [notices] in gateway.toml says it is?");
    }
    let active = directory.into_iter().flat_map(Directory::all).filter(|one| one.is_active(at));
    for agency in active {
        let has_email = |officer: &Option<Officer>| {
            officer.as_ref().is_some_and(|officer| officer.email.is_some())
        };
        if !has_email(&agency.contact_officer) && !has_email(&agency.deputy) {
            report.note("notices", "nobody of it has an e-mail address to be told at");
            report.next(format!("mash-gateway partner set {}", agency.id));
            report.about(Some(&agency.id), None);
        }
    }
    report.ok_otherwise("notices", "the mail server answers, and every active agency can be told");
}
