//! The files that go with what is written: one is added at a time, each can be taken out again. They wait as
//! files from programs do, for the message that names them.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};

use super::{Reply, What, instead, overtaken};
use crate::http::api::{Api, Path};
use crate::http::desk::form::{Form, put, text};
use crate::http::desk::message;
use crate::http::desk::page::{Frame, page, see};
use crate::http::desk::upload::Coming;
use crate::http::desk::visitor::Visitor;
use crate::message::IdempotencyKey;
use crate::problem::{Problem, ProblemType};

/// How the page's address ends: what is sent there takes as long as a file may.
pub(in crate::http::desk) const FILES: &str = "/files";

/// The files there are, and what adds one.
#[derive(Template)]
#[template(path = "desk/upload.html")]
struct FilesPage {
    frame: Frame,
    title: String,
    noun: &'static str,
    path: String,
    /// Each by its id.
    files: Vec<(String, String)>,
    /// The largest there may be; none where the agency may send none.
    largest: Option<String>,
    is_full: bool,
    key: String,
    error: Option<String>,
}

/// The page of the files, and where one is added.
pub(in crate::http::desk) fn files(what: What) -> MethodRouter<Api> {
    get(move |api: State<Api>, visitor: Visitor, name: Path<String>| show(what, api, visitor, name))
        .post(move |api: State<Api>, visitor: Visitor, name: Path<String>, request: Request| {
            add(what, api, visitor, name, request)
        })
}

/// Where one is taken out.
pub(in crate::http::desk) fn without(what: What) -> MethodRouter<Api> {
    post(move |api: State<Api>, visitor: Visitor, name: Path<String>, form: Form| {
        remove(what, api, visitor, name, form)
    })
}

/// What each file is, in words.
pub(super) fn named(body: &Value) -> impl Iterator<Item = String> {
    message::files(body).into_iter().map(|file| file.label)
}

async fn show(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    shown(&api, &visitor, &reply, None)
}

fn shown(
    api: &Api,
    visitor: &Visitor,
    reply: &Reply,
    error: Option<String>,
) -> Result<Response, Problem> {
    let largest = api.gateway.attachment_bytes_max(visitor.agency());
    let ids = attached(reply).iter().map(|file| text(file, "/id"));
    let status = match error {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let template = FilesPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: "Files that go with it".to_owned(),
        noun: reply.what.noun(),
        path: reply.path(),
        files: ids.zip(named(&reply.writing.body)).collect(),
        largest: largest.map(size),
        is_full: attached(reply).len() >= FILES_MAX,
        key: IdempotencyKey::new(visitor.at()).to_string(),
        error,
    };
    page(status, &template)
}

async fn add(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let coming = Coming::of(request)?;
    if attached(&reply).len() >= FILES_MAX {
        coming.pass_over().await;
        let error = format!("There are {FILES_MAX} files already. Take one out first.");
        return shown(&api, &visitor, &reply, Some(error));
    }
    let uploaded = match coming.take(&api, &visitor).await {
        Ok(Some(uploaded)) => uploaded,
        Ok(None) => return shown(&api, &visitor, &reply, Some("Choose a file.".to_owned())),
        Err(problem) => {
            let error = wrong(&api, &visitor, &problem).ok_or(problem)?;
            return shown(&api, &visitor, &reply, Some(error));
        }
    };
    let file: Value = serde_json::from_str(&uploaded.answer).map_err(|error| {
        Problem::new(ProblemType::Internal, "The file could not be named.").because(error)
    })?;
    // What was written while it came is not written over.
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let mut files = attached(&reply).to_vec();
    if !files.contains(&file) {
        files.push(file);
    }
    keep(&api, &visitor, reply, files).await
}

async fn remove(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let unwanted = form.one("file").unwrap_or_default();
    let files = attached(&reply).iter().filter(|file| text(file, "/id") != unwanted);
    let files = files.cloned().collect();
    keep(&api, &visitor, reply, files).await
}

async fn keep(
    api: &Api,
    visitor: &Visitor,
    mut reply: Reply,
    files: Vec<Value>,
) -> Result<Response, Problem> {
    let there = format!("{}{FILES}", reply.path());
    if attached(&reply) == files {
        return Ok(see(&there));
    }
    let files = (!files.is_empty()).then(|| json!(files));
    put(&mut reply.writing.body, "/attachments", files);
    match reply.keep(api, visitor, reply.version).await? {
        true => Ok(see(&there)),
        false => overtaken(api, visitor, &reply),
    }
}

fn attached(reply: &Reply) -> &[Value] {
    let files = reply.writing.body.get("attachments").and_then(Value::as_array);
    files.map(Vec::as_slice).unwrap_or_default()
}

// What is wrong with the file itself, which whoever chose it can put right.
fn wrong(api: &Api, visitor: &Visitor, problem: &Problem) -> Option<String> {
    match problem.kind {
        ProblemType::MediaType => Some(
            "Choose a PDF, a picture (JPEG or PNG) or plain text that is what its name says."
                .to_owned(),
        ),
        ProblemType::BodyTooLarge => {
            let largest = api.gateway.attachment_bytes_max(visitor.agency())?;
            Some(format!("Choose a smaller file: {} at most.", size(largest)))
        }
        ProblemType::AttachmentsUnsent => {
            Some("Send first what your agency has uploaded and not sent: no more fits.".to_owned())
        }
        _ => None,
    }
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// How many files go with one message, by the contract.
const FILES_MAX: usize = 10;
