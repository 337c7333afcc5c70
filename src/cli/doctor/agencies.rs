//! Agencies: their certificates, what waits for them, and what ends soon.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::Report;
use crate::cli::serve;
use crate::config::{Config, Home};
use crate::directory::{Directory, Status};
use crate::message::{AgencyId, rfc3339};
use crate::pki::expiry::{self, Ending, What};
use crate::store::{Backlog, CertificateRecord, Mailbox, Store};
use crate::timer::Grade;
use crate::worker::backlog::NEARLY_FULL_PERCENT;
use crate::worker::due::count;
use crate::worker::expiry::inventory;

/// How long a message may wait in a mailbox before somebody asks.
const WAITING_MAX: SignedDuration = SignedDuration::from_hours(24);

/// How long before bank holidays are no longer known an operator is told.
const HOLIDAYS_LEFT_MIN: i64 = 90;

/// Everything about agencies that the register, the directory and the mailboxes say.
pub(super) async fn look(
    home: &Home,
    config: &Config,
    directory: Option<&Directory>,
    store: &dyn Store,
    at: Timestamp,
    report: &mut Report,
) -> anyhow::Result<()> {
    let register = store.certificates().await.context("the register")?;
    let is_active = |id: &AgencyId| directory.is_none_or(|known| known.is_active(id, at));
    match inventory(home, config) {
        Ok(inventory) => {
            for ending in expiry::endings(&inventory, &register, is_active, at) {
                tell(&ending, report);
            }
            report.ok_otherwise("certificate-expiry", "no certificate ends within 30 days");
            report.ok_otherwise("authority-expiry", "every authority can issue for longer");
            let lists = inventory.lists.len();
            report.ok_otherwise("revocation-list", format!("{lists} lists, all of them fresh"));
        }
        Err(error) => {
            report.act("certificate-expiry", format!("what ends cannot be told: {error:#}"));
            report.next("bring the file from the backup");
        }
    }
    if let Some(directory) = directory {
        certificates(directory, &register, at, report);
        policies(directory, at, report);
        attestations(directory, at, report);
    }
    for unsent in store.unsent_attachments().await.context("the files")? {
        let says = format!(
            "{} files of {} bytes are uploaded and in no message yet",
            unsent.count, unsent.bytes
        );
        report.note("attachments-unsent", says);
        report.about(Some(&unsent.agency), None);
    }
    report.ok_otherwise("attachments-unsent", "every file that was uploaded is in a message");
    agreement(config, at, report);
    timers(home, config, store, at, report).await?;
    backlog(config, &store.backlog().await.context("the mailboxes")?, at, report);
    fill(config, &store.mailboxes().await.context("the mailboxes")?, report);
    Ok(())
}

// When the agreement is looked at again (R104).
fn agreement(config: &Config, at: Timestamp, report: &mut Report) {
    let agreement = &config.agreement;
    let whose = match &agreement.holder {
        Some(holder) => format!("its holder: {holder}"),
        None => "nobody is named as its holder".to_owned(),
    };
    match agreement.days_to_review(at) {
        None => {
            report.note("agreement", "it is not said when it was signed");
            report.next("signed_on under [agreement] in gateway.toml");
        }
        Some(days) if days < 0 => {
            report.act("agreement", format!("its review is overdue by {} days; {whose}", -days));
            report.next("when it has been reviewed, reviewed_on under [agreement] in gateway.toml");
        }
        Some(days) if agreement.is_due(at) => {
            report.note("agreement", format!("it is to be reviewed in {days} days; {whose}"));
        }
        Some(days) => report.ok("agreement", format!("it is to be reviewed in {days} days")),
    }
}

// What is overdue is the hub's to see to; that the calendar ends is the operator's.
async fn timers(
    home: &Home,
    config: &Config,
    store: &dyn Store,
    at: Timestamp,
    report: &mut Report,
) -> anyhow::Result<()> {
    let timers = match crate::config::timers::load(home, &config.timers) {
        Ok(timers) => timers,
        Err(fault) => {
            report.act("bank-holidays", fault);
            report.next("bring a file as GOV.UK publishes it, or leave bank_holidays out");
            return Ok(());
        }
    };
    let days = timers.working_time.holidays().days_left(at);
    if days < HOLIDAYS_LEFT_MIN {
        let says = match days {
            ..0 => "there are none for today: what is due is reckoned as if people always worked",
            _ => "they are known for less than 90 days to come",
        };
        report.act("bank-holidays", says);
        report
            .next("bring a newer file: bank_holidays under [timers] in gateway.toml, then SIGHUP");
    }
    report.ok_otherwise("bank-holidays", format!("they are known for {days} days to come"));
    for ((timer, grade), count) in count(store, &timers, at).await.context("the exchanges")? {
        if grade == Grade::Overdue {
            report.note("overdue", format!("{count} are overdue: {}", timer.as_str()));
            report.next("the hub's board shows which: mash-gateway rfi status");
        }
    }
    report.ok_otherwise("overdue", "nothing that was promised is overdue");
    Ok(())
}

fn tell(ending: &Ending, report: &mut Report) {
    let Ending { dated, days_left, .. } = ending;
    let end = rfc3339(dated.end);
    let when = match days_left {
        ..0 => format!("has ended, on {end}"),
        0 => format!("ends within a day, on {end}"),
        1 => format!("ends in a day, on {end}"),
        days => format!("ends in {days} days, on {end}"),
    };
    let serial = dated.serial.as_deref();
    match &dated.what {
        What::Agency { agency, profile } => {
            report.act("certificate-expiry", format!("its {profile} certificate {when}"));
            report
                .next(format!("mash-gateway cert token {agency}, or cert renew with its request"));
            report.about(Some(agency), serial);
        }
        What::Authority { file_stem } => {
            report.act("authority-expiry", format!("{file_stem}: the time to issue {when}"));
            report.next("make its successor");
            report.about(None, serial);
        }
        What::List { file_stem } => {
            let says = format!("{file_stem}: the list is past half its time, and {when}");
            report.act("revocation-list", says);
            report.next(match file_stem.starts_with("root") {
                true => "sign it anew where the root's key is",
                false => "mash-gateway cert crl: when it has ended nobody is let in",
            });
        }
        What::Own(what) => {
            report.act("certificate-expiry", format!("{what} {when}"));
            report.next("mash-gateway cert gateway");
            report.about(None, serial);
        }
    }
}

// Who is active without a certificate, and who has one without being active.
fn certificates(
    directory: &Directory,
    register: &[CertificateRecord],
    at: Timestamp,
    report: &mut Report,
) {
    let mut good: BTreeMap<&AgencyId, usize> = BTreeMap::new();
    for record in register {
        if record.revoked.is_none() && expiry::is_agencys(record) {
            // One that has ended is told with what ends.
            *good.entry(&record.agency).or_default() += usize::from(record.not_after > at);
        }
    }
    for agency in directory.all().filter(|agency| agency.is_active(at)) {
        if agency.security_contact.is_none() {
            report.note("security-contact", "nobody is named to whom incidents are reported");
            report.next(format!("put security_contact under {} in partners.toml", agency.id));
            report.about(Some(&agency.id), None);
        }
        if !good.contains_key(&agency.id) {
            report.act("agency-without-certificate", "it is active and has no certificate");
            report.next(format!("mash-gateway cert token {}", agency.id));
            report.about(Some(&agency.id), None);
        }
    }
    report.ok_otherwise("agency-without-certificate", "every active agency has a certificate");
    for (agency, count) in good.into_iter().filter(|(_, count)| *count > 0) {
        match directory.get(agency).map(|known| known.status_at(at)) {
            None | Some(Status::Closed) => {
                let says = format!("it no longer takes part and has {count} good certificates");
                report.act("certificate-of-inactive-agency", says);
                report.next(format!(
                    "mash-gateway cert revoke {agency} --reason cessation-of-operation --confirm \
                     {agency}"
                ));
                report.about(Some(agency), None);
            }
            Some(Status::Suspended) => {
                let says = format!("it is suspended and has {count} good certificates");
                report.note("certificate-of-inactive-agency", says);
                report.about(Some(agency), None);
            }
            // Whoever is about to join tries its certificate first.
            Some(Status::Active | Status::Pending) => {}
        }
    }
    report.ok_otherwise("certificate-of-inactive-agency", "nobody else has a good certificate");
}

// Whose policy document is to be reviewed, or is not on record (R72).
fn policies(directory: &Directory, at: Timestamp, report: &mut Report) {
    for agency in directory.all().filter(|agency| agency.is_active(at)) {
        let id = &agency.id;
        match &agency.policy_document {
            Some(document) if document.is_due(at) => {
                let says =
                    format!("the review of its policy document is due on {}", document.review);
                report.act("policy-document", says);
                report.next(format!("mash-gateway apd add {id} with what was reviewed"));
            }
            Some(_) => continue,
            None => {
                report.note("policy-document", "it has none on record");
                report.next(format!("mash-gateway apd add {id}"));
            }
        }
        report.about(Some(id), None);
    }
    report.ok_otherwise("policy-document", "every active agency's is on record and reviewed");
}

// Whose privacy notice or training is to be seen to again (R63, R112).
fn attestations(directory: &Directory, at: Timestamp, report: &mut Report) {
    for agency in directory.all().filter(|agency| agency.is_active(at)) {
        for says in agency.to_see_again(at) {
            report.note("attestation", says);
            report.next(format!("ask, then mash-gateway partner set {}", agency.id));
            report.about(Some(&agency.id), None);
        }
    }
    report.ok_otherwise("attestation", "none on record is older than a year");
}

// Whom the hub soon cannot send anything, or cannot now.
fn fill(config: &Config, mailboxes: &[Mailbox], report: &mut Report) {
    let room = serve::mailbox_limits(config);
    for mailbox in mailboxes {
        let Mailbox { recipient, messages, bytes } = mailbox;
        let says = format!("{messages} messages of {bytes} bytes wait, as they were sent");
        match room.percent(mailbox) {
            ..NEARLY_FULL_PERCENT => continue,
            NEARLY_FULL_PERCENT..100 => report.note("mailbox-fill", says),
            100.. => report.act("mailbox-fill", format!("{says}: its mailbox is full")),
        }
        report.next(format!("does it collect, and say what it saved? partner show {recipient}"));
        report.about(Some(recipient), None);
    }
    report.ok_otherwise("mailbox-fill", "every mailbox has room");
}

fn backlog(config: &Config, backlog: &[Backlog], at: Timestamp, report: &mut Report) {
    let delayed = SignedDuration::from_secs(config.push.delayed_after_s.into());
    for Backlog { recipient, state, count, oldest } in backlog {
        let waited = at.duration_since(*oldest);
        let since = rfc3339(*oldest);
        // As `DeliveryState::as_str` names them.
        match state.as_str() {
            "held" if waited > WAITING_MAX => {
                let says = format!("{count} messages were never collected, the oldest of {since}");
                report.act("mailbox", says);
                report.next(format!(
                    "telephone its contact officer: mash-gateway partner show {recipient}"
                ));
            }
            "queued" if waited > delayed => {
                let says = format!("{count} messages cannot be pushed, the oldest of {since}");
                report.act("push-delayed", says);
                report.next(format!("is its endpoint up? mash-gateway partner test {recipient}"));
            }
            "returned" => {
                let says = format!("{count} messages were returned to their sender");
                report.note("push-returned", says);
                report
                    .next(format!("is its endpoint right? mash-gateway partner test {recipient}"));
            }
            _ => continue,
        }
        report.about(Some(recipient), None);
    }
    report.ok_otherwise("mailbox", "no message waits for more than a day");
    report.ok_otherwise("push-delayed", "no push is late");
}
