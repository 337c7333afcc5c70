//! What an agency says in an exchange beside its reply, each on one page: when it will answer, that it is not
//! for it to answer, a question, and what the family may be told after all.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::around::Around;
use super::form::{Answer, Choice, Form, Question, day_and_time, mark, put, text};
use super::page::{FormPage, Frame, Link, page, see};
use super::reply::message_in;
use super::requests::find_opened;
use super::visitor::Visitor;
use super::words;
use super::{enquiries, message::is_saved};
use crate::http::api::{Api, Path, no_such_thing, parse, submitted};
use crate::message::{
    Exchange, IdempotencyKey, Kind, MessageId, Party, Reference, Submission, Target, rfc3339,
};
use crate::problem::{Problem, ProblemType};

/// One of the things that are said on one page.
pub(super) struct Saying {
    /// Who says it.
    pub(super) by: Party,
    pub(super) kind: Kind,
    pub(super) title: &'static str,
    pub(super) paragraph: &'static str,
    pub(super) button: &'static str,
    /// What is asked, as it is answered so far.
    pub(super) questions: fn(&Around, &Value) -> Vec<Question>,
    /// What is sent, of what was filled in; the time is when it is.
    pub(super) body: fn(&Around, &Form, Timestamp) -> Value,
}

pub(super) static ACKNOWLEDGE: Saying = Saying {
    by: Party::Agency,
    kind: Kind::Acknowledgement,
    title: "Say when you will reply",
    paragraph: "The hub sees at once that somebody works on it, and by when. The day on which the answer is \
                needed stays as it is.",
    button: "Tell the hub",
    questions: |_, body| {
        let (day, time) = day_and_time(body, "/willReplyBy");
        let by = Answer::Instant { day, time };
        vec![
            Question::new("by", "/willReplyBy", "By when will you reply?", by),
            line(body, "name", "/acknowledgedBy/name", "Your name", "name"),
            line(
                body,
                "jobTitle",
                "/acknowledgedBy/jobTitle",
                "Your job title",
                "organization-title",
            ),
            line(body, "handler", "/handler/name", "Who will answer? (if it is not you)", "off"),
            line(body, "handlerTitle", "/handler/jobTitle", "Their job title", "off"),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put_text(&mut body, "/acknowledgedBy/name", form.one("name"));
        put_text(&mut body, "/acknowledgedBy/jobTitle", form.one("jobTitle"));
        let by = form.instant("by");
        put(&mut body, "/willReplyBy", Some(json!(by.unwrap_or_default())));
        let (name, title) = match form.one("handler") {
            Some(other) => (Some(other), form.one("handlerTitle")),
            None => (form.one("name"), form.one("jobTitle")),
        };
        put_text(&mut body, "/handler/name", name);
        put_text(&mut body, "/handler/jobTitle", title);
        body
    },
};

pub(super) static NOT_FOR_US: Saying = Saying {
    by: Party::Agency,
    kind: Kind::Acknowledgement,
    title: "Say that it is not for you",
    paragraph: "Only if your agency is the wrong one to ask. If you simply know nothing, reply with nothing \
                known: that is an answer.",
    button: "Tell the hub",
    questions: |_, body| {
        let who = Answer::Text { value: text(body, "/wrongRecipient/suggestion") };
        vec![
            Question::new("who", "/wrongRecipient/suggestion", "Who should be asked instead?", who)
                .with_hint("As far as you know. If you do not know, say so."),
            line(body, "name", "/acknowledgedBy/name", "Your name", "name"),
            line(
                body,
                "jobTitle",
                "/acknowledgedBy/jobTitle",
                "Your job title",
                "organization-title",
            ),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put(&mut body, "/wrongRecipient", Some(json!({})));
        put_text(&mut body, "/wrongRecipient/suggestion", form.one("who"));
        put_text(&mut body, "/acknowledgedBy/name", form.one("name"));
        put_text(&mut body, "/acknowledgedBy/jobTitle", form.one("jobTitle"));
        body
    },
};

pub(super) static QUESTION: Saying = Saying {
    by: Party::Agency,
    kind: Kind::Clarification,
    title: "Ask the hub a question",
    paragraph: "If it is urgent, ring: the number is at the foot of this page.",
    button: "Send the question",
    questions: |exchange, body| {
        let given = text(body, "/category");
        let about = exchange
            .categories
            .iter()
            .map(|code| Choice::new(code, words::category(code), &given))
            .collect();
        let question = Answer::Text { value: text(body, "/question") };
        vec![
            Question::new("question", "/question", "What is not clear?", question),
            Question::new(
                "about",
                "/category",
                "Which part is it about? (optional)",
                Answer::One(about),
            ),
            line(body, "name", "/from/name", "Your name", "name"),
            line(body, "jobTitle", "/from/jobTitle", "Your job title", "organization-title"),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put(&mut body, "/question", Some(json!(form.one("question").unwrap_or_default())));
        put_text(&mut body, "/category", form.one("about"));
        put_text(&mut body, "/from/name", form.one("name"));
        put_text(&mut body, "/from/jobTitle", form.one("jobTitle"));
        body
    },
};

pub(super) static FAMILY: Saying = Saying {
    by: Party::Agency,
    kind: Kind::OnwardDisclosure,
    title: "Say again what the family may be told",
    paragraph: "This takes the place of what you said before. What you do not allow stays forbidden.",
    button: "Tell the hub",
    questions: |exchange, body| {
        let given = text(body, "/onwardDisclosure");
        let levels = [
            ("not-without-asking-us", "Nothing, without asking us first"),
            ("family-may-be-told-part", "A part of it"),
            ("family-may-be-told", "All of it"),
        ];
        let levels = levels.map(|(code, label)| Choice::new(code, label, &given)).to_vec();
        let label = "What may the family be told of your reply?";
        let mut questions =
            vec![Question::new("family", "/onwardDisclosure", label, Answer::One(levels))];
        for (code, index) in exchange.categories.iter().zip(0..) {
            let there = format!("/answers/{index}");
            let given = text(body, &format!("{there}/mayBeTold"));
            let told = [("all", "All"), ("part", "A part"), ("nothing", "Nothing")];
            let told = told.map(|(code, label)| Choice::new(code, label, &given)).to_vec();
            let category = words::category(code);
            questions.push(
                Question::new(
                    &format!("told-{code}"),
                    &format!("{there}/mayBeTold"),
                    format!("{category}: what may be told?"),
                    Answer::One(told),
                )
                .with_hint("Only if the family may be told a part."),
            );
            let what = Answer::Text { value: text(body, &format!("{there}/what")) };
            let name = format!("what-{code}");
            questions.push(
                Question::new(
                    &name,
                    &format!("{there}/what"),
                    format!("{category}: which part?"),
                    what,
                )
                .with_hint("Only if a part of this may be told."),
            );
        }
        let conditions = Answer::Text { value: text(body, "/conditions") };
        let label = "What must be respected when they are told? (optional)";
        questions.extend([
            Question::new("conditions", "/conditions", label, conditions),
            line(body, "name", "/decidedBy/name", "Who decided?", "name"),
            line(body, "jobTitle", "/decidedBy/jobTitle", "Their job title", "organization-title"),
        ]);
        questions
    },
    body: |exchange, form, at| {
        let mut body = addressed(exchange);
        put_text(&mut body, "/onwardDisclosure", form.one("family"));
        if form.one("family") == Some("family-may-be-told-part") {
            let answers = exchange.categories.iter().map(|code| {
                let told = form.one(&format!("told-{code}")).unwrap_or("nothing");
                let mut answer = json!({ "category": code, "mayBeTold": told });
                if told == "part" {
                    put_text(&mut answer, "/what", form.one(&format!("what-{code}")));
                }
                answer
            });
            let answers = answers.collect::<Vec<_>>();
            put(&mut body, "/answers", Some(json!(answers)));
        }
        // When it is said is when it was decided, as far as a page can tell.
        put(&mut body, "/decidedAt", Some(json!(rfc3339(at))));
        put_text(&mut body, "/conditions", form.one("conditions"));
        put_text(&mut body, "/decidedBy/name", form.one("name"));
        put_text(&mut body, "/decidedBy/jobTitle", form.one("jobTitle"));
        body
    },
};

/// The page on which this is said, and where it is sent to.
pub(super) fn routes(saying: &'static Saying) -> MethodRouter<Api> {
    get(move |api: State<Api>, visitor: Visitor, name: Path<String>| {
        ask(saying, api, visitor, name)
    })
    .post(move |api: State<Api>, visitor: Visitor, name: Path<String>, form: Form| {
        send(saying, api, visitor, name, form)
    })
}

type Answered = Result<Response, Problem>;

// The page, empty.
async fn ask(
    saying: &Saying,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Answered {
    let Some(exchange) = found(saying, &api, &visitor, &name).await? else {
        return Ok(see(&format!("/requests/{name}")));
    };
    let questions = (saying.questions)(&exchange, &json!({}));
    // One for each time the page is opened: what is sent twice from it is said once.
    let key = IdempotencyKey::new(visitor.at()).to_string();
    form(saying, &api, &visitor, &exchange, key, questions, Vec::new()).answer()
}

// Sends it, or shows the page again with what is wrong and all that was filled in.
async fn send(
    saying: &Saying,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
    filled: Form,
) -> Answered {
    let Some(exchange) = found(saying, &api, &visitor, &name).await? else {
        return Ok(see(&format!("/requests/{name}")));
    };
    let key = filled.one("key").unwrap_or_default().to_owned();
    let body = (saying.body)(&exchange, &filled, visitor.at());
    let target = Target::Exchange(exchange.id, saying.kind);
    let new = submission(&visitor, &key, target, &body)?;
    match submitted(&api, new, visitor.at()).await {
        Ok(answer) => {
            let message = message_in(&answer.body)?;
            Ok(see(&said_in(&exchange, saying.by, &message)))
        }
        Err(problem) if problem.kind == ProblemType::Schema => {
            let mut questions = (saying.questions)(&exchange, &body);
            let elsewhere = mark(&mut questions, problem.errors);
            form(saying, &api, &visitor, &exchange, key, questions, elsewhere).answer()
        }
        Err(problem) => Err(problem),
    }
}

// The exchange in which it is said: by whoever is that party to it. None, where it was not opened yet.
async fn found(
    saying: &Saying,
    api: &Api,
    visitor: &Visitor,
    name: &str,
) -> Result<Option<Around>, Problem> {
    let exchange = match saying.by {
        Party::Agency => find_opened(api, visitor, name).await?,
        Party::Hub => Some(enquiries::find(api, visitor, name).await?),
    };
    match exchange {
        Some(exchange) => Around::of(saying, api, visitor, exchange).await.map(Some),
        None => Ok(None),
    }
}

/// Where an exchange is shown to this party.
pub(super) fn home(exchange: &Exchange, party: Party) -> Link {
    let reference = &exchange.reference;
    match party {
        Party::Agency => {
            Link::new(format!("/requests/{reference}"), format!("Back to request {reference}"))
        }
        Party::Hub => Link::new(format!("/enquiries/{}", exchange.enquiry), "Back to the enquiry"),
    }
}

/// Where this party is shown what it has sent.
pub(super) fn said_in(exchange: &Exchange, party: Party, message: &MessageId) -> String {
    let place = match party {
        Party::Agency => "requests",
        Party::Hub => "exchanges",
    };
    format!("/{place}/{}/sent/{message}", exchange.reference)
}

fn form(
    saying: &Saying,
    api: &Api,
    visitor: &Visitor,
    exchange: &Exchange,
    key: String,
    questions: Vec<Question>,
    elsewhere: Vec<crate::schema::Violation>,
) -> FormPage {
    FormPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: saying.title.to_owned(),
        back: home(exchange, saying.by),
        paragraphs: vec![saying.paragraph.to_owned()],
        prompts: Vec::new(),
        questions,
        elsewhere,
        version: None,
        key: Some(key),
        button: saying.button.to_owned(),
        others: &[],
    }
}

/// What a page sends, as every submission is sent: by the person, in their role, under this key.
pub(super) fn submission(
    visitor: &Visitor,
    key: &str,
    target: Target,
    body: &Value,
) -> Result<Submission, Problem> {
    let idempotency_key = key.parse().map_err(|_| {
        Problem::new(ProblemType::InvalidParameter, "The form was not sent as it was made.")
    })?;
    Ok(Submission {
        sender: visitor.agency().clone(),
        desk: Some(visitor.role()),
        idempotency_key,
        target,
        body: body.to_string().into_bytes(),
        traceparent: None,
        certificate: visitor.certificate().map(str::to_owned),
    })
}

/// What was sent, with its receipt.
#[derive(Template)]
#[template(path = "desk/sent.html")]
struct SentPage {
    frame: Frame,
    title: &'static str,
    reference: String,
    what: &'static str,
    message: String,
    is_reply: bool,
    back: Link,
    /// The request, where the agency has not said yet that it is in its own record.
    to_save: Option<String>,
}

/// Shows that it was sent, and has the receipt.
pub(super) async fn sent(
    State(api): State<Api>,
    visitor: Visitor,
    Path((name, message)): Path<(String, String)>,
) -> Answered {
    let reference = Reference::parse(&name).map_err(|_| no_such_thing())?;
    let exchange = api.gateway.exchange_by_reference(visitor.agency(), &reference).await?;
    let party = exchange.party(visitor.agency()).ok_or_else(no_such_thing)?;
    let message: MessageId = parse(&message)?;
    let stored = api.gateway.sent(visitor.agency(), &message).await?;
    if stored.envelope.exchange != exchange.id {
        return Err(no_such_thing());
    }
    let to_save = match party {
        Party::Agency => {
            let rfi = api.gateway.received(visitor.agency(), &exchange.rfi).await?;
            (!is_saved(&rfi)).then(|| exchange.rfi.to_string())
        }
        Party::Hub => None,
    };
    let template = SentPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: match stored.envelope.kind {
            Kind::Response => "Your reply is sent",
            _ => "It is sent",
        },
        reference: exchange.reference.to_string(),
        what: words::kind(stored.envelope.kind),
        message: message.to_string(),
        is_reply: stored.envelope.kind == Kind::Response,
        back: home(&exchange, party),
        to_save,
    };
    page(StatusCode::OK, &template)
}

/// What every message in an exchange says: what it is about, the request.
pub(super) fn addressed(exchange: &Exchange) -> Value {
    json!({ "inReplyTo": exchange.rfi })
}

/// Puts a text there, if there is one.
pub(super) fn put_text(body: &mut Value, pointer: &str, text: Option<&str>) {
    if let Some(text) = text {
        put(body, pointer, Some(json!(text)));
    }
}

/// A question for one line.
pub(super) fn line(
    body: &Value,
    name: &str,
    pointer: &str,
    label: &str,
    autocomplete: &'static str,
) -> Question {
    let answer = Answer::Line { value: text(body, pointer), autocomplete, kind: "text" };
    Question::new(name, pointer, label, answer)
}
