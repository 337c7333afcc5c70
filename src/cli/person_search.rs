//! `subject-access search`: in which enquiries somebody is named, for whoever asks what is held about them
//! (R97). It opens what is sealed, one RFI after the other, and remembers nothing: no list of people is kept
//! anywhere that could be lost or asked by anybody else.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::cert::Office;
use super::log::progress;
use super::{Context, Exit, Failure, sound};
use crate::audit::entry::Event;
use crate::message::{EnquiryId, Exchange, Period, now};
use crate::rule::person::{Likeness, Person};
use crate::schema::Schemas;
use crate::seal::{OpenError, Sealer};
use crate::store::{Applied, Effect, Store};

/// In which enquiries somebody is named, who asks what is held about them
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway subject-access search person.json --home H
  pass show enquirer | mash-gateway subject-access search - --home H

The file is {\"familyName\": …, \"givenName\": …, \"birthDate\": …, \"nhsNumber\": …}: a number, or both names.
It is read, and not kept. Of each enquiry that is kept the gateway opens the RFI and looks at it; that this is done
is an entry in the log. Before anything is released each agency named here is to be consulted:
mash-gateway subject-access consult.")]
pub(super) struct Search {
    /// Who it is, JSON; - is standard input
    file: PathBuf,
}

/// Who is looked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    family_name: Option<String>,
    given_name: Option<String>,
    birth_date: Option<String>,
    nhs_number: Option<String>,
}

impl Search {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let person = self.person()?;
        let office = Office::open_as_it_is(context).await?;
        let store = &*office.store;
        let sealer = sound::open_keys(&context.home, &office.config, store).await?;
        let enquiries = enquiries(store).await?;
        let looked = enquiries.len() as u64;
        // Before a word of any is read.
        let event = Event::subject_access_searched(looked);
        if !matches!(
            office.ledger.record(&event, now(), None, Effect::Log).await?,
            Applied::Recorded(_)
        ) {
            let message = "it could not be logged; nothing was opened";
            return Err(Failure::new(Exit::Failed, message));
        }
        let bar = if context.global.quiet || context.global.json {
            indicatif::ProgressBar::hidden()
        } else {
            progress(looked, "enquiries")
        };
        let (mut found, mut unopened) = (Vec::new(), 0_u64);
        for enquiry in &enquiries {
            bar.inc(1);
            let exchanges = store.enquiry(enquiry).await?;
            match likeness(store, &sealer, &exchanges, &person).await? {
                None => unopened += 1,
                Some(None) => {}
                Some(Some(likeness)) => found.push(view(&exchanges, likeness)),
            }
        }
        bar.finish_and_clear();
        let mut lines: Vec<_> = found.iter().flat_map(lines).collect();
        lines.push(match found.len() {
            0 => format!("nobody like that is named in the {looked} enquiries that there are"),
            count => format!("{count} of {looked} enquiries"),
        });
        if unopened > 0 {
            lines.push(format!(
                "{unopened} could not be opened: their agencies alone have the keys. Ask them"
            ));
        }
        context.result(
            &json!({ "enquiries": found, "looked": looked, "unopened": unopened }),
            lines.join("\n"),
        );
        Ok(())
    }

    // Never on the command line, where everybody on the machine could see it.
    fn person(&self) -> Result<Person, Failure> {
        let mut text = Zeroizing::new(String::new());
        let read = if self.file.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text)
        } else {
            std::fs::File::open(&self.file).and_then(|mut file| file.read_to_string(&mut text))
        };
        read.map_err(|error| {
            Failure::new(Exit::NotFound, format!("cannot read {}: {error}", self.file.display()))
        })?;
        // What serde says of a mistake could repeat what is written there.
        let wanted: Wanted = serde_json::from_str(&text).map_err(|_| misused())?;
        let Wanted { family_name, given_name, birth_date, nhs_number } = wanted;
        Person::new(family_name, given_name, birth_date, nhs_number).ok_or_else(misused)
    }
}

// Those that are kept, the oldest first.
async fn enquiries(store: &dyn Store) -> Result<BTreeSet<EnquiryId>, Failure> {
    let period = Period { from: Timestamp::UNIX_EPOCH, to: Timestamp::MAX };
    let (mut enquiries, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.exchanges_opened(period, after, AT_ONCE).await?;
        after = page.last().map(|last| last.id);
        let kept = |exchange: &&Exchange| !exchange.is_test() && exchange.destroyed_at.is_none();
        enquiries.extend(page.iter().filter(kept).map(|exchange| exchange.enquiry));
        if page.len() < AT_ONCE {
            return Ok(enquiries);
        }
    }
}

// How a person named in this enquiry is like the one who is looked for; none when none of its RFIs can be
// opened here. All of them name the same persons.
async fn likeness(
    store: &dyn Store,
    sealer: &Sealer,
    exchanges: &[Exchange],
    person: &Person,
) -> Result<Option<Option<Likeness>>, Failure> {
    for exchange in exchanges {
        let stored = store.message(&exchange.rfi).await?;
        let sealed = store.sealed_payload(&exchange.rfi).await?;
        let opened = match sealer.open(&stored.envelope, &sealed) {
            Err(OpenError::Purged | OpenError::SealedToAgency) => continue,
            opened => opened?,
        };
        let rfi = Schemas::parse(&opened).map_err(|fault| anyhow::anyhow!("{fault}"))?;
        return Ok(Some(person.best(&rfi)));
    }
    Ok(None)
}

// Ids, references and agencies: nothing that an RFI says.
fn view(exchanges: &[Exchange], likeness: Likeness) -> Value {
    let of = |exchange: &Exchange| {
        let marks = &exchange.marks;
        json!({
            "agency": exchange.agency,
            "hasAnswered": exchange.result.is_some(),
            "isConsulted": marks.is_consulted(),
            "reference": exchange.reference,
            "hasSaidWhatMayBeReleased": marks.viewed_at.is_some(),
        })
    };
    json!({
        "enquiry": exchanges.first().map(|exchange| exchange.enquiry),
        "exchanges": exchanges.iter().map(of).collect::<Vec<_>>(),
        "likeness": likeness.as_str(),
    })
}

fn lines(found: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!("{}  by {}", text(&found["enquiry"]), text(&found["likeness"]))];
    for exchange in found["exchanges"].as_array().into_iter().flatten() {
        let stands = match (&exchange["hasAnswered"], &exchange["hasSaidWhatMayBeReleased"]) {
            (Value::Bool(true), Value::Bool(true)) => "has said what may be released",
            (Value::Bool(true), _) => "to be consulted",
            _ => "has not answered",
        };
        lines.push(format!(
            "  {}  {}  {stands}",
            text(&exchange["reference"]),
            text(&exchange["agency"])
        ));
    }
    lines
}

fn misused() -> Failure {
    let message = "this does not say who it is";
    Failure::new(Exit::Misused, message).hint(
        "{\"familyName\": …, \"givenName\": …, \"birthDate\": …, \"nhsNumber\": …}: a number, or both names",
    )
}

const AT_ONCE: usize = 200;
