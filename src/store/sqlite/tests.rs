//! What cannot be seen through the front door: idempotency keys over generations and processes, files
//! that are not a store, and what came too late by an instant.

use std::path::PathBuf;

use jiff::SignedDuration;
use rusqlite::StatementStatus;
use tempfile::TempDir;

use super::*;
use crate::audit::entry::{Event, NewEntry};
use crate::message::{
    Envelope, ExchangeState, Kind, Marks, Priority, ResponseResult, Said, hex, now,
};
use crate::store::{
    Accept, DeliveryState, Effect, MailboxLimits, NewEnquiry, NewMessage, Record, Step,
};

/// More than any test fills.
const MAILBOX: MailboxLimits = MailboxLimits { messages_max: 1_000_000, bytes_max: 1 << 40 };

/// So small that keys pass through every generation in a short test.
const GENERATION: usize = 8;

struct Fixture {
    folder: TempDir,
    key: LogKey,
    exchange: Exchange,
}

impl Fixture {
    async fn new() -> (Self, Sqlite) {
        let folder = TempDir::new().unwrap();
        let agency = |id| AgencyId::parse(id).unwrap();
        let at = now();
        let exchange = Exchange {
            id: ExchangeId::new(at),
            enquiry: EnquiryId::new(at),
            reference: Reference::new(2026, 1),
            hub: agency("mash"),
            agency: agency("police"),
            rfi: MessageId::new(at),
            categories: vec!["neglect".to_owned()],
            persons: vec!["p1".to_owned()],
            priority: Priority::Routine,
            response_required_by: at + SignedDuration::from_hours(8),
            opened_at: at,
            state: ExchangeState::Requested,
            result: None,
            marks: Marks::default(),
            decision: None,
            destroyed_at: None,
            needs_attention: false,
            undelivered: None,
            sealing_recipient: "age1invented".to_owned(),
        };
        let fixture = Self { folder, key: LogKey::generate("test/log").unwrap(), exchange };
        Sqlite::create(&fixture.path()).unwrap();
        let store = fixture.open();
        let opening = fixture.message(Kind::Rfi, Step::Open(Box::new(fixture.exchange.clone())));
        let enquiry = NewEnquiry {
            id: fixture.exchange.enquiry,
            recipient: "age1invented".to_owned(),
            wrapped_key: vec![1; 200],
        };
        let accept = Accept {
            token: token(0, 0),
            decision: None,
            enquiry: Some(enquiry),
            messages: vec![opening],
            mailbox: MAILBOX,
        };
        let applied = store.append(vec![Change::Accept(Box::new(accept))], &fixture.key).await;
        assert!(matches!(applied.unwrap()[..], [Applied::Accepted(_)]));
        (fixture, store)
    }

    /// The store as another process would have it.
    fn open(&self) -> Sqlite {
        self.open_keeping(0)
    }

    /// The same, with so much of the disk to be kept free.
    fn open_keeping(&self, free_bytes_min: u64) -> Sqlite {
        Sqlite::open_with(&self.path(), GENERATION, free_bytes_min).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    fn message(&self, kind: Kind, step: Step) -> NewMessage {
        let (exchange, at) = (&self.exchange, now());
        let is_rfi = kind == Kind::Rfi;
        let (from, to) = if is_rfi {
            (&exchange.hub, &exchange.agency)
        } else {
            (&exchange.agency, &exchange.hub)
        };
        let ciphertext = vec![0xa5; 400];
        let envelope = Envelope {
            id: if is_rfi { exchange.rfi } else { MessageId::new(at) },
            kind,
            enquiry: exchange.enquiry,
            exchange: exchange.id,
            reference: exchange.reference.clone(),
            sender: from.clone(),
            recipient: to.clone(),
            time: at,
            priority: exchange.priority,
            handling: None,
            visible_to: None,
            in_reply_to: (!is_rfi).then_some(exchange.rfi),
            digest: crate::message::sha256(&ciphertext),
            size_bytes: 300,
            is_sealed_to_agency: false,
            traceparent: None,
        };
        NewMessage {
            entry: NewEntry::new(&Event::accepted(&envelope, &[9; 32]), at),
            envelope,
            ciphertext,
            attachments: Vec::new(),
            delivery: DeliveryState::Held,
            step,
        }
    }

    /// A partial response under this key: any number may be sent.
    fn partial(&self, token: IdempotencyToken) -> Change {
        let step = Step::Say(Said::Response(ResponseResult::Partial));
        let message = self.message(Kind::Response, step);
        Change::Accept(Box::new(Accept {
            token,
            decision: None,
            enquiry: None,
            messages: vec![message],
            mailbox: MAILBOX,
        }))
    }

    async fn collect(&self, store: &Sqlite) -> Applied {
        let stored = store.message(&self.exchange.rfi).await.unwrap();
        let entry = NewEntry::new(&Event::collected(&stored.envelope), now());
        let exchange = Some(self.exchange.id);
        let record = Record { entry, exchange, effect: Effect::Collect(self.exchange.rfi) };
        let change = vec![Change::Record(Box::new(record))];
        store.append(change, &self.key).await.unwrap().remove(0)
    }

    async fn accept(&self, store: &Sqlite, token: IdempotencyToken) -> Applied {
        store.append(vec![self.partial(token)], &self.key).await.unwrap().remove(0)
    }
}

impl Sqlite {
    /// As an I/O error would have it.
    fn fail(&self) {
        lock(&self.shared.writer).close(&StoreError::Full { source: None });
    }
}

/// The fingerprint of a submission; keys in no order, as senders' are.
fn token(number: u32, body: u8) -> IdempotencyToken {
    let digest = crate::message::sha256(&number.to_be_bytes());
    let mut key_hash = [0; 16];
    key_hash.copy_from_slice(&digest[..16]);
    IdempotencyToken { key_hash, body_mac: [body; 32] }
}

/// The receipts, whichever way they were come by.
fn receipts(applied: Applied) -> Vec<String> {
    match applied {
        Applied::Accepted(logged) | Applied::Replayed(logged) => {
            logged.iter().map(Logged::receipt).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_key_is_known_for_ever_and_gets_its_first_receipt() {
    let (fixture, mut store) = Fixture::new().await;
    let mut first = Vec::new();
    for number in 1..=200 {
        let applied = fixture.accept(&store, token(number, 1)).await;
        assert!(matches!(applied, Applied::Accepted(_)));
        first.push(receipts(applied));
        // Also after a restart, wherever its key is just then.
        if number % 37 == 0 {
            store = fixture.open();
        }
        for again in [1, number / 2 + 1, number] {
            let place = usize::try_from(again).unwrap() - 1;
            let replayed = store.replay(&token(again, 1)).await.unwrap().unwrap();
            assert_eq!(receipts(replayed), first[place], "key {again} after {number}");
            let sent_again = fixture.accept(&store, token(again, 1)).await;
            assert!(matches!(sent_again, Applied::Replayed(_)));
            assert_eq!(receipts(sent_again), first[place]);
            let other_body = fixture.accept(&store, token(again, 2)).await;
            assert!(matches!(other_body, Applied::KeyReused));
        }
        assert!(store.replay(&token(number + 1_000, 1)).await.unwrap().is_none());
    }
    assert_eq!(store.head().await.unwrap().unwrap().size, 201);
}

#[tokio::test]
async fn two_processes_on_one_file_see_each_others_keys() {
    let (fixture, one) = Fixture::new().await;
    let two = fixture.open();
    for number in 1..=100 {
        let (writer, reader) = if number % 3 == 0 { (&two, &one) } else { (&one, &two) };
        let accepted = receipts(fixture.accept(writer, token(number, 1)).await);
        let replayed = reader.replay(&token(number, 1)).await.unwrap().unwrap();
        assert_eq!(receipts(replayed), accepted, "key {number}");
        let again = fixture.accept(reader, token(number, 1)).await;
        assert!(matches!(again, Applied::Replayed(_)), "key {number}");
    }
    assert_eq!(one.head().await.unwrap().unwrap().size, 101);
}

#[tokio::test]
async fn the_same_key_twice_in_one_batch_is_one_message() {
    let (fixture, store) = Fixture::new().await;
    let batch = vec![
        fixture.partial(token(1, 1)),
        fixture.partial(token(1, 1)),
        fixture.partial(token(1, 2)),
        fixture.partial(token(2, 1)),
    ];
    let applied = store.append(batch, &fixture.key).await.unwrap();
    let [one, two, other, next] = applied.try_into().unwrap();
    assert!(matches!(two, Applied::Replayed(_)) && matches!(other, Applied::KeyReused));
    assert_eq!(receipts(one), receipts(two));
    assert!(matches!(next, Applied::Accepted(_)));
    assert_eq!(store.head().await.unwrap().unwrap().size, 3);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let letter = folder.path().join("letter.txt");
    std::fs::write(&letter, "Dear all, this is not a database, however long it is.".repeat(40))
        .unwrap();
    let before = std::fs::read(&letter).unwrap();
    assert!(matches!(Sqlite::open(&letter), Err(StoreError::Corrupt(_))));
    assert!(Sqlite::create(&letter).is_err());
    assert_eq!(std::fs::read(&letter).unwrap(), before);

    // What is lost is not made anew: neither a file that is gone nor one that was emptied.
    let gone = folder.path().join("gone.db");
    assert!(matches!(Sqlite::open(&gone), Err(StoreError::Unavailable { .. })));
    assert!(!gone.exists());
    let emptied = folder.path().join("emptied.db");
    std::fs::write(&emptied, "").unwrap();
    assert!(matches!(Sqlite::open(&emptied), Err(StoreError::Corrupt(_))));
    assert_eq!(std::fs::read(&emptied).unwrap(), b"");

    let others = folder.path().join("others.db");
    let connection = Connection::open(&others).unwrap();
    connection.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(connection);
    assert!(matches!(Sqlite::open(&others), Err(StoreError::Corrupt(_))));

    // One of ours, from a later version than this program knows.
    let newer = folder.path().join("newer.db");
    Sqlite::create(&newer).unwrap();
    drop(Sqlite::open(&newer).unwrap());
    let connection = Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(Sqlite::open(&newer), Err(StoreError::Newer)));
}

/// What was asked for while it was good, and entered when it no longer is: refused, and not logged.
#[tokio::test]
async fn what_is_no_longer_good_when_it_is_entered_grants_nothing() {
    let (fixture, store) = Fixture::new().await;
    let at = now();
    let certificate = |number: u8| CertificateRecord {
        sha256: [number; 32],
        serial: hex(&[number]),
        agency: fixture.exchange.agency.clone(),
        issued_at: at,
        not_before: at,
        not_after: at + SignedDuration::from_hours(8),
        revoked: None,
        pem: String::new(),
        profile: "system".to_owned(),
        last_use: None,
    };
    let token = |number: u8, expires_at, needs_approval| EnrolmentToken {
        hash: [number; 32],
        agency: fixture.exchange.agency.clone(),
        made_at: at,
        expires_at,
        needs_approval,
        key_sha256: None,
        approved_at: None,
        used_at: None,
    };
    let enrol =
        |number: u8| Effect::Enrol { token: [number; 32], certificate: certificate(number) };
    let renew = |number: u8| Effect::RenewCertificate {
        predecessor: hex(&[1]),
        certificate: certificate(number),
    };
    let revoke = Effect::RevokeCertificate { sha256: [1; 32], at, reason: "superseded".to_owned() };
    let later = at + SignedDuration::from_hours(1);
    for (effect, is_applied) in [
        (Effect::MakeToken(token(1, later, false)), true),
        (Effect::MakeToken(token(2, at, false)), true),
        (Effect::MakeToken(token(3, later, true)), true),
        (enrol(1), true),
        (enrol(1), false),
        (enrol(2), false),
        (enrol(3), false),
        (renew(4), true),
        (revoke, true),
        (renew(5), false),
    ] {
        let before = store.head().await.unwrap().unwrap().size;
        let entry = NewEntry::new(&Event::started("1"), at);
        let said = format!("{effect:?}");
        let record = Change::Record(Box::new(Record { entry, exchange: None, effect }));
        let applied = store.append(vec![record], &fixture.key).await.unwrap();
        let is_recorded = matches!(applied[..], [Applied::Recorded(_)]);
        assert_eq!(is_recorded, is_applied, "{said}");
        let size = store.head().await.unwrap().unwrap().size;
        assert_eq!(size, before + u64::from(is_applied), "{said}");
    }
    assert_eq!(store.certificates().await.unwrap().len(), 2);
}

/// A page of what one agency sent and was sent costs the same, however much there is of everybody's.
#[tokio::test]
async fn a_page_of_correspondence_reads_no_more_than_the_page() {
    let (fixture, store) = Fixture::new().await;
    // Of an agency that says little among many, and of one that says all of it.
    let connection = Connection::open(fixture.folder.path().join("store.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF; BEGIN;
             CREATE TEMP TABLE copies AS
                 WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000)
                 SELECT m.*, n.n FROM messages AS m, n;
             UPDATE copies SET entry = n, id = randomblob(16), key_hash = NULL, body_mac = NULL,
                 submission_count = NULL, time_ms = time_ms + n,
                 recipient = CASE n % 1000 WHEN 0 THEN 'police' ELSE 'busy' END;
             ALTER TABLE copies DROP COLUMN n;
             INSERT INTO messages SELECT * FROM copies;
             INSERT INTO deliveries (entry, recipient, state)
                 SELECT entry, recipient, 'saved' FROM copies;
             COMMIT;",
        )
        .unwrap();
    let begin = fixture.exchange.opened_at;
    let after = |ms| begin + SignedDuration::from_millis(ms);
    let whole = Period { from: begin, to: after(1_000_000) };
    let late = Period { from: after(90_000), to: after(1_000_000) };
    for (agency, period, rows) in [
        ("police", whole, 100),
        ("police", late, 10),
        ("busy", whole, 100),
        ("busy", late, 100),
        ("mash", late, 100),
        ("nobody", whole, 0),
    ] {
        let agency = AgencyId::parse(agency).unwrap();
        let page = store.correspondence(&agency, period, None, 100).await.unwrap();
        assert!(page.len() >= rows && page.len() <= 100, "{agency}: {}", page.len());
        let last = page.last().map(|message| message.envelope.id);
        let next = store.correspondence(&agency, period, last, 100).await;
        assert!(next.unwrap().iter().all(|message| Some(message.envelope.id) != last));
        let (count, steps) = read_page(&connection, &agency, period);
        assert!(count >= rows && count <= 100, "{agency}: {count}");
        assert!(steps < STEPS_MAX, "{agency}: {steps} steps of the database's machine");
    }
    // It is seen when everybody's are read.
    connection.execute_batch("DROP INDEX messages_by_recipient").unwrap();
    let (_, steps) = read_page(&connection, &AgencyId::parse("police").unwrap(), late);
    assert!(steps > STEPS_MAX, "{steps} steps of the database's machine");
}

/// How many rows a page has, and in how many steps the database read it: counted, not timed.
fn read_page(connection: &Connection, agency: &AgencyId, period: Period) -> (usize, i32) {
    let mut page = connection.prepare(read::CORRESPONDENCE).unwrap();
    let (from, to) = (period.from.as_millisecond(), period.to.as_millisecond());
    let mut rows = page.query(params![agency, from, -1, to, 100]).unwrap();
    let mut count = 0;
    while rows.next().unwrap().is_some() {
        count += 1;
    }
    drop(rows);
    (count, page.get_status(StatementStatus::VmStep))
}

const STEPS_MAX: i32 = 50_000;

#[tokio::test]
async fn without_room_only_what_is_new_is_refused() {
    let (fixture, store) = Fixture::new().await;
    let first = receipts(fixture.accept(&store, token(1, 1)).await);
    drop(store);
    let store = fixture.open_keeping(u64::MAX);
    let room = store.room().await.unwrap();
    assert!(room.is_used_up() && room.is_little() && room.free_bytes > 0, "{room}");
    assert!(matches!(fixture.accept(&store, token(2, 2)).await, Applied::NoRoom));
    let full = store.allocate_references(2026, 1).await;
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    // What was accepted has its receipt, and what it leads to is logged.
    assert_eq!(receipts(fixture.accept(&store, token(1, 1)).await), first);
    assert!(matches!(fixture.collect(&store).await, Applied::Recorded(_)));
    store.probe(now()).await.unwrap();
    drop(store);
    assert!(matches!(fixture.accept(&fixture.open(), token(2, 2)).await, Applied::Accepted(_)));
}

#[tokio::test]
async fn what_an_io_error_closed_is_opened_again_with_all_that_was_kept() {
    let (fixture, store) = Fixture::new().await;
    let mut kept = Vec::new();
    for number in 1..40 {
        kept.extend(receipts(fixture.accept(&store, token(number, 1)).await));
        if number % 3 == 0 {
            store.fail();
        }
    }
    store.fail();
    for number in 1..40 {
        let again = receipts(fixture.accept(&store, token(number, 1)).await);
        assert_eq!(again, kept[number as usize - 1..number as usize]);
    }
    assert_eq!(store.head().await.unwrap().unwrap().size, 40);
}

#[tokio::test]
async fn another_log_is_not_gone_on_with_when_the_file_is_opened_again() {
    let (fixture, store) = Fixture::new().await;
    let file = fixture.folder.path().join("store.db");
    // All that is in the log beside the file.
    store.fail();
    fixture.accept(&store, token(1, 1)).await;
    let earlier = std::fs::read(&file).unwrap();
    for number in 2..9 {
        fixture.accept(&store, token(number, 1)).await;
    }
    // As if the disk had come back as it was some time ago.
    store.fail();
    std::fs::write(&file, earlier).unwrap();
    std::fs::write(file.with_extension("db-wal"), []).unwrap();
    let change = vec![fixture.partial(token(9, 1))];
    let refused = store.append(change, &fixture.key).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert!(store.probe(now()).await.is_err());
    // And what is gone stays gone.
    std::fs::remove_file(&file).unwrap();
    let refused = store.probe(now()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_waits_is_moved_with_the_clock() {
    let day = SignedDuration::from_hours(24);
    for (by, due_moved) in [(-day, -day), (day, SignedDuration::ZERO)] {
        let (fixture, store) = Fixture::new().await;
        let step = Step::Say(Said::Response(ResponseResult::Partial));
        let mut message = fixture.message(Kind::Response, step);
        let (since, due) = (message.envelope.time, now() + SignedDuration::from_secs(30));
        message.delivery = DeliveryState::Queued { endpoint: 0, at: due, attempts: 1 };
        let accept = Accept {
            token: token(1, 1),
            enquiry: None,
            decision: None,
            messages: vec![message],
            mailbox: MAILBOX,
        };
        let applied = store.append(vec![Change::Accept(Box::new(accept))], &fixture.key).await;
        assert!(matches!(applied.unwrap()[..], [Applied::Accepted(_)]));

        let set = now() + by;
        store.move_waits(set, by).await.unwrap();
        let queues = store.queues(set).await.unwrap();
        let [queue] = &queues[..] else { panic!("one message waits: {queues:?}") };
        let ms = |at: Timestamp| at.as_millisecond();
        assert_eq!(ms(queue.due), ms(due + due_moved), "never later than it would have been");
        assert_eq!(queue.untold_since.map(ms), Some(ms(since + by)), "it waits as long as before");
    }
}
