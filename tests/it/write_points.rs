//! Every write, failing in every way: it did nothing and failed, it was taken back, it is durable and
//! failed all the same, or nobody is told that it is durable. Then the gateway is started again on the
//! same file, or goes on, and whoever asked asks again.
//!
//! There are two legal outcomes: that of having asked once, when the write that failed is not durable, and
//! that of having asked twice, when it is. What has an idempotency key has the same outcome either way,
//! and the same first answer to the byte.
//!
//! A new write: name it in `support/faulty_store.rs`, and give it a case in [`Case::prepare`] and
//! [`Case::act`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mash_gateway::audit::cosignature::Cosignature;
use mash_gateway::audit::entry::{Event, Fields, GiveUpReason, Grant, HoldReason};
use mash_gateway::audit::receipt::verify_answer;
use mash_gateway::exchange::attachments::{NewFile, Uploaded};
use mash_gateway::message::{
    AgencyId, AttachmentId, EnquiryId, Exchange, ExchangeId, Kind, MediaType, MessageId, Role,
    Target, now, rfc3339,
};
use mash_gateway::pki::ca::Profile;
use mash_gateway::pki::crl::Reason;
use mash_gateway::retention::Periods;
use mash_gateway::store::{
    CertificateUse, DeliveryState, Effect, NewUpload, Notice, NoticeSubject, Store,
};
use mash_gateway::worker::retain::Retain;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::attachments::MAY_ATTACH;
use crate::support::endpoint::Endpoint;
use crate::support::faulty_store::{Defect, Fault, FaultyStore, Plan, WritePoint};
use crate::support::told::{self, Told};
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A home whose police have an endpoint, and no mailbox; not running.
fn ground() -> (TestGateway, Endpoint) {
    let mut endpoint = Endpoint::reserve();
    let special = [(HUB, MAY_ATTACH), (POLICE, &endpoint.lines(false))];
    let gateway = TestGateway::made(&(case::partners(&special) + &case::followers()));
    endpoint.introduce(&gateway.home());
    endpoint.start(&gateway.home());
    (gateway, endpoint)
}

/// Something to be told by e-mail.
fn example() -> Notice {
    Notice { subject: NoticeSubject::Operation, what: "an example".to_owned() }
}

/// Something that is asked of a gateway, and that writes at this point.
struct Case {
    point: WritePoint,
    /// When it is first asked.
    at: Timestamp,
    /// A home in which all that comes before has been done.
    home: TempDir,
    body: String,
    exchange: Option<ExchangeId>,
    message: Option<MessageId>,
    attachment: Option<AttachmentId>,
    token: Option<SecretString>,
    csr: String,
    serial: String,
}

impl Case {
    async fn new(point: WritePoint, home: &Path, endpoint: &Endpoint) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "any");
        let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let mut case = Self {
            point,
            at: now(),
            home: told::copy(home),
            body: case::dispatch(&[POLICE, TRUST, SURGERY]).to_string(),
            exchange: None,
            message: None,
            attachment: None,
            token: None,
            csr: request.pem().unwrap(),
            serial: String::new(),
        };
        let running = Told::of(case.home.path());
        case.prepare(&running, endpoint).await;
        running.end().await;
        case
    }

    /// What is sent, of what is said in an exchange by either.
    fn kind(&self) -> Kind {
        match self.point {
            WritePoint::AcceptCancellation => Kind::Cancellation,
            WritePoint::AcceptClarification => Kind::Clarification,
            WritePoint::AcceptConsentWithdrawal => Kind::ConsentWithdrawal,
            WritePoint::AcceptForwarding => Kind::Forwarding,
            WritePoint::AcceptIncident => Kind::Incident,
            WritePoint::AcceptOnwardDisclosure => Kind::OnwardDisclosure,
            WritePoint::AcceptStepDown => Kind::StepDown,
            WritePoint::AcceptSubjectAccessConsultation => Kind::SubjectAccessConsultation,
            WritePoint::AcceptSubjectAccessView => Kind::SubjectAccessView,
            WritePoint::AcceptSupplement => Kind::Supplement,
            WritePoint::AcceptTelephoneContact => Kind::TelephoneContact,
            WritePoint::AcceptTranscription => Kind::Transcription,
            other => panic!("{other:?} sends something else"),
        }
    }

    /// Does what comes before.
    async fn prepare(&mut self, running: &Told, endpoint: &Endpoint) {
        match self.point {
            WritePoint::AcceptRfi
            | WritePoint::AddPart
            | WritePoint::AllocateReferences
            | WritePoint::Attach
            | WritePoint::BeginRfiDraft
            | WritePoint::BeginUpload
            | WritePoint::BarAgency
            | WritePoint::IssueCertificate
            | WritePoint::KeepCosignatures
            | WritePoint::Log
            | WritePoint::MakeToken
            | WritePoint::NoteTold
            | WritePoint::NoteUses
            | WritePoint::Probe
            | WritePoint::RecordOverride
            | WritePoint::RevokeCertificate => {}
            WritePoint::ClearDiscarded
            | WritePoint::DiscardUpload
            | WritePoint::DiscardUploadsBefore => {
                let (id, uploader) = (AttachmentId::new(self.at), HUB.parse().unwrap());
                let upload = NewUpload { id, uploader, at: self.at };
                let store = running.store();
                assert!(store.begin_upload(upload, 0, 1 << 20).await.unwrap());
                store.add_part(&id, vec![7; 400], 1 << 20).await.unwrap();
                if self.point == WritePoint::ClearDiscarded {
                    store.discard_upload(&id).await.unwrap();
                }
                self.attachment = Some(id);
            }
            WritePoint::CollectAttachment => {
                let uploaded = self.upload(running, self.at).await.unwrap();
                let named: Value = serde_json::from_str(&uploaded.answer).unwrap();
                let mut dispatch = case::dispatch(&[TRUST]);
                dispatch["rfi"]["attachments"] = json!([named]);
                self.ask(running, HUB, Target::Rfis, &dispatch.to_string()).await;
                self.attachment = Some(uploaded.id);
            }
            WritePoint::SweepAttachment => {
                self.attachment = Some(self.upload(running, self.at).await.unwrap().id);
            }
            WritePoint::KeepDraft | WritePoint::TellReferrer => self.ask_one(running, TRUST).await,
            WritePoint::DiscardDraft => {
                self.ask_one(running, TRUST).await;
                self.keep_draft(running).await.unwrap();
            }
            WritePoint::DiscardRfiDraft
            | WritePoint::DiscardRfiDraftsBefore
            | WritePoint::KeepRfiDraft => begin_rfi_draft(running, self.at).await.unwrap(),
            WritePoint::AcceptTest => self.body = test(),
            WritePoint::AcceptTestReply => {
                let target = Target::Test(TRUST.parse().unwrap());
                self.ask(running, HUB, target, &test()).await;
                self.collect(running).await.unwrap();
                let code_word = "kestrel-maple-0042";
                self.body = json!({ "inReplyTo": self.message, "codeWord": code_word }).to_string();
            }
            WritePoint::AcceptAcknowledgement => {
                self.ask_one(running, TRUST).await;
                self.body = case::acknowledgement(&self.message()).to_string();
            }
            WritePoint::AcceptResponse => {
                self.ask_one(running, TRUST).await;
                self.body = case::response(&self.message()).to_string();
            }
            WritePoint::AcceptCancellation
            | WritePoint::AcceptClarification
            | WritePoint::AcceptConsentWithdrawal
            | WritePoint::AcceptIncident
            | WritePoint::AcceptTelephoneContact
            | WritePoint::AcceptTranscription => {
                self.ask_one(running, TRUST).await;
                self.body = case::said(self.kind(), &self.message()).to_string();
            }
            WritePoint::AcceptOnwardDisclosure
            | WritePoint::AcceptSubjectAccessConsultation
            | WritePoint::AcceptSubjectAccessView
            | WritePoint::AcceptSupplement => {
                self.ask_one(running, TRUST).await;
                let response = case::response(&self.message()).to_string();
                let target = |kind| Target::Exchange(self.exchange.unwrap(), kind);
                let (answers, asks) = (Kind::Response, Kind::SubjectAccessConsultation);
                running.submit(TRUST, KEY, target(answers), &response, self.at).await.ok().unwrap();
                if self.point == WritePoint::AcceptSubjectAccessView {
                    let asked = case::said(asks, &self.message()).to_string();
                    let key = KEY.replace("8057", "8157");
                    running.submit(HUB, &key, target(asks), &asked, self.at).await.ok().unwrap();
                }
                self.body = case::said(self.kind(), &self.message()).to_string();
            }
            WritePoint::AcceptForwarding | WritePoint::AcceptStepDown => {
                self.ask_one(running, TRUST).await;
                let target = |kind| Target::Exchange(self.exchange.unwrap(), kind);
                let response = case::response(&self.message()).to_string();
                let answer = running
                    .submit(TRUST, KEY, target(Kind::Response), &response, self.at)
                    .await
                    .ok()
                    .unwrap();
                let answer: Value = serde_json::from_str(&answer).unwrap();
                let (outcome, body) = match self.point {
                    WritePoint::AcceptStepDown => {
                        ("early-help", case::said(Kind::StepDown, &self.message()))
                    }
                    _ => (
                        "social-care-assessment",
                        case::forwarding(&self.message(), answer["message"].as_str().unwrap()),
                    ),
                };
                let (key, outcome) =
                    (KEY.replace("8057", "8157"), case::outcome_of(outcome).to_string());
                let told = running.submit(HUB, &key, target(Kind::Outcome), &outcome, self.at);
                told.await.ok().unwrap();
                self.body = body.to_string();
            }
            WritePoint::AcceptOutcome => {
                self.ask_one(running, TRUST).await;
                self.body = case::outcome().to_string();
            }
            WritePoint::DestroyEnquiry | WritePoint::HoldEnquiry => {
                self.ask_one(running, TRUST).await;
                let body = case::said(Kind::Cancellation, &self.message()).to_string();
                let target = Target::Exchange(self.exchange.unwrap(), Kind::Cancellation);
                running.submit(HUB, KEY, target, &body, self.at).await.ok().unwrap();
            }
            WritePoint::ReleaseEnquiry => {
                self.ask_one(running, TRUST).await;
                self.hold(running, self.at).await.unwrap();
            }
            WritePoint::Collect => self.ask_one(running, TRUST).await,
            WritePoint::Save => {
                self.ask_one(running, TRUST).await;
                self.collect(running).await.unwrap();
            }
            WritePoint::Claim | WritePoint::MoveWaits | WritePoint::Settle => {
                self.ask_one(running, POLICE).await;
            }
            WritePoint::Delay | WritePoint::GiveUp => {
                endpoint.answer_with(&[503]);
                self.ask_one(running, POLICE).await;
                running.deliver.round(self.at).await.ok().unwrap();
                self.at += SignedDuration::from_mins(16);
            }
            WritePoint::Retry => {
                endpoint.answer_with(&[410]);
                self.ask_one(running, POLICE).await;
                running.deliver.round(self.at).await.ok().unwrap();
            }
            WritePoint::ApproveToken | WritePoint::BindToken => {
                self.make_token(running, true).await.unwrap();
                if self.point == WritePoint::ApproveToken {
                    self.enrol(running, self.at).await.unwrap();
                }
            }
            WritePoint::Enrol => self.make_token(running, false).await.unwrap(),
            WritePoint::RenewCertificate => {
                let certificates = running.store().certificates().await.unwrap();
                let own = certificates.iter().find(|known| known.agency.as_str() == TRUST);
                self.serial = own.unwrap().serial.clone();
            }
        }
    }

    /// Asks. What has an idempotency key is answered; what was done before may be refused, and says so.
    async fn act(&self, running: &Told, at: Timestamp) -> Result<Option<String>, String> {
        let reply = |kind| Target::Exchange(self.exchange.unwrap(), kind);
        let (sender, target) = match self.point {
            WritePoint::AcceptRfi | WritePoint::AllocateReferences => (HUB, Target::Rfis),
            WritePoint::AcceptTest => (HUB, Target::Test(TRUST.parse().unwrap())),
            WritePoint::AcceptTestReply => (TRUST, reply(Kind::TestReply)),
            WritePoint::AcceptAcknowledgement => (TRUST, reply(Kind::Acknowledgement)),
            WritePoint::AcceptResponse => (TRUST, reply(Kind::Response)),
            WritePoint::AcceptClarification
            | WritePoint::AcceptIncident
            | WritePoint::AcceptOnwardDisclosure
            | WritePoint::AcceptSubjectAccessView
            | WritePoint::AcceptSupplement => (TRUST, reply(self.kind())),
            WritePoint::AcceptCancellation
            | WritePoint::AcceptConsentWithdrawal
            | WritePoint::AcceptForwarding
            | WritePoint::AcceptStepDown
            | WritePoint::AcceptSubjectAccessConsultation
            | WritePoint::AcceptTelephoneContact
            | WritePoint::AcceptTranscription => (HUB, reply(self.kind())),
            WritePoint::AcceptOutcome => (HUB, reply(Kind::Outcome)),
            _ => return self.act_without_key(running, at).await.map(|()| None),
        };
        // Not the key that what comes before had.
        let key = KEY.replace("8057", "9058");
        let answered = running.submit(sender, &key, target, &self.body, at).await;
        answered.map(Some).map_err(|problem| problem.detail)
    }

    async fn act_without_key(&self, running: &Told, at: Timestamp) -> Result<(), String> {
        let trust = TRUST.parse().unwrap();
        let register = &running.register;
        match self.point {
            WritePoint::ApproveToken => {
                let known = running.store().tokens().await.unwrap();
                let [token] = &known[..] else { panic!("one token was made") };
                register.approve(token, at).await.map(|_| ()).map_err(said)
            }
            WritePoint::BarAgency => {
                let revoked = register.revoke_agency(&trust, Reason::Superseded, None, at).await;
                revoked.map(|_| ()).map_err(said)
            }
            WritePoint::RevokeCertificate => {
                let mut chosen = running.store().certificates().await.unwrap();
                chosen.retain(|known| known.agency == trust);
                register.revoke(&chosen, Reason::Superseded, None, at).await.map_err(said)
            }
            WritePoint::BindToken | WritePoint::Enrol => self.enrol(running, at).await,
            WritePoint::Claim | WritePoint::Delay | WritePoint::Settle => {
                let round = running.deliver.round(at).await;
                round.map(|_| ()).map_err(|problem| problem.detail)
            }
            WritePoint::AddPart | WritePoint::Attach | WritePoint::BeginUpload => {
                self.upload(running, at).await.map(|_| ())
            }
            WritePoint::ClearDiscarded => {
                running.store().clear_discarded(9).await.map(|_| ()).map_err(said)
            }
            WritePoint::DiscardUpload => {
                running.store().discard_upload(&self.attachment.unwrap()).await.map_err(said)
            }
            WritePoint::DiscardUploadsBefore => {
                let before = at + SignedDuration::from_secs(1);
                running.store().discard_uploads_before(before).await.map_err(said)
            }
            WritePoint::CollectAttachment => {
                let id = self.attachment.unwrap();
                let collected = running.gateway.collect_attachment(&trust, None, None, &id, at);
                collected.await.map(|_| ()).map_err(|problem| problem.detail)
            }
            WritePoint::SweepAttachment => {
                let id = self.attachment.unwrap();
                let event = Event::attachment_swept(&HUB.parse().unwrap(), &id);
                self.record(running, &event, Effect::SweepAttachment(id)).await
            }
            WritePoint::Collect => self.collect(running).await,
            WritePoint::GiveUp => {
                let stored = running.store().message(&self.message.unwrap()).await.unwrap();
                let event = Event::given_up(&stored.envelope, 1, GiveUpReason::SenderAsked);
                self.record(running, &event, Effect::GiveUp { message: self.message.unwrap(), at })
                    .await
            }
            WritePoint::IssueCertificate | WritePoint::RenewCertificate => {
                let grant = match self.point {
                    WritePoint::IssueCertificate => Grant::Operator,
                    _ => Grant::Renewal { serial: self.serial.clone() },
                };
                let issued = register.issue(&Profile::Agency(trust), &self.csr, grant, at).await;
                issued.map(|_| ()).map_err(said)
            }
            WritePoint::DestroyEnquiry => {
                let month = SignedDuration::from_hours(24 * 30);
                let periods = Periods { after_saved: month, after_closed: month };
                let retain = Retain::new(Arc::clone(&running.gateway), periods);
                retain
                    .round(at + month + SignedDuration::from_mins(1))
                    .await
                    .map(|_| ())
                    .map_err(said)
            }
            WritePoint::HoldEnquiry => self.hold(running, at).await,
            WritePoint::ReleaseEnquiry => {
                let enquiry = self.enquiry(running).await;
                let event = Event::legal_hold_released(&enquiry);
                self.record_alone(running, &event, Effect::ReleaseEnquiry(enquiry), at).await
            }
            WritePoint::Log => register.note(&Event::stopped("0"), at).await.map_err(said),
            WritePoint::MakeToken => {
                let made = register.make_token(&trust, SignedDuration::from_hours(1), false, at);
                made.await.map(|_| ()).map_err(said)
            }
            WritePoint::MoveWaits => {
                // By a clock set back, it is not due yet, unless what waits is moved with it.
                let hour = SignedDuration::from_hours(1);
                running.store().move_waits(at - hour, -hour).await.map_err(said)?;
                let round = running.deliver.round(at - hour).await;
                round.map(|_| ()).map_err(|problem| problem.detail)
            }
            WritePoint::KeepDraft => self.keep_draft(running).await,
            WritePoint::DiscardDraft => {
                let (writer, exchange) = self.written(running).await;
                let gone = running.gateway.discard_draft(&writer, &exchange, Kind::Response, 1);
                gone.await.map_err(|problem| problem.detail)
            }
            WritePoint::BeginRfiDraft => begin_rfi_draft(running, at).await,
            WritePoint::KeepRfiDraft => {
                let (hub, id) = asked(running).await;
                let kept = running.gateway.keep_rfi_draft(&hub, &id, 1, b"More of it.", at).await;
                match kept.map_err(|problem| problem.detail)? {
                    true => Ok(()),
                    false => Err("somebody else's came between".to_owned()),
                }
            }
            WritePoint::DiscardRfiDraft => {
                let hub = HUB.parse().unwrap();
                // Asked again there is none: it is let go once.
                let drafts = running.store().rfi_drafts(&hub, 2).await.map_err(said)?;
                for draft in drafts {
                    let gone = running.gateway.discard_rfi_draft(&hub, &draft.id, 1);
                    gone.await.map_err(|problem| problem.detail)?;
                }
                Ok(())
            }
            WritePoint::DiscardRfiDraftsBefore => {
                let before = at + SignedDuration::from_secs(1);
                running.store().discard_rfi_drafts_before(before).await.map_err(said)
            }
            WritePoint::KeepCosignatures => {
                let head = running.store().head().await.unwrap().unwrap();
                let (witness, line) = ("police.example/w+00".to_owned(), "invented".to_owned());
                let cosignature = Cosignature { witness, at: self.at, line };
                let kept = running.store().keep_cosignatures(head.size, vec![cosignature]);
                kept.await.map_err(said)
            }
            WritePoint::NoteTold => {
                let told = running.store().note_told("operator 1", vec![example()], at);
                told.await.map_err(said)
            }
            WritePoint::NoteUses => {
                let known = running.store().certificates().await.unwrap();
                let address = "192.0.2.7".to_owned();
                let used = CertificateUse { sha256: known[0].sha256, at, address };
                running.store().note_uses(vec![used]).await.map_err(said)
            }
            WritePoint::Probe => running.gateway.check(at).await.map_err(|problem| problem.detail),
            WritePoint::Retry => {
                let stored = running.store().message(&self.message.unwrap()).await.unwrap();
                let event = Event::retried(&stored.envelope, true);
                let state = DeliveryState::Queued { endpoint: 0, at, attempts: 0 };
                let message = self.message.unwrap();
                self.record(running, &event, Effect::Retry { message, state, at }).await
            }
            WritePoint::RecordOverride => {
                let decided = case::overriding(&case::rfi_without_consent()).to_string();
                let (hub, manager) = (HUB.parse().unwrap(), Some(Role::TeamManager));
                let gateway = &running.gateway;
                let recorded = gateway.record_override(&hub, manager, None, decided.as_bytes(), at);
                recorded.await.map(|_| ()).map_err(|problem| problem.detail)
            }
            WritePoint::TellReferrer => {
                let exchange = running.store().exchange(&self.exchange.unwrap()).await.unwrap();
                let told = json!({
                    "channel": "letter", "toldAt": rfc3339(self.at),
                    "toldBy": { "name": "Imogen Fablewright", "jobTitle": "Manager" },
                });
                let (hub, told) = (HUB.parse().unwrap(), told.to_string());
                let (gateway, enquiry) = (&running.gateway, exchange.enquiry);
                let recorded =
                    gateway.tell_referrer(&hub, None, None, &enquiry, told.as_bytes(), at);
                recorded.await.map(|_| ()).map_err(|problem| problem.detail)
            }
            WritePoint::Save => {
                let (id, trust) = (self.message.unwrap(), TRUST.parse().unwrap());
                let record = json!({
                    "savedBy": { "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" },
                    "savedAt": rfc3339(self.at), "recordRef": "invented-7",
                });
                let record = record.to_string();
                let said = Some(record.as_bytes());
                let saved = running.gateway.save(&trust, None, None, &id, said, at).await;
                saved.map(|_| ()).map_err(|problem| problem.detail)
            }
            WritePoint::AcceptAcknowledgement
            | WritePoint::AcceptCancellation
            | WritePoint::AcceptClarification
            | WritePoint::AcceptConsentWithdrawal
            | WritePoint::AcceptForwarding
            | WritePoint::AcceptIncident
            | WritePoint::AcceptOnwardDisclosure
            | WritePoint::AcceptStepDown
            | WritePoint::AcceptOutcome
            | WritePoint::AcceptResponse
            | WritePoint::AcceptRfi
            | WritePoint::AcceptSubjectAccessConsultation
            | WritePoint::AcceptSubjectAccessView
            | WritePoint::AcceptSupplement
            | WritePoint::AcceptTelephoneContact
            | WritePoint::AcceptTranscription
            | WritePoint::AcceptTest
            | WritePoint::AcceptTestReply
            | WritePoint::AllocateReferences => unreachable!("it has a key"),
        }
    }

    /// The hub uploads a file, always the same under one key.
    async fn upload(&self, running: &Told, at: Timestamp) -> Result<Uploaded, String> {
        let file = b"A note about nobody.";
        let new = NewFile {
            sender: HUB.parse().unwrap(),
            desk: None,
            certificate: None,
            idempotency_key: KEY.parse().unwrap(),
            media_type: MediaType::Text,
            bytes_at_least: file.len() as u64,
        };
        let uploaded = async {
            let mut upload = running.gateway.begin_upload(new, at).await?;
            upload.write(file).await?;
            upload.finish(None, at).await
        };
        uploaded.await.map_err(|problem| problem.detail)
    }

    /// Who writes a reply, and in which exchange.
    async fn written(&self, running: &Told) -> (AgencyId, Exchange) {
        let exchange = running.store().exchange(&self.exchange.unwrap()).await.unwrap();
        (exchange.agency.clone(), exchange)
    }

    async fn keep_draft(&self, running: &Told) -> Result<(), String> {
        let (writer, exchange) = self.written(running).await;
        let text = b"Wrenna is not known to us.";
        let kept = running.gateway.keep_draft(&writer, &exchange, Kind::Response, 0, text).await;
        match kept.map_err(|problem| problem.detail)? {
            true => Ok(()),
            false => Err("somebody else's came between".to_owned()),
        }
    }

    async fn ask_one(&mut self, running: &Told, agency: &str) {
        let body = case::dispatch(&[agency]).to_string();
        self.ask(running, HUB, Target::Rfis, &body).await;
    }

    async fn ask(&mut self, running: &Told, sender: &str, target: Target, body: &str) {
        let key = uuid::Uuid::new_v4().to_string();
        let answer = running.submit(sender, &key, target, body, self.at).await.ok().unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let row = answer["exchanges"].as_array().map_or(&answer, |rows| &rows[0]);
        self.exchange = Some(row["exchange"].as_str().unwrap().parse().unwrap());
        self.message = Some(row["message"].as_str().unwrap().parse().unwrap());
    }

    async fn collect(&self, running: &Told) -> Result<(), String> {
        let (id, trust) = (self.message.unwrap(), TRUST.parse().unwrap());
        let collected = running.gateway.collect(&trust, None, None, &id, self.at).await;
        collected.map(|_| ()).map_err(|problem| problem.detail)
    }

    async fn record(&self, running: &Told, event: &Event, effect: Effect) -> Result<(), String> {
        let recorded = running.gateway.ledger().record(event, self.at, self.exchange, effect);
        recorded.await.map(|_| ()).map_err(said)
    }

    /// Records what is about no exchange by itself.
    async fn record_alone(
        &self,
        running: &Told,
        event: &Event,
        effect: Effect,
        at: Timestamp,
    ) -> Result<(), String> {
        let recorded = running.gateway.ledger().record(event, at, None, effect);
        recorded.await.map(|_| ()).map_err(said)
    }

    async fn enquiry(&self, running: &Told) -> EnquiryId {
        running.store().exchange(&self.exchange.unwrap()).await.unwrap().enquiry
    }

    async fn hold(&self, running: &Told, at: Timestamp) -> Result<(), String> {
        let enquiry = self.enquiry(running).await;
        let event = Event::legal_hold_placed(&enquiry, HoldReason::Inquiry);
        self.record_alone(running, &event, Effect::HoldEnquiry(enquiry), at).await
    }

    async fn make_token(&mut self, running: &Told, needs_approval: bool) -> Result<(), String> {
        let (trust, hour) = (TRUST.parse().unwrap(), SignedDuration::from_hours(1));
        let made = running.register.make_token(&trust, hour, needs_approval, self.at).await;
        self.token = Some(made.map_err(said)?.0);
        Ok(())
    }

    async fn enrol(&self, running: &Told, at: Timestamp) -> Result<(), String> {
        let token = self.token.as_ref().unwrap().expose_secret();
        let enrolled = running.register.enrol(&TRUST.parse().unwrap(), token, &self.csr, at).await;
        match enrolled {
            Ok(_) | Err(mash_gateway::register::RegisterError::AwaitingApproval) => Ok(()),
            Err(error) => Err(said(error)),
        }
    }

    fn message(&self) -> String {
        self.message.unwrap().to_string()
    }

    /// What comes of asking so often, with nothing failing.
    async fn asked(&self, times: i64) -> Effects {
        let home = told::copy(self.home.path());
        for time in 0..times {
            let running = Told::of(home.path());
            let done =
                self.act(&running, self.at + SignedDuration::from_mins(2) * time as i32).await;
            // Who asks again may be told that it was done.
            assert!(time > 0 || done.is_ok(), "{:?}: {done:?}", self.point);
            running.end().await;
        }
        Effects::of(home.path(), &[]).await.unwrap()
    }

    /// What comes of asking, of this fault, and of asking again; or what is wrong with it.
    async fn tried(
        &self,
        fault: Fault,
        restarts: bool,
        defect: Option<Defect>,
    ) -> Result<Effects, String> {
        let home = told::copy(self.home.path());
        let plan = Arc::new(Plan::default());
        let open = |database: &Path| -> Arc<dyn Store> {
            Arc::new(FaultyStore::open(database, &plan, defect))
        };
        let mut running = Told::on(home.path(), open);
        plan.arm(self.point, fault);
        let first = tokio::select! {
            answered = self.act(&running, self.at) => answered,
            () = plan.unanswered() => Err("no answer".to_owned()),
        };
        plan.forsake();
        if plan.fired() != Some(fault) {
            return Err("the fault did not happen".to_owned());
        }
        if let Ok(Some(_)) = first {
            return Err("it was answered though its write failed".to_owned());
        }
        if restarts {
            running.end().await;
            running = Told::on(home.path(), open);
        }
        let mut answers = Vec::new();
        for minutes in [2, 4] {
            let at = self.at + SignedDuration::from_mins(minutes);
            match self.act(&running, at).await {
                Ok(Some(answer)) => answers.push(answer),
                // Once more is asked only what has a key.
                Ok(None) => break,
                Err(why) if self.has_key() => return Err(format!("asked again: {why}")),
                Err(_) => break,
            }
        }
        running.end().await;
        if self.has_key() && fault.is_durable() && self.point != WritePoint::AllocateReferences {
            answers.extend(plan.kept());
            if answers.len() != 3 {
                return Err("what was durable was not seen".to_owned());
            }
        }
        if answers.iter().any(|answer| *answer != answers[0]) {
            return Err("another answer than the first".to_owned());
        }
        Effects::of(home.path(), &answers).await
    }

    fn has_key(&self) -> bool {
        self.point == WritePoint::AllocateReferences
            || format!("{:?}", self.point).starts_with("Accept")
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn test() -> String {
    json!({
        "codeWord": "kestrel-maple-0042",
        "notice": "This is a test of your connection to the gateway. It is about nobody. \
                   Send the code word back.",
        "replyBy": case::hours(1),
        "schemas": ["urn:mash:schema:test:1"],
    })
    .to_string()
}

/// What is in a store, without ids and times.
#[derive(Debug, Eq, PartialEq)]
struct Effects {
    /// How everything stands.
    rows: Vec<String>,
    /// How often what was logged.
    events: BTreeMap<String, usize>,
}

impl Effects {
    /// Of a home's store, which must be whole: its log verifies, there is one root for each size, in it and
    /// in every answer anybody holds, and no name is given twice.
    async fn of(home: &Path, answers: &[String]) -> Result<Self, String> {
        let (store, log) = told::store(home);
        told::verify(&store, &log).await?;
        let heads = store.checkpoints(0, usize::MAX >> 1).await.unwrap();
        let heads: BTreeMap<_, _> = heads.into_iter().map(|head| (head.size, head.root)).collect();
        for answer in answers {
            for proven in verify_answer(answer, &log).map_err(said)? {
                let said = log.open(&proven.checkpoint).unwrap();
                if heads.get(&said.size) != Some(&said.root) {
                    return Err(format!("another root for {} entries was signed", said.size));
                }
            }
        }
        let (mut rows, mut events) = (Vec::new(), BTreeMap::new());
        let mut references = HashSet::new();
        for entry in store.entries(0, usize::MAX >> 1).await.unwrap() {
            let fields = Fields::parse(&entry.fields.unwrap()).unwrap();
            let event = fields.get("event").unwrap();
            *events.entry(event.to_owned()).or_default() += 1;
            if event != "accepted" {
                continue;
            }
            let id: MessageId = fields.get("message").unwrap().parse().unwrap();
            let stored = store.message(&id).await.unwrap();
            let (envelope, state) = (&stored.envelope, stored.delivery.as_str());
            let (kind, to) = (envelope.kind.as_str(), &envelope.recipient);
            let payload = store.sealed_payload(&id).await.unwrap();
            let is_there = payload.ciphertext.is_some() && payload.wrapped_key.is_some();
            rows.push(format!("message: {kind} to {to}: {state} {is_there}"));
            if envelope.kind.opens_exchange() {
                let exchange = store.exchange(&envelope.exchange).await.unwrap();
                let outcome = exchange.marks.outcome_at.is_some();
                let told = store.referrer_told_at(&exchange.enquiry).await.unwrap().is_some();
                let draft = store.draft(&exchange.id, Kind::Response).await.unwrap();
                rows.push(format!(
                    "exchange: {} {:?} {:?} {outcome} {told} {:?}",
                    exchange.agency,
                    exchange.state,
                    exchange.result,
                    draft.map(|draft| draft.version)
                ));
                if !references.insert(envelope.reference.clone()) {
                    return Err(format!("{} was given twice", envelope.reference));
                }
            }
        }
        for file in store.attachment_digests(0, usize::MAX as u64 >> 1).await.unwrap() {
            let (uploader, is_bound) = (&file.attachment.uploader, file.is_bound);
            rows.push(format!("file: of {uploader}, bound: {is_bound}"));
        }
        for known in store.certificates().await.unwrap() {
            let (revoked, used) = (known.revoked.is_some(), known.last_use.is_some());
            rows.push(format!("certificate: {} {} {revoked} {used}", known.agency, known.profile));
        }
        for known in store.last_cosigned().await.unwrap() {
            rows.push(format!("cosigned: by {}", known.witness));
        }
        for known in store.tokens().await.unwrap() {
            let (bound, approved) = (known.key_sha256.is_some(), known.approved_at.is_some());
            rows.push(format!("token: {bound} {approved} {}", known.used_at.is_some()));
        }
        for known in store.rfi_drafts(&HUB.parse().unwrap(), 10).await.unwrap() {
            let draft = store.rfi_draft(&HUB.parse().unwrap(), &known.id).await.unwrap().unwrap();
            rows.push(format!("rfi draft: {}", draft.version));
        }
        let untold = store.untold_notices("operator 1", vec![example()]).await.unwrap();
        rows.push(format!("notice: told: {}", untold.is_empty()));
        rows.sort();
        Ok(Self { rows, events })
    }
}

async fn begin_rfi_draft(running: &Told, at: Timestamp) -> Result<(), String> {
    let hub = HUB.parse().unwrap();
    let begun = running.gateway.begin_rfi_draft(&hub, b"What is known of Wrenna?", at).await;
    begun.map(drop).map_err(|problem| problem.detail)
}

// The RFI that is being written.
async fn asked(running: &Told) -> (AgencyId, EnquiryId) {
    let hub: AgencyId = HUB.parse().unwrap();
    let drafts = running.store().rfi_drafts(&hub, 2).await.unwrap();
    let [draft] = drafts.as_slice() else { panic!("there is one") };
    (hub, draft.id)
}

/// What asking again adds, with nothing failing.
#[derive(Debug, Eq, PartialEq)]
enum Again {
    /// Nothing at all.
    Nothing,
    /// It is in the log once more; everything stands as it did.
    Entry,
    /// Another of what was asked for: whoever asks again wants another.
    Another,
}

fn again(point: WritePoint) -> Again {
    match point {
        WritePoint::ApproveToken
        | WritePoint::BarAgency
        | WritePoint::Collect
        | WritePoint::CollectAttachment
        | WritePoint::RevokeCertificate
        | WritePoint::TellReferrer => Again::Entry,
        WritePoint::BeginRfiDraft
        | WritePoint::IssueCertificate
        | WritePoint::Log
        | WritePoint::MakeToken
        | WritePoint::RecordOverride => Again::Another,
        _ => Again::Nothing,
    }
}

#[tokio::test]
async fn every_write_that_fails_in_every_way_has_the_outcome_of_asking_once_or_twice() {
    let (gateway, endpoint) = ground();
    let mut count = 0;
    for point in WritePoint::ALL {
        let case = Case::new(*point, &gateway.home(), &endpoint).await;
        let (once, twice) = (case.asked(1).await, case.asked(2).await);
        let untouched = case.asked(0).await;
        // What was given up counts for nothing, and is cleared away unseen.
        let is_unseen = matches!(
            point,
            WritePoint::ClearDiscarded
                | WritePoint::DiscardUpload
                | WritePoint::DiscardUploadsBefore
                | WritePoint::Probe
        );
        assert!(is_unseen || once != untouched, "{point:?} does something");
        match again(*point) {
            Again::Nothing => assert_eq!(once, twice, "{point:?} is done once"),
            Again::Entry => assert_eq!(once.rows, twice.rows, "{point:?} is done once"),
            Again::Another => assert_ne!(once, twice, "{point:?}"),
        }
        for fault in Fault::ALL.into_iter().filter(|fault| fault.strikes(*point)) {
            for restarts in [true, false] {
                let what = format!("{point:?}, {fault:?}, restarts: {restarts}");
                let found = case.tried(fault, restarts, None).await;
                let legal = if fault.is_durable() { &twice } else { &once };
                assert_eq!(found.as_ref(), Ok(legal), "{what}");
                count += 1;
            }
        }
    }
    println!("{count} faults at {} write points", WritePoint::ALL.len());
}

/// Stores that do wrong, and what has to be said of them.
#[tokio::test]
async fn a_store_that_breaks_a_promise_is_found() {
    let (gateway, endpoint) = ground();
    for (defect, point, fault) in [
        (Defect::ForgetsKeys, WritePoint::AcceptRfi, Fault::Persisted),
        (Defect::ForgetsKeys, WritePoint::AcceptResponse, Fault::Unanswered),
        (Defect::AnswersTooEarly, WritePoint::AllocateReferences, Fault::NotBegun),
        (Defect::DropsDeliveries, WritePoint::AcceptRfi, Fault::NotBegun),
        (Defect::MixesUpRecipients, WritePoint::AcceptRfi, Fault::RolledBack),
    ] {
        let case = Case::new(point, &gateway.home(), &endpoint).await;
        let legal = case.asked(1).await;
        // The fault without the defect is borne.
        assert_eq!(case.tried(fault, true, None).await.as_ref(), Ok(&legal));
        let found = case.tried(fault, true, Some(defect)).await;
        println!("{defect:?}: {found:?}");
        assert_ne!(found.as_ref(), Ok(&legal), "{defect:?}");
    }
}

/// The file goes back to an earlier state while the gateway runs: what it remembers is not in the file.
#[tokio::test]
async fn a_gateway_does_not_go_on_from_a_log_that_lost_its_end() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let home = told::copy(&gateway.home());
    let running = Told::of(home.path());
    let body = case::dispatch(&[TRUST]).to_string();
    let ask = |key: String| {
        let (running, body) = (&running, &body);
        async move { running.submit(HUB, &key, Target::Rfis, body, now()).await }
    };
    ask(KEY.to_owned()).await.ok().unwrap();
    let sql = "DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)";
    let database = home.path().join("data/gateway.db");
    let cut = std::process::Command::new("sqlite3").arg(&database).arg(sql).status().unwrap();
    assert!(cut.success());
    let signed = running.store().checkpoints(0, usize::MAX >> 1).await.unwrap().len();
    for other in ["1058", "2058"] {
        let refused = ask(KEY.replace("8057", other)).await.err().unwrap();
        assert_eq!(refused.kind.facts().code, "unavailable");
    }
    assert!(running.gateway.ledger().is_halted());
    let after = running.store().checkpoints(0, usize::MAX >> 1).await.unwrap().len();
    assert_eq!(after, signed, "nothing is signed on");
    running.end().await;
}

#[test]
fn every_method_that_writes_has_a_write_point() {
    let text = include_str!("../../src/store/sqlite/mod.rs");
    let (_, methods) = text.split_once("impl Store for Sqlite {").unwrap();
    let (methods, _) = methods.split_once("\n}\n").unwrap();
    let writing: BTreeSet<_> = methods
        .split("    async fn ")
        .filter(|method| method.contains("self.write") || method.contains(".append("))
        .map(|method| method.split('(').next().unwrap())
        .collect();
    let named: BTreeSet<_> = WritePoint::ALL.iter().map(|point| point.method()).collect();
    assert_eq!(writing, named);
}
