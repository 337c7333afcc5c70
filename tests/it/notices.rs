//! Notices by e-mail, taken by a mail server of others' making: that they arrive, once, whom they are for, and
//! that nothing is in them.

use std::sync::Arc;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use mash_gateway::config::{Config, Home};
use mash_gateway::message::{ExchangeId, Kind, MessageId, Target, now, rfc3339};
use mash_gateway::retention::Periods;
use mash_gateway::telemetry::Metrics;
use mash_gateway::worker::notify::{Notify, Parts};
use mash_gateway::worker::retain::Retain;
use serde_json::{Value, json};

use crate::support::authority::TestAuthority;
use crate::support::faulty_store::{Fault, FaultyStore, Plan, WritePoint};
use crate::support::mail::{Mail, MailServer};
use crate::support::told::Told;
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, text};

/// Whom the operators' notices go to.
const OPERATOR: &str = "duty@operators.example";

/// In every name that the directory has of a person.
const OFFICER: &str = "Quillonby";

/// A home whose agencies have officers with these addresses: `o-` and `d-`, then the agency's own word; not
/// running. Its notices go to `server`.
fn made(server: &MailServer) -> TestGateway {
    let hub = "telephone = \"01632 960100\"\n\
        contact_officer = { name = \"A. Officer\", telephone = \"01632 960101\" }\n\
        deputy = { name = \"B. Deputy\", telephone = \"01632 960102\" }\n\
        endpoints = [{ kind = \"mailbox\" }]\n";
    let partners: String = case::partners(&[(HUB, hub)])
        .split_inclusive("\n\n")
        .map(|entry| {
            let id = entry.split('"').nth(1).unwrap().trim_start_matches("test-").to_owned();
            let email = |who: &str| format!("email = \"{who}-{id}@duty.example\" }}");
            entry
                .replace("A. Officer", &format!("Ada {OFFICER}"))
                .replace("B. Deputy", &format!("Bertram {OFFICER}"))
                .replace("960101\" }", &format!("960101\", {}", email("o")))
                .replace("960102\" }", &format!("960102\", {}", email("d")))
        })
        .collect();
    let gateway = TestGateway::made(&partners);
    let line = |from: &str, key: &str, value: &str| {
        gateway.configure(from, &format!("{key} = {value}"));
    };
    let server = format!("\"{}\"", server.address());
    line("#server = \"mail.example.org:587\"", "server", &server);
    line("# encryption = \"starttls\"", "encryption", "\"none\"");
    line("#from = \"mash-gateway@example.org\"", "from", "\"gateway@mash.test.example\"");
    // As init writes it, with this gateway's own domain.
    let desk = "\"https://mash.test.example:8444/\"";
    line(&format!("#desk_url = {desk}"), "desk_url", desk);
    line("# operators = []", "operators", &format!("[\"{OPERATOR}\"]"));
    gateway
}

/// The notifier of a home, as `serve` makes it, with `running`'s concerns.
fn notifier(gateway: &TestGateway, running: &Told) -> anyhow::Result<Notify> {
    let home = Home::new(gateway.home()).unwrap();
    let settings = std::fs::read_to_string(home.config()).unwrap();
    let parts = Parts {
        config: Config::parse(&settings).unwrap(),
        home,
        gateway: Arc::clone(&running.gateway),
        metrics: Arc::new(Metrics::new()),
        concerns: Arc::clone(&running.concerns),
    };
    Ok(Notify::new(parts)?.expect("a server is named"))
}

/// A working Monday morning that is still to come, and the Friday at noon of the week after it: there is time
/// whichever holidays there are between.
fn monday_and_friday() -> (Timestamp, Timestamp) {
    let zone = TimeZone::get("Europe/London").unwrap();
    let today = now().to_zoned(zone);
    let monday = today.nth_weekday(1, Weekday::Monday).unwrap();
    let at = |day: jiff::Zoned, hour| {
        day.with().hour(hour).minute(0).second(0).subsec_nanosecond(0).build().unwrap().timestamp()
    };
    (at(monday.clone(), 10), at(monday.checked_add(11.days()).unwrap(), 12))
}

/// An RFI to the police that is asked at one time and to be answered by another.
async fn ask(running: &Told, at: Timestamp, by: Timestamp) -> (ExchangeId, String) {
    let mut dispatch = case::dispatch(&[POLICE]);
    let rfi = &mut dispatch["rfi"];
    rfi["dateOfRequest"] = json!(rfc3339(at - SignedDuration::from_mins(5)));
    rfi["enquiryAuthorisation"]["at"] = json!(rfc3339(at - SignedDuration::from_mins(9)));
    rfi["responseRequiredBy"] = json!(rfc3339(by));
    let key = uuid::Uuid::new_v4().to_string();
    let answer = running.submit(HUB, &key, Target::Rfis, &dispatch.to_string(), at).await;
    let answer: Value = serde_json::from_str(&answer.ok().unwrap()).unwrap();
    let asked = &answer["exchanges"][0];
    let exchange = asked["exchange"].as_str().unwrap().parse().unwrap();
    (exchange, asked["message"].as_str().unwrap().to_owned())
}

/// Whom each is for, and what it says there is.
fn said(mails: &[Mail]) -> Vec<(&str, Vec<&str>)> {
    mails.iter().map(|mail| (mail.to.as_str(), mail.counts())).collect()
}

#[tokio::test]
async fn a_notice_arrives_once_and_says_nothing_of_what_it_is_about() {
    let server = MailServer::start();
    let mut gateway = made(&server);
    gateway.configure("# every_s = 60", "every_s = 1");
    gateway.log_filter = Some("trace");
    gateway.serve();
    let hub = gateway.agency(HUB);
    let of = |who: &'static str| {
        let mails = server.mails().into_iter().filter(move |mail| mail.to == who);
        mails.collect::<Vec<_>>()
    };

    let dispatch = case::dispatch(&[POLICE]);
    let asked = hub.post("/v1/rfis", &dispatch).await.ok(202);
    eventually("both at the police are told", async || {
        of("o-police@duty.example").len() + of("d-police@duty.example").len() == 2
    })
    .await;
    let mail = of("o-police@duty.example").remove(0);
    assert_eq!(mail.counts()[0], "messages that were not collected: 1");
    assert!(mail.text().contains("\n    https://mash.test.example:8444/\n"), "{}", mail.raw);
    assert_eq!(mail.header("Subject"), "Safeguarding hub: something waits for you");
    assert_eq!(mail.header("From"), "gateway@mash.test.example");
    assert_eq!(mail.header("To"), "o-police@duty.example");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Message-ID").ends_with("@mash.test.example>"), "{}", mail.raw);
    assert!(jiff::fmt::rfc2822::parse(mail.header("Date")).is_ok(), "{}", mail.raw);

    // Nothing that anybody wrote, nothing of anybody, and nothing to find it by.
    let mut words = vec![OFFICER.to_owned(), POLICE.to_owned(), TRUST.to_owned()];
    texts(&dispatch["rfi"], &mut words);
    texts(&asked, &mut words);
    // What every notice has in its subject and its last line, about whomever it is.
    words.retain(|word| !["safeguarding", "child"].contains(&&**word));
    assert!(words.len() > 45, "{words:?}");
    for name in ["Thistlebank", "9990000018", "2017-05-09", "Fablewright", "+441632960017"] {
        assert!(words.iter().any(|word| word == name), "{name} is not looked for");
    }
    for mail in server.mails() {
        let said = mail.raw.to_lowercase();
        for word in &words {
            assert!(!said.contains(&word.to_lowercase()), "{word} is in {}", mail.raw);
        }
    }

    // Neither later nor after a restart: when the trust is told, the police were looked at before.
    gateway.restart();
    let hub = gateway.agency(HUB);
    hub.dispatch(&[TRUST]).await;
    eventually("the trust is told", async || of("o-trust@duty.example").len() == 1).await;
    assert_eq!(of("o-police@duty.example").len(), 1);
    assert_eq!(of("d-police@duty.example").len(), 1);
    assert_eq!(of("o-surgery@duty.example").len(), 0);
    eventually("it is counted", async || {
        gateway.metric("mash_gateway_notices_total{outcome=\"accepted\"}") >= 2
    })
    .await;
    // Whom it wrote to is nowhere but in the directory.
    gateway.stop();
    gateway.holds_nowhere_but(&["partners.toml", "gateway.toml"], &["@duty.example"]);
}

/// Every text of a document that could be looked for: words that every text has are none.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.values().for_each(|value| texts(value, into)),
        Value::Array(items) => items.iter().for_each(|value| texts(value, into)),
        Value::String(text) if text.len() > 4 => {
            into.push(text.clone());
            // Of a name or a sentence each word that stands out.
            let words = text.split([' ', ',', '.']).filter(|word| {
                word.len() > 4 && word.starts_with(|c: char| c.is_uppercase()) && text.contains(' ')
            });
            into.extend(words.map(str::to_owned));
        }
        _ => {}
    }
}

#[tokio::test]
async fn what_is_due_is_told_when_it_is_soon_and_when_it_is_late() {
    let server = MailServer::start();
    let gateway = made(&server);
    let running = Told::of(&gateway.home());
    let (monday, friday) = monday_and_friday();
    let mut notify = notifier(&gateway, &running).unwrap();
    let (exchange, rfi) = ask(&running, monday, friday).await;
    let minute = SignedDuration::from_mins(1);

    let waits = "messages that were not collected: 1";
    notify.round(monday + minute).await.unwrap();
    let both = |lines: &[&'static str]| {
        vec![("d-police@duty.example", lines.to_vec()), ("o-police@duty.example", lines.to_vec())]
    };
    assert_eq!(said(&server.take()), both(&[waits]));
    notify.round(monday + minute * 2).await.unwrap();
    assert_eq!(said(&server.take()), [], "once");

    notify.round(friday - minute).await.unwrap();
    let mails = server.take();
    assert_eq!(said(&without_operators(&mails)), both(&[waits, "answers that are due soon: 1"]));
    let due = friday.to_zoned(TimeZone::get("Europe/London").unwrap());
    let due = due.strftime("The first of what is due: Friday %-d %B %Y, 12:00, London time.\n");
    assert!(mails[0].text().contains(&due.to_string()), "{}", mails[0].raw);
    // Another that begins anew knows what was told.
    notify = notifier(&gateway, &running).unwrap();
    notify.round(friday - minute / 2).await.unwrap();
    assert_eq!(said(&server.take()), []);

    // That it is late is news, also for the hub.
    notify.round(friday + minute).await.unwrap();
    let mut expected = both(&[waits, "answers that are overdue: 1"]);
    expected.insert(0, ("d-mash@duty.example", vec!["agencies' answers that are overdue: 1"]));
    expected.insert(2, ("o-mash@duty.example", vec!["agencies' answers that are overdue: 1"]));
    assert_eq!(said(&without_operators(&server.take())), expected);
    notify.round(friday + minute * 90).await.unwrap();
    assert_eq!(said(&without_operators(&server.take())), []);

    // When the answer is there it is the hub's turn, and the police have nothing to be told.
    let key = uuid::Uuid::new_v4().to_string();
    let answer = case::response(&rfi).to_string();
    let target = Target::Exchange(exchange, Kind::Response);
    running.submit(POLICE, &key, target, &answer, friday + minute * 91).await.ok().unwrap();
    notify.round(friday + minute * 92).await.unwrap();
    let mails = server.take();
    let to_hub = vec![("d-mash@duty.example", vec![waits]), ("o-mash@duty.example", vec![waits])];
    assert_eq!(said(&without_operators(&mails)), to_hub);

    // With the enquiry what was told of it goes.
    let count = || {
        let sql = "SELECT count(*) FROM notices WHERE length(subject) > 0";
        let ran = std::process::Command::new("sqlite3").arg(gateway.database()).arg(sql).output();
        text(&ran.unwrap().stdout).trim().parse::<u32>().unwrap()
    };
    assert_eq!(count(), 2 * (1 + 2) + 2 + 2);
    let mut outcome = case::outcome();
    outcome["decidedAt"] = json!(rfc3339(friday + minute * 92));
    let target = Target::Exchange(exchange, Kind::Outcome);
    let key = uuid::Uuid::new_v4().to_string();
    let told = running.submit(HUB, &key, target, &outcome.to_string(), friday + minute * 93).await;
    told.map_err(|problem| problem.detail).unwrap();
    let day = SignedDuration::from_hours(24);
    let periods = Periods { after_saved: day, after_closed: day };
    let retain = Retain::new(Arc::clone(&running.gateway), periods);
    assert_eq!(retain.round(friday + day * 10).await.unwrap().destroyed.len(), 1);
    assert_eq!(count(), 0);
    drop((notify, retain));
    running.end().await;
}

/// Certificates end by themselves while weeks pass; that is told elsewhere.
fn without_operators(mails: &[Mail]) -> Vec<Mail> {
    mails.iter().filter(|mail| mail.to != OPERATOR).cloned().collect()
}

#[tokio::test]
async fn operators_are_told_what_ends_and_what_is_to_be_reviewed() {
    let server = MailServer::start();
    let gateway = made(&server);
    let day = SignedDuration::from_hours(24);
    let begun = now();
    let in_days = |days: i32| {
        let day = (begun + day * days).to_zoned(TimeZone::UTC).date();
        day.to_string()
    };
    let signed = (begun + day * 40).to_zoned(TimeZone::UTC).date().checked_sub(6.months()).unwrap();
    gateway.configure("#signed_on = \"2026-09-01\"", &format!("signed_on = \"{signed}\""));
    let partners = gateway.home().join("partners.toml");
    let text = std::fs::read_to_string(&partners).unwrap();
    std::fs::write(&partners, text.replace("2099-01-01", &in_days(50))).unwrap();
    let running = Told::of(&gateway.home());
    let mut notify = notifier(&gateway, &running).unwrap();
    notify.round(begun).await.unwrap();
    assert_eq!(said(&server.take()), [], "there is time");

    // The agreement is told when it is near, and once more when it is late; the policy document as well.
    let has = |mails: &[Mail], what: &str| {
        assert!(mails.iter().all(|mail| mail.to == OPERATOR), "{mails:?}");
        mails.iter().flat_map(Mail::counts).any(|line| line.starts_with(what))
    };
    let (agreement, policy) = ("sharing agreements to be reviewed: 1", "policy documents");
    notify.round(begun + day * 15).await.unwrap();
    let mails = server.take();
    assert_eq!(mails.len(), 1);
    assert!(has(&mails, agreement) && !has(&mails, policy), "{mails:?}");
    assert!(mails[0].text().contains("mash-gateway doctor"), "{}", mails[0].raw);
    notify.round(begun + day * 15 + SignedDuration::from_mins(1)).await.unwrap();
    assert_eq!(said(&server.take()), []);
    notify.round(begun + day * 25).await.unwrap();
    assert!(has(&server.take(), policy));

    // Certificates are for 90 days: told at each threshold, and not between.
    for (days, is_told) in
        [(61, true), (70, false), (77, true), (84, true), (86, false), (90, true)]
    {
        notify.round(begun + day * days).await.unwrap();
        let mails = server.take();
        assert_eq!(mails.len(), usize::from(is_told), "after {days} days: {mails:?}");
        assert!(!is_told || has(&mails, "certificates that end soon, or have ended: "));
    }
    drop(notify);
    running.end().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_said_and_tried_again_and_nothing_is_told_twice() {
    let mut server = MailServer::reserve();
    let gateway = made(&server);
    let running = Told::of(&gateway.home());
    let (monday, friday) = monday_and_friday();
    let mut notify = notifier(&gateway, &running).unwrap();
    ask(&running, monday, friday).await;
    let minute = SignedDuration::from_mins(1);

    notify.round(monday + minute).await.unwrap();
    let concerns = running.concerns.all();
    let [concern] = concerns.as_slice() else { panic!("{concerns:?}") };
    assert!(concern.starts_with("notices: the mail server does not answer"), "{concern}");
    // It comes back; the wait that has begun is kept, and then everybody is told.
    server.run();
    notify.round(monday + minute + minute / 2).await.unwrap();
    assert_eq!(said(&server.take()), []);
    assert_eq!(running.concerns.all().len(), 1);
    notify.round(monday + minute * 3).await.unwrap();
    assert_eq!(server.take().len(), 2);
    assert_eq!(running.concerns.all(), [] as [String; 0]);

    // It does not take what is for one of them, and says whom it does not know: we do not say that.
    server.stop();
    server.with(&["--refuse", "o-police@duty.example"]);
    server.run();
    notify.round(friday + minute).await.unwrap();
    let mails = without_operators(&server.take());
    let to: Vec<_> = mails.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["d-mash@duty.example", "d-police@duty.example", "o-mash@duty.example"]);
    let concerns = running.concerns.all();
    assert_eq!(
        concerns,
        ["notices: not told by e-mail, to be put right: test-police contact-officer (the mail \
          server refuses, with code 550)"]
    );
    server.stop();
    server.with(&[]);
    server.run();
    notify.round(friday + minute * 3).await.unwrap();
    let mails = server.take();
    assert_eq!(mails.iter().map(|mail| &*mail.to).collect::<Vec<_>>(), ["o-police@duty.example"]);
    assert_eq!(running.concerns.all(), [] as [String; 0]);

    // It fails once more, and when it is back there is nothing to tell any more: that is noticed too.
    let (_, rfi) =
        ask(&running, friday + minute * 4, friday + SignedDuration::from_hours(400)).await;
    server.stop();
    notify.round(friday + minute * 5).await.unwrap();
    assert_eq!(running.concerns.all().len(), 1);
    let rfi: MessageId = rfi.parse().unwrap();
    let police = POLICE.parse().unwrap();
    running.gateway.collect(&police, None, None, &rfi, friday + minute * 6).await.ok().unwrap();
    server.run();
    notify.round(friday + minute * 7).await.unwrap();
    assert_eq!(running.concerns.all(), [] as [String; 0]);
    assert_eq!(said(&server.take()), []);
    drop(notify);
    running.end().await;
}

/// A store that is away is no reason to write to people every minute.
#[tokio::test]
async fn what_was_sent_and_could_not_be_noted_is_noted_later_and_not_sent_again() {
    let server = MailServer::start();
    let gateway = made(&server);
    let plan = Arc::new(Plan::default());
    let running =
        Told::on(&gateway.home(), |database| Arc::new(FaultyStore::open(database, &plan, None)));
    let (monday, friday) = monday_and_friday();
    let mut notify = notifier(&gateway, &running).unwrap();
    ask(&running, monday, friday).await;
    plan.arm(WritePoint::NoteTold, Fault::NotBegun);
    assert!(notify.round(monday).await.is_err());
    assert_eq!(said(&server.take()).len(), 1, "sent to the first, and then it went wrong");
    notify.round(monday + SignedDuration::from_mins(1)).await.unwrap();
    let mails = server.take();
    assert_eq!(mails.iter().map(|mail| &*mail.to).collect::<Vec<_>>(), ["d-police@duty.example"]);
    // Another notifier has it from the store.
    notify = notifier(&gateway, &running).unwrap();
    notify.round(monday + SignedDuration::from_mins(2)).await.unwrap();
    assert_eq!(said(&server.take()), []);
    drop(notify);
    running.end().await;
}

#[tokio::test]
async fn the_server_has_to_be_the_one_that_the_settings_name() {
    let mut server = MailServer::reserve();
    let authority = TestAuthority::new("Mail");
    let [certificate, key] = server.certify(&authority.server(&["localhost"]));
    let gateway = made(&server);
    let home = gateway.home();
    std::fs::write(home.join("certs/mail-ca.pem"), authority.pem()).unwrap();
    std::fs::write(home.join("certs/other.pem"), TestAuthority::new("Mail").pem()).unwrap();
    std::fs::write(home.join("keys/mail.txt"), "open sesame\n").unwrap();
    std::fs::write(home.join("keys/wrong.txt"), "open barley\n").unwrap();
    gateway.configure("encryption = \"none\"", "encryption = \"starttls\"");
    gateway.configure("#authorities = \"certs/mail-ca.pem\"", "authorities = \"certs/other.pem\"");
    gateway.configure("#user = \"mash-gateway\"", "user = \"mash-gateway\"");
    let password = "#password_file = \"keys/mail-password.txt\"";
    gateway.configure(password, "password_file = \"keys/wrong.txt\"");
    let running = Told::of(&home);
    let (monday, friday) = monday_and_friday();
    ask(&running, monday, friday).await;
    // Each time a notifier that knows of no failure before.
    let tried = async || {
        notifier(&gateway, &running).unwrap().round(monday).await.unwrap();
        let concern = running.concerns.all().pop().unwrap_or_default();
        concern.split(": nobody").next().unwrap().to_owned()
    };

    // Nothing is said to one that has no TLS, or another's certificate; and no password either.
    server.run();
    let offers = "the mail server does not offer what the settings ask for: STARTTLS, or a login";
    assert_eq!(tried().await, format!("notices: {offers}"));
    server.stop();
    let login = ["--login", "mash-gateway", "open sesame"];
    let secure = [&["--certificate", &*certificate, "--key", &*key], &login[..]].concat();
    server.with(&secure);
    server.run();
    let untrusted = "notices: the mail server's certificate is not trusted, or it speaks no TLS";
    assert_eq!(tried().await, untrusted);
    gateway.configure("certs/other.pem", "certs/mail-ca.pem");
    assert_eq!(tried().await, "notices: the mail server refuses, with code 535");
    gateway.configure("keys/wrong.txt", "keys/mail.txt");
    assert_eq!(tried().await, "");
    assert_eq!(server.take().len(), 2);

    // The same with TLS from the first byte. No name of this machine's is believed but the certificate's.
    ask(&running, monday, friday).await;
    server.stop();
    server.with(&[&secure[..], &["--tls"]].concat());
    server.run();
    gateway.configure("encryption = \"starttls\"", "encryption = \"tls\"");
    gateway.configure("server = \"localhost:", "server = \"127.0.0.1:");
    assert_eq!(tried().await, untrusted);
    gateway.configure("server = \"127.0.0.1:", "server = \"localhost:");
    assert_eq!(tried().await, "");
    assert_eq!(server.take().len(), 2);
    // By browsers' authorities it is nobody.
    gateway.configure("authorities = \"certs/mail-ca.pem\"", "#authorities = \"\"");
    ask(&running, monday, friday).await;
    assert_eq!(tried().await, untrusted);
    running.end().await;
}

#[tokio::test]
async fn a_mail_server_that_says_nothing_holds_up_nothing() {
    let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut gateway = made(&MailServer::reserve());
    let settings = std::fs::read_to_string(gateway.home().join("gateway.toml")).unwrap();
    let named = settings.lines().find(|line| line.starts_with("server = ")).unwrap();
    let address = silent.local_addr().unwrap();
    gateway.configure(named, &format!("server = \"{address}\""));
    gateway.configure("# every_s = 60", "every_s = 1");
    gateway.serve();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    hub.dispatch(&[POLICE, TRUST]).await;
    // It is being asked; meanwhile all goes on.
    let (_held, _) = silent.accept().unwrap();
    police.collect_first().await;
    hub.dispatch(&[POLICE]).await;
    assert!(!gateway.local("/readyz").contains("notices"));
    let is_said = async || gateway.local("/readyz").contains("the mail server does not answer");
    eventually("it is said", is_said).await;
    assert_eq!(gateway.metric("mash_gateway_notices_total{outcome=\"unreachable\"}"), 1);
    // Nor does the end wait for it.
    let (_held, _) = silent.accept().unwrap();
    let begun = std::time::Instant::now();
    gateway.stop();
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn doctor_says_whether_notices_can_be_sent() {
    let mut server = MailServer::start();
    let gateway = made(&server);
    let findings = || {
        let ran = gateway.run(&["doctor", "--quick", "--json"]);
        let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let found = found["findings"].as_array().unwrap().clone();
        found
            .into_iter()
            .filter(|one| matches!(one["code"].as_str(), Some("notices" | "key-modes")))
            .map(|one| format!("{}: {}", one["verdict"].as_str().unwrap(), one["says"]))
            .collect::<Vec<_>>()
    };
    let found = findings();
    assert!(found[1].starts_with("ok: \"the mail server answers"), "{found:?}");
    assert_eq!(server.take().len(), 0, "nobody was written to");
    server.stop();
    let found = findings();
    assert!(found[1].starts_with("note: \"the mail server does not answer"), "{found:?}");

    // An agency of which nobody has an address, and a password that everybody may read.
    let partners = gateway.home().join("partners.toml");
    let directory = std::fs::read_to_string(&partners).unwrap();
    let without = directory
        .replace(", email = \"o-surgery@duty.example\"", "")
        .replace(", email = \"d-surgery@duty.example\"", "");
    std::fs::write(&partners, without).unwrap();
    gateway.configure("#user = \"mash-gateway\"", "user = \"mash-gateway\"");
    gateway
        .configure("#password_file = \"keys/mail-password.txt\"", "password_file = \"mail.txt\"");
    std::fs::write(gateway.home().join("mail.txt"), "open sesame").unwrap();
    let found = findings();
    assert!(found[0].starts_with("act: \"others on this machine can read"), "{found:?}");
    assert!(found[2].contains("nobody of it has an e-mail address"), "{found:?}");
    let ran = gateway.run(&["doctor", "--quick"]);
    let says = text(&ran.stdout);
    assert!(says.lines().any(|line| line.contains("notices") && line.contains(SURGERY)), "{says}");

    // Without it, the gateway does not start: it would only be found out when it matters.
    std::fs::remove_file(gateway.home().join("mail.txt")).unwrap();
    let ran = gateway.run(&["serve"]);
    assert!(!ran.status.success());
    assert!(text(&ran.stderr).contains("mail.txt"), "{}", text(&ran.stderr));
    assert!(findings().iter().any(|one| one.starts_with("act: \"the gateway cannot start")));
}
