//! Tells people by e-mail that something waits for them or is due, and never what it is about (R90).
//!
//! Each thing is told once to each addressee: that it was is noted when the mail server has taken the
//! notice, so that a crash in between repeats one and loses none. Nothing else waits for a mail server.

pub mod mail;
pub mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Home};
use crate::directory::{Directory, Partner};
use crate::exchange::Gateway;
use crate::http::health::Concerns;
use crate::message::{AgencyId, Party, now};
use crate::pki::expiry::{self, What};
use crate::store::{Notice, NoticeSubject, StoreError, Uncollected};
use crate::telemetry::{Metrics, NoticeOutcome};
use crate::timer::Grade;
use crate::worker::due;
use crate::worker::expiry::inventory;
use mail::{Mailer, Unsent};
use text::{Kind, Reader, Summary, body};

/// What a notifier is made of.
pub struct Parts {
    /// The home whose certificates end.
    pub home: Home,
    /// Its settings.
    pub config: Config,
    /// Whose messages wait and whose exchanges have something due.
    pub gateway: Arc<Gateway>,
    /// Where it is counted what was sent.
    pub metrics: Arc<Metrics>,
    /// Where it is said that nothing can be sent.
    pub concerns: Arc<Concerns>,
}

/// Whoever tells.
pub struct Notify {
    parts: Parts,
    mailer: Mailer,
    /// What every notice waits for: the server.
    server: Option<Failing>,
    /// What one addressee's notice waits for.
    addressees: BTreeMap<String, Failing>,
    /// What was sent and could not be noted: it is not sent again while the store is away.
    unnoted: HashMap<String, Vec<Notice>>,
    /// How long the last look took, without the sending.
    looked: Duration,
}

/// Something that does not work, and is tried again.
#[derive(Clone, Copy, Debug)]
struct Failing {
    why: Unsent,
    times: u32,
    until: Timestamp,
}

/// Something to be told.
struct Matter {
    notice: Notice,
    kind: Kind,
    due: Option<Timestamp>,
}

/// Whom something is told.
struct Addressee<'d> {
    /// What is noted of whom: no address and no name.
    key: String,
    email: &'d str,
    reader: Reader,
}

impl Notify {
    /// For this gateway; none when its settings name no mail server.
    pub fn new(parts: Parts) -> anyhow::Result<Option<Self>> {
        let mailer = Mailer::new(&parts.home, &parts.config)?;
        Ok(mailer.map(|mailer| Self {
            parts,
            mailer,
            server: None,
            addressees: BTreeMap::new(),
            unnoted: HashMap::new(),
            looked: Duration::ZERO,
        }))
    }

    /// Tells what there is to be told, again and again, until `stop`: that does not wait for a server.
    pub async fn run(mut self, stop: CancellationToken) {
        let every = Duration::from_secs(self.parts.config.notices.every_s.into());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                told = self.round(now()) => if let Err(error) = told {
                    tracing::error!(error = format!("{error:#}"), "not all could be told that is due");
                },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every.max(SHARE * self.looked)) => {}
            }
        }
    }

    /// Tells everybody what is new for them at this time.
    pub async fn round(&mut self, at: Timestamp) -> anyhow::Result<()> {
        self.note_late(at).await?;
        let is_waiting = self.server.is_some_and(|server| server.waits(at));
        if !is_waiting {
            self.tell_all(at).await?;
            self.look_again(at).await;
        }
        self.parts.concerns.set(NOTICES, self.concern());
        Ok(())
    }

    // Whether a server that failed works again, when meanwhile there is nothing to send by which to tell.
    async fn look_again(&mut self, at: Timestamp) {
        if self.server.is_none_or(|server| server.waits(at)) {
            return;
        }
        let looked = self.mailer.look().await;
        self.server = looked.err().map(|why| Failing::again(self.server, why, self.base(), at));
    }

    async fn tell_all(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let begun = Instant::now();
        let directory = self.parts.gateway.directory();
        let mut due = self.due(at).await?;
        let operation = self.operation(&directory, at).await?;
        let waiting: BTreeSet<AgencyId> = (self.parts.gateway.store().backlog().await?)
            .into_iter()
            .filter(|backlog| backlog.state == "held")
            .map(|backlog| backlog.recipient)
            .collect();
        self.looked = begun.elapsed();
        let mut known = BTreeSet::new();
        for agency in directory.all().filter(|agency| agency.is_active(at)) {
            let matters = due.remove(&agency.id).unwrap_or_default();
            let mailbox = waiting.contains(&agency.id).then_some(&agency.id);
            if matters.is_empty() && mailbox.is_none() {
                continue;
            }
            for addressee in of_agency(agency) {
                known.insert(addressee.key.clone());
                if !self.tell(&addressee, &matters, mailbox, at).await? {
                    return Ok(());
                }
            }
        }
        let operators = self.parts.config.notices.operators.clone();
        for (number, email) in (1..).zip(&operators) {
            let key = format!("operator {number}");
            known.insert(key.clone());
            let addressee = Addressee { key, email, reader: Reader::Operator };
            if !self.tell(&addressee, &operation, None, at).await? {
                return Ok(());
            }
        }
        // Of whom there is nothing to tell any more, or who has left.
        self.addressees.retain(|key, _| known.contains(key));
        Ok(())
    }

    // Tells one addressee what is new, with how everything stands; false when the server takes nothing.
    async fn tell(
        &mut self,
        addressee: &Addressee<'_>,
        matters: &[Matter],
        mailbox: Option<&AgencyId>,
        at: Timestamp,
    ) -> anyhow::Result<bool> {
        let Addressee { key, email, reader } = addressee;
        if self.addressees.get(key).is_some_and(|failing| failing.waits(at)) {
            return Ok(true);
        }
        let store = Arc::clone(self.parts.gateway.store());
        let notices = matters.iter().map(|matter| matter.notice.clone()).collect();
        let mut untold = store.untold_notices(key, notices).await?;
        let uncollected = match mailbox {
            Some(agency) => store.uncollected(agency, key, AT_ONCE).await?,
            None => Uncollected::default(),
        };
        untold.extend(uncollected.untold);
        if untold.is_empty() {
            self.addressees.remove(key);
            return Ok(true);
        }
        let mut summary = Summary::default();
        if uncollected.messages > 0 {
            summary.counts.insert(Kind::Waiting, uncollected.messages);
        }
        for matter in matters {
            *summary.counts.entry(matter.kind).or_default() += 1;
        }
        let timers = self.parts.gateway.timers();
        let first = matters.iter().filter_map(|matter| matter.due).min();
        summary.first = first.map(|first| timers.working_time.clock(first));
        let text = body(*reader, &summary, self.parts.config.notices.desk_url.as_deref());
        match self.mailer.send(email, &text, at).await {
            Ok(()) => {
                self.parts.metrics.notice(NoticeOutcome::Accepted);
                self.server = None;
                self.addressees.remove(key);
                self.unnoted.insert(key.clone(), untold);
                self.note_late(at).await?;
                Ok(true)
            }
            Err(why) if why.is_addressees() => {
                self.parts.metrics.notice(NoticeOutcome::Refused);
                // It answers: nothing is wrong with the way to it.
                self.server = None;
                let failing =
                    Failing::again(self.addressees.get(key).copied(), why, self.base(), at);
                self.addressees.insert(key.clone(), failing);
                Ok(true)
            }
            Err(why) => {
                self.parts.metrics.notice(NoticeOutcome::Unreachable);
                self.server = Some(Failing::again(self.server, why, self.base(), at));
                Ok(false)
            }
        }
    }

    // Notes what was sent.
    async fn note_late(&mut self, at: Timestamp) -> Result<(), StoreError> {
        while let Some((key, notices)) = self.unnoted.iter().next() {
            let (key, notices) = (key.clone(), notices.clone());
            self.parts.gateway.store().note_told(&key, notices, at).await?;
            self.unnoted.remove(&key);
        }
        Ok(())
    }

    // What is due soon or overdue, of each agency and of the hub.
    async fn due(&self, at: Timestamp) -> Result<BTreeMap<AgencyId, Vec<Matter>>, StoreError> {
        let gateway = &self.parts.gateway;
        let mut all: BTreeMap<AgencyId, Vec<Matter>> = BTreeMap::new();
        due::each(&**gateway.store(), &gateway.timers(), at, |exchange, due| {
            let (timer, grade) = (due.timer, due.grade);
            if grade == Grade::Running {
                return;
            }
            let (subject, when) = (NoticeSubject::Exchange(exchange.id), due.at.as_millisecond());
            let matter = |kind| Matter {
                notice: Notice {
                    subject,
                    what: format!("{} {} {when}", timer.as_str(), grade.as_str()),
                },
                kind,
                due: Some(due.at),
            };
            match timer.owner() {
                Party::Hub => {
                    let own = all.entry(exchange.hub.clone()).or_default();
                    own.push(matter(Kind::Due(grade, timer)));
                }
                Party::Agency => {
                    let own = all.entry(exchange.agency.clone()).or_default();
                    own.push(matter(Kind::Due(grade, timer)));
                    if grade == Grade::Overdue {
                        let hub = all.entry(exchange.hub.clone()).or_default();
                        hub.push(matter(Kind::AgencyOverdue(timer)));
                    }
                }
            }
        })
        .await?;
        Ok(all)
    }

    // What operators see to, by the same rules as doctor.
    async fn operation(&self, directory: &Directory, at: Timestamp) -> anyhow::Result<Vec<Matter>> {
        let Parts { home, config, gateway, .. } = &self.parts;
        if config.notices.operators.is_empty() {
            return Ok(Vec::new());
        }
        let matter = |kind, what: String, due| Matter {
            notice: Notice { subject: NoticeSubject::Operation, what },
            kind,
            due,
        };
        let register = gateway.store().certificates().await?;
        let inventory = inventory(home, config).context("what ends cannot be told")?;
        let is_active = |id: &AgencyId| directory.is_active(id, at);
        let endings = expiry::endings(&inventory, &register, is_active, at);
        let mut all: Vec<_> = endings
            .into_iter()
            .map(|ending| {
                let which = match (&ending.dated.serial, &ending.dated.what) {
                    (Some(serial), _) => format!("certificate {serial}"),
                    (None, What::List { file_stem } | What::Authority { file_stem }) => {
                        format!("list {file_stem} {}", ending.dated.end.as_millisecond())
                    }
                    (None, What::Own(what)) => format!("certificate {what}"),
                    (None, What::Agency { agency, profile }) => {
                        format!("certificate {agency} {profile}")
                    }
                };
                let what = format!("{which} {}d", ending.within_days);
                matter(Kind::of(&ending.dated.what), what, Some(ending.dated.end))
            })
            .collect();
        for agency in directory.all().filter(|agency| agency.is_active(at)) {
            let due = agency.policy_document.as_ref().filter(|document| document.is_due(at));
            if let Some(document) = due {
                let standing = standing(document.days_to_review(at).into());
                let what = format!("policy-document {} {} {standing}", agency.id, document.review);
                all.push(matter(Kind::PolicyDocuments, what, None));
            }
        }
        if let Some(day) = config.agreement.next_review().filter(|_| config.agreement.is_due(at)) {
            let standing = standing(config.agreement.days_to_review(at).unwrap_or_default());
            all.push(matter(Kind::Agreement, format!("agreement {day} {standing}"), None));
        }
        Ok(all)
    }

    // What an operator should know of it: whom by the agency's id, and never an address.
    fn concern(&self) -> Option<String> {
        if let Some(server) = self.server {
            return Some(format!("{}: nobody is told by e-mail meanwhile", server.why));
        }
        let refused: Vec<_> = self
            .addressees
            .iter()
            .map(|(key, failing)| format!("{key} ({})", failing.why))
            .collect();
        let says = format!("not told by e-mail, to be put right: {}", refused.join(", "));
        (!refused.is_empty()).then_some(says)
    }

    // The first wait after something did not work.
    fn base(&self) -> SignedDuration {
        SignedDuration::from_secs(self.parts.config.notices.every_s.into())
    }
}

impl Failing {
    // It did not work again: the wait doubles up to an hour.
    fn again(before: Option<Self>, why: Unsent, base: SignedDuration, at: Timestamp) -> Self {
        let times = before.map_or(0, |before| before.times.saturating_add(1));
        let wait = base.saturating_mul(1 << times.min(12)).min(LONGEST_WAIT);
        Self { why, times, until: at + wait }
    }

    // A clock that was set back makes no wait longer.
    fn waits(&self, at: Timestamp) -> bool {
        at < self.until && self.until.duration_since(at) <= LONGEST_WAIT
    }
}

// Its contact officer and who stands in, as far as they have an address; one of both once.
fn of_agency(agency: &Partner) -> Vec<Addressee<'_>> {
    let mut all: Vec<Addressee<'_>> = Vec::new();
    let officers = [("contact-officer", &agency.contact_officer), ("deputy", &agency.deputy)];
    for (who, officer) in officers {
        let email = officer.as_ref().and_then(|officer| officer.email.as_deref());
        let Some(email) = email else { continue };
        if all.iter().all(|other| other.email != email) {
            let key = format!("{} {who}", agency.id);
            all.push(Addressee { key, email, reader: Reader::Agency });
        }
    }
    all
}

fn standing(days_left: i64) -> &'static str {
    if days_left < 0 { "overdue" } else { "due-soon" }
}

/// What a concern about e-mail notices is filed under.
pub const NOTICES: &str = "notices";

/// Of so many messages at most one notice notes that they were told; the next has the others.
const AT_ONCE: usize = 10_000;

/// No more than a twentieth of the time is spent on looking.
const SHARE: u32 = 20;

const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);
