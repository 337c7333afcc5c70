//! `dead-letter`: messages that no endpoint took and that went back to their sender, and what an
//! operator can do about them. Beside a gateway that runs, which then notices at once.

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cert::Office;
use super::{Context, Exit, Failure, block_on};
use crate::audit::entry::{Event, Fields, GiveUpReason};
use crate::directory::{Directory, Endpoint};
use crate::message::{AgencyId, MessageId, now, rfc3339};
use crate::store::{self, Applied, DeliveryState, Effect, StoreError, StoredMessage};

/// Messages that were returned to their sender.
#[derive(Subcommand)]
pub(super) enum DeadLetter {
    /// What was returned and not collected since, and why
    #[command(after_help = "Example:
  mash-gateway dead-letter list --home H")]
    List(List),
    /// Deliver returned messages again, under the same id: to the first endpoint the directory has now
    #[command(after_help = "Examples:
  mash-gateway dead-letter retry 01890a5d-ac96-774b-bcce-b302099a8057 --home H
  mash-gateway dead-letter retry --agency test-police --home H    when its endpoint is back
  mash-gateway dead-letter retry --all --home H")]
    Retry(Retry),
    /// Give up a message that is still being tried: its sender is told, with the reason
    #[command(after_help = "Example:
  mash-gateway dead-letter return 01890a5d-ac96-774b-bcce-b302099a8057 \\
      --reason wrong-recipient --confirm test-police --home H

Reasons: endpoint-gone, reached-otherwise, sender-asked, wrong-recipient.")]
    Return(Return),
}

#[derive(Args)]
pub(super) struct List {
    /// Only those to this agency
    #[arg(long)]
    agency: Option<AgencyId>,
}

#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub(super) struct Retry {
    /// The message
    #[arg(group = "which")]
    message: Option<MessageId>,
    /// Every returned message to this agency
    #[arg(long, group = "which")]
    agency: Option<AgencyId>,
    /// Every returned message
    #[arg(long, group = "which")]
    all: bool,
}

#[derive(Args)]
pub(super) struct Return {
    /// The message
    message: MessageId,
    /// Why
    #[arg(long)]
    reason: GiveUpReason,
    /// The agency it was for, so that it is the one that is meant
    #[arg(long, value_name = "AGENCY")]
    confirm: AgencyId,
}

impl DeadLetter {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::List(list) => list.run(context).await,
                Self::Retry(retry) => retry.run(context, now()).await,
                Self::Return(back) => back.run(context, now()).await,
            }
        })
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let returned = office.store.dead_letters(self.agency.as_ref()).await?;
        let lines: Vec<_> = returned.iter().map(line).collect();
        let list: Vec<_> = returned.iter().map(view).collect();
        let shown = if lines.is_empty() { "nothing was returned".into() } else { lines.join("\n") };
        context.result(&json!({ "messages": list }), shown);
        Ok(())
    }
}

impl Retry {
    async fn run(self, context: &Context, at: Timestamp) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let directory = office.directory()?;
        let chosen: Vec<StoredMessage> = match &self.message {
            Some(id) => vec![message(&office, id).await?],
            None => {
                let mut chosen = Vec::new();
                for one in office.store.dead_letters(self.agency.as_ref()).await? {
                    chosen.push(office.store.message(&one.envelope.id).await?);
                }
                chosen
            }
        };
        let (mut again, mut left) = (Vec::new(), Vec::new());
        for stored in &chosen {
            match retry(&office, directory, stored, at).await? {
                Ok(to) => again.push((stored.envelope.id, to)),
                Err(why) => left.push((stored.envelope.id, why)),
            }
        }
        if !again.is_empty() {
            office.tell_gateway().await;
        }
        let done = again.iter().map(|(id, to)| json!({ "message": id, "to": to }));
        let not = left.iter().map(|(id, why)| json!({ "message": id, "why": why }));
        let lines = again.iter().map(|(id, to)| format!("{id}  {to}"));
        let shown: Vec<_> =
            lines.chain(left.iter().map(|(id, why)| format!("{id}  NOT: {why}"))).collect();
        let shown =
            if shown.is_empty() { "nothing was returned".to_owned() } else { shown.join("\n") };
        context.result(
            &json!({
                "left": not.collect::<Vec<_>>(), "retried": done.collect::<Vec<_>>(),
            }),
            shown,
        );
        match left.len() {
            0 => Ok(()),
            count => {
                let message = format!("{count} could not be delivered again");
                Err(Failure::new(Exit::Failed, message).hint("mash-gateway dead-letter list"))
            }
        }
    }
}

// Where the message goes now, or why it does not go anywhere.
async fn retry(
    office: &Office<'_>,
    directory: &Directory,
    stored: &StoredMessage,
    at: Timestamp,
) -> Result<Result<&'static str, String>, Failure> {
    let envelope = &stored.envelope;
    if stored.delivery != DeliveryState::Returned {
        return Ok(Err(format!("it was not returned: it is {}", stored.delivery.as_str())));
    }
    if !directory.takes(&envelope.recipient, envelope.kind, at) {
        return Ok(Err(format!("{} is not active", envelope.recipient)));
    }
    let (to, state) = match directory.endpoints(&envelope.recipient).first() {
        Some(Endpoint::Push { .. }) => {
            ("to its endpoint", DeliveryState::Queued { endpoint: 0, at, attempts: 0 })
        }
        Some(Endpoint::Mailbox) => ("in its mailbox", DeliveryState::Held),
        None => return Ok(Err(format!("{} has no endpoint", envelope.recipient))),
    };
    let event = Event::retried(envelope, matches!(state, DeliveryState::Queued { .. }));
    let effect = Effect::Retry { message: envelope.id, state, at };
    let applied = office.ledger.record(&event, at, Some(envelope.exchange), effect).await?;
    Ok(match applied {
        Applied::Recorded(_) => Ok(to),
        _ => Err("it was delivered again meanwhile".to_owned()),
    })
}

impl Return {
    async fn run(self, context: &Context, at: Timestamp) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let stored = message(&office, &self.message).await?;
        let envelope = &stored.envelope;
        if envelope.recipient != self.confirm {
            let message = format!(
                "--confirm does not name {}, which the message is for; nothing was returned",
                envelope.recipient
            );
            return Err(Failure::new(Exit::Misused, message));
        }
        let DeliveryState::Queued { attempts, .. } = stored.delivery else {
            let message = format!("it is not being tried: it is {}", stored.delivery.as_str());
            return Err(Failure::new(Exit::Failed, message));
        };
        let event = Event::given_up(envelope, attempts, self.reason);
        let effect = Effect::GiveUp { message: envelope.id, at };
        let applied = office.ledger.record(&event, at, Some(envelope.exchange), effect).await?;
        if !matches!(applied, Applied::Recorded(_)) {
            let message = "it is being pushed at this moment, or was delivered meanwhile";
            return Err(Failure::new(Exit::Failed, message)
                .hint("look again in a minute: mash-gateway log show"));
        }
        context.result(
            &json!({ "message": envelope.id, "reason": self.reason.as_str() }),
            format!("Returned {} to {}: {}", envelope.id, envelope.sender, self.reason.as_str()),
        );
        Ok(())
    }
}

async fn message(office: &Office<'_>, id: &MessageId) -> Result<StoredMessage, Failure> {
    match office.store.message(id).await {
        Ok(stored) => Ok(stored),
        Err(StoreError::NotFound) => Err(Failure::new(Exit::NotFound, "there is no such message")
            .hint("mash-gateway dead-letter list")),
        Err(error) => Err(error.into()),
    }
}

fn view(returned: &store::DeadLetter) -> Value {
    let envelope = &returned.envelope;
    let (at, code) = cause(returned);
    json!({
        "accepted": rfc3339(envelope.time), "code": code, "kind": envelope.kind.as_str(),
        "message": envelope.id, "recipient": envelope.recipient, "reference": envelope.reference,
        "returned": at, "sender": envelope.sender,
    })
}

fn line(returned: &store::DeadLetter) -> String {
    let envelope = &returned.envelope;
    let (at, code) = cause(returned);
    format!(
        "{}  {}  {} to {}, returned {}: {}",
        envelope.id,
        envelope.reference,
        envelope.sender,
        envelope.recipient,
        at.as_deref().unwrap_or("(purged)"),
        code.as_deref().unwrap_or("(purged)"),
    )
}

// When and for what it was returned, as its entry says.
fn cause(returned: &store::DeadLetter) -> (Option<String>, Option<String>) {
    let fields = returned.fields.as_deref().and_then(Fields::parse);
    let get = |name| fields.as_ref().and_then(|fields| fields.get(name)).map(str::to_owned);
    (get("time"), get("code"))
}

impl clap::ValueEnum for GiveUpReason {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}
