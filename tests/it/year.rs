//! A year in the life of a hub, in virtual time: a thousand enquiries to all its agencies, of every outcome,
//! at all hours. Every timer is due when a second reckoning, made here and much more simply, says so; every
//! enquiry ends; what is due is destroyed, in backups too; and every receipt ever given still verifies.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mash_gateway::audit::receipt::verify_answer;
use mash_gateway::message::{EnquiryId, Exchange, Kind, Target, rfc3339};
use mash_gateway::retention::Periods;
use mash_gateway::timer::{self, Grade, TelephoneThreshold, Timer};
use mash_gateway::worker::retain::Retain;
use serde_json::{Value, json};

use crate::support::told::{self, Told};
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, text};

const ENQUIRIES: usize = 1_000;
/// The same every time; another seed is another year.
const SEED: u64 = 20_270_101;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Small, and the same everywhere (xorshift64*): what is tried must not depend on a library's version.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end
    }

    fn minutes(&mut self, from: u64, to: u64) -> SignedDuration {
        SignedDuration::from_mins((from + self.below(to - from)) as i64)
    }
}

// --- the second reckoning -------------------------------------------------------------------------

/// Nine to five in London, by lists of days.
struct Calendar {
    holidays: BTreeSet<Date>,
    london: TimeZone,
}

impl Calendar {
    fn new() -> Self {
        let file: Value =
            serde_json::from_str(include_str!("../../data/bank-holidays.json")).unwrap();
        let events = file["england-and-wales"]["events"].as_array().unwrap();
        let holidays = events.iter().map(|event| event["date"].as_str().unwrap().parse().unwrap());
        Self { holidays: holidays.collect(), london: TimeZone::get("Europe/London").unwrap() }
    }

    fn works(&self, day: Date) -> bool {
        !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
            && !self.holidays.contains(&day)
    }

    fn day(&self, at: Timestamp) -> Date {
        self.london.to_datetime(at).date()
    }

    fn at(&self, day: Date, hour: i8, minute: i8) -> Timestamp {
        let local = day.to_datetime(Time::constant(hour, minute, 0, 0));
        self.london.to_timestamp(local).unwrap()
    }

    /// Five o'clock on the so-manieth working day after this one.
    fn days_after(&self, at: Timestamp, count: usize) -> Timestamp {
        let mut day = self.day(at);
        for _ in 0..count {
            day = day.tomorrow().unwrap();
            while !self.works(day) {
                day = day.tomorrow().unwrap();
            }
        }
        self.at(day, 17, 0)
    }

    /// Minutes of work from one to the other, counted.
    fn minutes(&self, from: Timestamp, to: Timestamp) -> i64 {
        let mut sum = 0;
        let mut day = self.day(from);
        while self.at(day, 0, 0) < to {
            if self.works(day) {
                let begin = self.at(day, 9, 0).max(from);
                let end = self.at(day, 17, 0).min(to);
                sum += end.duration_since(begin).as_mins().max(0);
            }
            day = day.tomorrow().unwrap();
        }
        sum
    }

    /// Whether it is to be rung, by this reading of "less than 24 working hours" (R45).
    fn is_short(&self, from: Timestamp, to: Timestamp, reading: TelephoneThreshold) -> bool {
        match reading {
            TelephoneThreshold::WorkingHours => self.minutes(from, to) < 24 * 60,
            TelephoneThreshold::WorkingDay => {
                let local = self.london.to_datetime(from);
                let mut day = local.date().tomorrow().unwrap();
                while !self.works(day) {
                    day = day.tomorrow().unwrap();
                }
                to < self.london.to_timestamp(day.to_datetime(local.time())).unwrap()
            }
        }
    }
}

// --- the year -------------------------------------------------------------------------------------

/// What happens at a time. Ordered by it, the first first.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Event(std::cmp::Reverse<(Timestamp, usize)>, What);

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
    Ask(usize),
    /// How the agency reacts, by the exchange's place.
    React(usize),
    /// The hub does what closes the exchange.
    Close(usize),
    /// The hub tells whoever referred the child.
    TellReferrer(usize),
    /// Everybody has saved what waits.
    SaveAll,
    /// The gateway looks for what is due to be destroyed.
    Retain,
    /// A backup is made.
    Backup,
}

struct Asked {
    exchange: Value,
    agency: String,
    at: Timestamp,
    required: Timestamp,
    first_answer: Option<Timestamp>,
    is_cancelled: bool,
}

struct Year {
    home: tempfile::TempDir,
    told: Told,
    calendar: Calendar,
    dice: Dice,
    events: BinaryHeap<Event>,
    count: usize,
    asked: Vec<Asked>,
    /// Every answer that a sender ever got.
    answers: Vec<String>,
    /// How often each timer was looked at just before and when it is due.
    fired: BTreeMap<&'static str, usize>,
    /// How often it is to be rung, by each reading.
    short: BTreeMap<&'static str, usize>,
    destroyed: BTreeSet<EnquiryId>,
    outcomes: BTreeMap<&'static str, usize>,
}

impl Year {
    fn schedule(&mut self, at: Timestamp, what: What) {
        self.count += 1;
        self.events.push(Event(std::cmp::Reverse((at, self.count)), what));
    }

    async fn submit(&mut self, who: &str, target: Target, body: &Value, at: Timestamp) -> Value {
        let key = uuid::Uuid::new_v4().to_string();
        let answered = self.told.submit(who, &key, target, &body.to_string(), at).await;
        let answer = answered
            .unwrap_or_else(|problem| panic!("{}: {}: {:?}", at, problem.detail, problem.errors));
        let document = serde_json::from_str(&answer).unwrap();
        self.answers.push(answer);
        document
    }

    async fn say(&mut self, place: usize, who: &str, kind: Kind, body: &Value, at: Timestamp) {
        let id = self.asked[place].exchange["exchange"].as_str().unwrap().parse().unwrap();
        self.submit(who, Target::Exchange(id, kind), body, at).await;
        let asked = &mut self.asked[place];
        match kind {
            Kind::Response | Kind::Transcription => _ = asked.first_answer.get_or_insert(at),
            Kind::Cancellation => asked.is_cancelled = true,
            _ => {}
        }
        self.is_due(place, at).await;
    }

    async fn exchange(&self, place: usize) -> Exchange {
        let id = self.asked[place].exchange["exchange"].as_str().unwrap().parse().unwrap();
        self.told.store().exchange(&id).await.unwrap()
    }

    async fn ask(&mut self, number: usize, at: Timestamp) {
        let all = [POLICE, TRUST, SURGERY];
        let count = 1 + self.dice.below(3) as usize;
        let first = self.dice.below(3) as usize;
        let agencies: Vec<_> = (0..count).map(|i| all[(first + i) % 3]).collect();
        let mut dispatch = case::dispatch(&agencies);
        let rfi = &mut dispatch["rfi"];
        rfi["dateOfRequest"] = json!(rfc3339(at - SignedDuration::from_mins(30)));
        let required = at + self.dice.minutes(30, 8 * 24 * 60);
        rfi["responseRequiredBy"] = json!(rfc3339(required));
        rfi["enquiryAuthorisation"]["at"] = json!(rfc3339(at - SignedDuration::from_hours(1)));
        let dispatched = self.submit(HUB, Target::Rfis, &dispatch, at).await;
        for (exchange, agency) in dispatched["exchanges"].as_array().unwrap().iter().zip(agencies) {
            let place = self.asked.len();
            self.asked.push(Asked {
                exchange: exchange.clone(),
                agency: agency.to_owned(),
                at,
                required,
                first_answer: None,
                is_cancelled: false,
            });
            self.is_due(place, at).await;
            let (reacts, closes) = (
                self.dice.minutes(20, 10 * 24 * 60),
                self.dice.minutes(11 * 24 * 60, 30 * 24 * 60),
            );
            self.schedule(at + reacts, What::React(place));
            self.schedule(at + closes, What::Close(place));
        }
        // One in ten is never saved by anybody, and goes when it has long been closed.
        if !number.is_multiple_of(10) {
            self.schedule(at + 31 * DAY, What::SaveAll);
        }
    }

    /// It answers whole, in part, that it knows nothing, that it cannot share, by telephone, or not at all.
    async fn react(&mut self, place: usize, at: Timestamp) {
        let agency = self.asked[place].agency.clone();
        let rfi = self.asked[place].exchange["message"].as_str().unwrap().to_owned();
        let mut response = case::response(&rfi);
        match self.dice.below(8) {
            0 => {
                let mut acknowledgement = case::acknowledgement(&rfi);
                acknowledgement["willReplyBy"] = json!(rfc3339(at + DAY));
                self.say(place, &agency, Kind::Acknowledgement, &acknowledgement, at).await;
                self.schedule(at + SignedDuration::from_hours(20), What::React(place));
            }
            1 => {
                let mut partial = case::partial(&rfi);
                partial["moreToFollowBy"] = json!(rfc3339(at + DAY));
                self.say(place, &agency, Kind::Response, &partial, at).await;
            }
            2 => {
                for answer in response["answers"].as_array_mut().unwrap() {
                    *answer = json!({ "category": answer["category"], "status": "nothing-known" });
                }
                response["result"] = json!("nothing-known");
                self.say(place, &agency, Kind::Response, &response, at).await;
            }
            3 => {
                let mut written = case::said(Kind::Transcription, &rfi);
                written["transcription"]["takenAt"] = json!(rfc3339(at));
                self.say(place, HUB, Kind::Transcription, &written, at).await;
            }
            // Silence.
            4 => {}
            _ => self.say(place, &agency, Kind::Response, &response, at).await,
        }
    }

    /// An outcome to whom answered, and also, now and then, to whom did not; the rest are told to stop.
    async fn close(&mut self, place: usize, at: Timestamp) {
        let exchange = self.exchange(place).await;
        let rfi = self.asked[place].exchange["message"].as_str().unwrap().to_owned();
        if exchange.result.is_none() && self.dice.below(2) == 0 {
            let cancelled = case::said(Kind::Cancellation, &rfi);
            self.say(place, HUB, Kind::Cancellation, &cancelled, at).await;
            return;
        }
        let codes = ["early-help", "no-further-action-threshold-not-met", "social-care-assessment"];
        let code = codes[self.dice.below(3) as usize];
        *self.outcomes.entry(code).or_default() += 1;
        let mut outcome = case::outcome_of(code);
        outcome["decidedAt"] = json!(rfc3339(at - self.dice.minutes(1, 40 * 60)));
        self.say(place, HUB, Kind::Outcome, &outcome, at).await;
        if self.exchange(place).await.decision.is_some_and(|it| it.outcome.is_below_threshold()) {
            let tells = self.dice.minutes(10, 3 * 24 * 60);
            self.schedule(at + tells, What::TellReferrer(place));
        }
    }

    async fn tell_referrer(&mut self, place: usize, at: Timestamp) {
        let enquiry = self.exchange(place).await.enquiry;
        let contact = json!({
            "channel": "telephone", "toldAt": rfc3339(at),
            "toldBy": { "name": "Oswin Quillfeather", "jobTitle": "Health Representative" },
        });
        let (hub, contact) = (HUB.parse().unwrap(), contact.to_string());
        let told =
            self.told.gateway.tell_referrer(&hub, None, None, &enquiry, contact.as_bytes(), at);
        assert!(told.await.is_ok());
        self.is_due(place, at).await;
    }

    async fn save_all(&mut self, at: Timestamp) {
        for agency in [HUB, POLICE, TRUST, SURGERY] {
            let reader = agency.parse().unwrap();
            loop {
                let waiting = self.told.store().inbox(&reader, None, None, 100).await.unwrap();
                let Some(_) = waiting.first() else { break };
                for message in waiting {
                    let (gateway, id) = (&self.told.gateway, message.envelope.id);
                    gateway.collect(&reader, None, None, &id, at).await.ok().unwrap();
                    gateway.save(&reader, None, None, &id, None, at).await.ok().unwrap();
                }
            }
        }
    }

    /// What is due in this exchange now, held against the second reckoning under both readings.
    async fn is_due(&mut self, place: usize, now: Timestamp) {
        let exchange = self.exchange(place).await;
        let settings = self.told.gateway.timers();
        let (marks, calendar) = (&exchange.marks, &self.calendar);
        let (opened, required) = (exchange.opened_at, exchange.response_required_by);
        let state = exchange.state.as_str();
        let is_waited_for = !["cancelled", "completed", "rejected"].contains(&state);
        let answered = marks.answered_at.or(marks.transcribed_at);
        let mut expected = BTreeMap::new();
        if is_waited_for {
            expected.insert(Timer::Reply, required);
        }
        if let Some(answered) = answered.filter(|_| marks.outcome_at.is_none()) {
            expected.insert(
                Timer::Outcome,
                match exchange.decision {
                    Some(decision) => calendar.days_after(decision.at, 3),
                    None => calendar.days_after(answered, 10),
                },
            );
        }
        if let Some(decision) = exchange.decision
            && decision.outcome.as_str() != "social-care-assessment"
            && decision.referrer_told_at.is_none()
        {
            expected.insert(Timer::ReferrerTold, calendar.days_after(decision.at, 1));
        }
        for reading in TelephoneThreshold::ALL {
            let settings = timer::Settings {
                telephone_threshold: reading,
                ..timer::Settings::clone(&settings)
            };
            let is_short = calendar.is_short(opened, required, reading);
            assert_eq!(
                settings.is_short(&exchange),
                is_short,
                "{opened} to {required}: {reading:?}"
            );
            let mut expected = expected.clone();
            if is_short && is_waited_for {
                expected.insert(Timer::Telephone, opened);
            }
            let due = settings.due(&exchange, now);
            let found: BTreeMap<_, _> = due.iter().map(|due| (due.timer, due.at)).collect();
            assert_eq!(found, expected, "{reading:?}, at {now}: {exchange:?}");
            if now == opened && is_short {
                *self.short.entry(reading.as_str()).or_default() += 1;
            }
            for (timer, at) in expected {
                // The call is due at once; the rest not a minute before its time.
                let minute = SignedDuration::from_mins(1);
                let grade = |at| {
                    let due = settings.due(&exchange, at);
                    due.iter().find(|due| due.timer == timer).unwrap().grade
                };
                assert_eq!(grade(at), Grade::Overdue, "{timer:?} at {at}");
                assert_ne!(grade(at - minute), Grade::Overdue, "{timer:?} before {at}");
                *self.fired.entry(timer.as_str()).or_default() += 1;
            }
        }
    }

    async fn retain(&mut self, at: Timestamp) {
        let periods = Periods { after_saved: 30 * DAY, after_closed: 180 * DAY };
        let retain = Retain::new(Arc::clone(&self.told.gateway), periods);
        let run = retain.round(at).await.unwrap();
        self.destroyed.extend(run.destroyed.iter().map(|(enquiry, _)| *enquiry));
    }

    fn backup(&self, name: &str) {
        let folder = self.home.path().join(format!("backups/{name}"));
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        let made = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(["store", "backup"])
            .arg(&folder)
            .arg("--home")
            .arg(self.home.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
}

impl Year {
    /// A command, as it would be run at this time.
    fn run_at(&self, at: Timestamp, arguments: &[&str]) -> Vec<u8> {
        let ran = Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(arguments)
            .arg("--home")
            .arg(self.home.path())
            .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1")
            .env("FAKETIME", at.strftime("@%Y-%m-%d %H:%M:%S").to_string())
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
        ran.stdout
    }

    /// What an auditor asks for half-way through: how timely each agency is, held to what is known here, and
    /// the case files of enquiries drawn at random, which prove themselves.
    fn audit(&self, at: Timestamp) {
        let to: Timestamp = "2027-07-01T00:00:00Z".parse().unwrap();
        let period = ["--from", "2027-01-01", "--to", "2027-06-30"];
        let report = ["report", "timeliness", "--format", "json"];
        let report = self.run_at(at, &[&report[..], &period].concat());
        let report: Value = serde_json::from_slice(&report).unwrap();
        for agency in [POLICE, TRUST, SURGERY] {
            let asked = self.asked.iter().filter(|asked| asked.agency == agency && asked.at < to);
            let mut known = [0_u64; 5];
            for asked in asked {
                known[0] += 1;
                let counts = match asked.first_answer {
                    Some(answered) if answered <= asked.required => 1,
                    Some(_) => 2,
                    None if asked.is_cancelled => 3,
                    None if asked.required < at => 4,
                    None => continue,
                };
                known[counts] += 1;
            }
            let rows = report["figures"].as_array().unwrap();
            let row = rows.iter().find(|row| row["agency"] == agency && row["priority"] == "(all)");
            let names = ["asked", "answeredInTime", "answeredLate", "cancelled", "overdue"];
            let said = names.map(|name| row.unwrap()[name].as_u64().unwrap());
            assert_eq!(said, known, "{agency}: {names:?}");
            assert!(known.iter().all(|count| *count > 10), "{agency}: {known:?}");
        }
        let folder = self.home.path().join("sample");
        let out = folder.to_str().unwrap();
        let sample = ["report", "sample", "--count", "5", "--seed", "7", "--out", out];
        self.run_at(at, &[&sample[..], &period].concat());
        let key = self.home.path().join("log-key.txt");
        let mut cases = 0;
        for case in std::fs::read_dir(&folder).unwrap() {
            let file = case.unwrap().path().join("evidence.json");
            if !file.exists() {
                continue;
            }
            let evidence: Value =
                serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            std::fs::write(&key, evidence["logKey"].as_str().unwrap()).unwrap();
            let (file, key) = (file.to_str().unwrap(), key.to_str().unwrap());
            let verified = self.run_at(at, &["receipt", "verify", file, "--log-key", key]);
            assert!(text(&verified).starts_with("verified"), "{}", text(&verified));
            cases += 1;
        }
        assert_eq!(cases, 5);
    }
}

fn column(database: &Path, sql: &str) -> BTreeSet<String> {
    let ran = Command::new("sqlite3").arg(database).arg(sql).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    text(&ran.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_thousand_enquiries_are_asked_answered_closed_and_destroyed_on_the_right_days() {
    let ground = TestGateway::made(&case::partners(&[]));
    let home = told::copy(&ground.home());
    let mut year = Year {
        told: Told::of(home.path()),
        home,
        calendar: Calendar::new(),
        dice: Dice(SEED),
        events: BinaryHeap::new(),
        count: 0,
        asked: Vec::new(),
        answers: Vec::new(),
        fired: BTreeMap::new(),
        short: BTreeMap::new(),
        destroyed: BTreeSet::new(),
        outcomes: BTreeMap::new(),
    };
    let begin: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2028-01-01T00:00:00Z".parse().unwrap();
    // The last minute before a long weekend, both changes of the clock, and any time whatever.
    let special = [
        "2027-03-25T16:59:00Z",
        "2027-03-26T16:59:00Z",
        "2027-03-27T23:59:00Z",
        "2027-03-28T01:00:00Z",
        "2027-04-30T15:59:00Z",
        "2027-10-30T22:59:00Z",
        "2027-10-31T01:30:00Z",
        "2027-12-24T16:59:00Z",
        "2027-12-31T16:59:00Z",
    ];
    for (number, at) in special.iter().enumerate() {
        year.schedule(at.parse().unwrap(), What::Ask(number));
    }
    for number in special.len()..ENQUIRIES {
        let at = begin + year.dice.minutes(1, 364 * 24 * 60);
        year.schedule(at, What::Ask(number));
    }
    let mut day = begin;
    // Long enough after the year for all that is closed to be due.
    while day < end + 220 * DAY {
        day += DAY;
        year.schedule(day, What::Retain);
    }
    year.schedule("2027-07-01T03:00:00Z".parse().unwrap(), What::Backup);
    year.schedule(end + 219 * DAY, What::Backup);
    let mut backups = 0;
    while let Some(Event(std::cmp::Reverse((at, _)), what)) = year.events.pop() {
        match what {
            What::Ask(number) => year.ask(number, at).await,
            What::React(place) => year.react(place, at).await,
            What::Close(place) => year.close(place, at).await,
            What::TellReferrer(place) => year.tell_referrer(place, at).await,
            What::SaveAll => year.save_all(at).await,
            What::Retain => year.retain(at).await,
            What::Backup => {
                backups += 1;
                year.backup(&format!("{backups}"));
                if backups == 1 {
                    year.audit(at);
                }
            }
        }
    }

    // Every enquiry ended, and is destroyed.
    let enquiries =
        column(&year.home.path().join("data/gateway.db"), "SELECT hex(id) FROM enquiries");
    assert_eq!(enquiries.len(), ENQUIRIES);
    for place in 0..year.asked.len() {
        let exchange = year.exchange(place).await;
        let marks = &exchange.marks;
        assert!(marks.outcome_at.is_some() || marks.cancelled_at.is_some(), "{exchange:?}");
        assert!(exchange.destroyed_at.is_some(), "{exchange:?}");
        // Nothing is due any more, of all that was; but silence, and half an answer, stay
        // that, whatever was decided.
        let due = year.told.gateway.timers().due(&exchange, end + 220 * DAY);
        let is_silent = !["cancelled", "completed"].contains(&exchange.state.as_str());
        let of_silence = |due: &timer::Due| matches!(due.timer, Timer::Reply | Timer::Telephone);
        assert!(due.iter().all(|due| is_silent && of_silence(due)), "{due:?} {exchange:?}");
    }
    assert_eq!(year.destroyed.len(), ENQUIRIES);
    // Nothing of that can be opened in the backup that was made in July: it has no keys, and where the keys
    // were there are none any more.
    let july = year.home.path().join("backups/1/gateway.db");
    let payloads = column(&july, "SELECT count(*) FROM payloads");
    assert!(payloads.iter().all(|count| count.parse::<usize>().unwrap() > 500), "{payloads:?}");
    let lengths = column(
        &july,
        "SELECT DISTINCT length(wrapped_key) FROM enquiries
        WHERE wrapped_key IS NOT NULL",
    );
    assert_eq!(lengths, BTreeSet::from(["0".to_owned()]));
    let keys = year.home.path().join("backups/enquiry-keys.db");
    assert_eq!(column(&keys, "SELECT hex(id) FROM enquiry_keys"), BTreeSet::new());

    // What was promised can be proved for good.
    let (store, log) = told::store(year.home.path());
    told::verify(&store, &log).await.unwrap();
    for answer in &year.answers {
        verify_answer(answer, &log).unwrap();
    }
    // And the year had all of it in it.
    println!("{:?} {:?} {:?}", year.fired, year.short, year.outcomes);
    for timer in [Timer::Outcome, Timer::ReferrerTold, Timer::Reply, Timer::Telephone] {
        assert!(year.fired.get(timer.as_str()).is_some_and(|count| *count > 100), "{timer:?}");
    }
    assert_ne!(year.short["24-working-hours"], year.short["one-working-day"]);
    assert_eq!(year.outcomes.len(), 3);
    year.told.end().await;
}
