//! Wrong input through the front door: each fault gets its own problem, is logged without a word of
//! what was sent, and changes nothing.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use hyper::Method;
use hyper::header::HeaderMap;
use mash_gateway::event::content_digest;
use mash_gateway::message::sha256;
use serde_json::{Value, json};

use crate::support::{
    Agency, Answer, CLOSED, HUB, POLICE, SURGERY, SUSPENDED, TRUST, TestGateway, case,
};

/// In every refused body, and nowhere else.
const MARK: &str = "Cobblewren-Ashgrove";

/// One gateway, two agencies asked, and what was refused so far.
struct Zoo {
    gateway: TestGateway,
    hub: Agency,
    police: Agency,
    /// What the police were asked, as the 202 names it.
    asked: Value,
    /// What the trust was asked.
    of_trust: Value,
    instances: Vec<(String, String)>,
}

impl Zoo {
    async fn open() -> Self {
        let gateway = TestGateway::start();
        let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
        let dispatched = hub.dispatch(&[POLICE, TRUST]).await;
        let [asked, of_trust] = [0, 1].map(|at| dispatched["exchanges"][at].clone());
        police.collect_first().await;
        Self { gateway, hub, police, asked, of_trust, instances: Vec::new() }
    }

    fn responses(&self) -> String {
        case::path(&self.asked, "responses")
    }

    fn rfi(&self) -> &str {
        self.asked["message"].as_str().unwrap()
    }

    /// A good response, but for what `change` does to it.
    fn response(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut response = case::response(self.rfi());
        response["answers"][0]["summary"] = json!(MARK);
        change(&mut response);
        response.to_string()
    }

    /// A good dispatch to the police, but for what `change` does to it.
    fn dispatch(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut dispatch = case::dispatch(&[POLICE]);
        dispatch["rfi"]["reason"]["concerns"] = json!(MARK);
        change(&mut dispatch);
        dispatch.to_string()
    }

    /// The police post this as a response; it is refused so.
    async fn responded(
        &mut self,
        body: impl Into<Vec<u8>>,
        status: u16,
        code: &str,
        places: &[(&str, &str)],
    ) {
        let answer = self.police.post_bytes(&self.responses(), &key(), body).await;
        self.refused(&answer, status, code, places);
    }

    /// The hub posts this as a dispatch; it is refused so.
    async fn dispatched(&mut self, body: String, code: &str, places: &[(&str, &str)]) {
        let answer = self.hub.post_bytes("/v1/rfis", &key(), body).await;
        self.refused(&answer, 422, code, places);
    }

    /// This is the problem, names these places, and repeats nothing.
    #[track_caller]
    fn refused(&mut self, answer: &Answer, status: u16, code: &str, places: &[(&str, &str)]) {
        let problem = answer.problem(status, code);
        let none = Vec::new();
        let found: Vec<_> = problem["errors"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .map(|place| {
                assert!(!place["message"].as_str().unwrap().is_empty());
                (place["pointer"].as_str().unwrap(), place["code"].as_str().unwrap())
            })
            .collect();
        assert_eq!(found, places, "{problem:#}");
        assert!(!answer.text().contains(MARK), "the answer repeats what was sent");
        for member in ["title", "detail", "resolver", "remedy"] {
            assert!(!problem[member].as_str().unwrap().is_empty(), "{member}: {problem:#}");
        }
        let instance = problem["instance"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
        self.instances.push((instance.to_owned(), code.to_owned()));
    }

    /// That none of it changed anything, and that each refusal is logged, with nothing of it.
    async fn close(self) {
        let Self { mut gateway, hub, police, asked, of_trust, instances } = self;
        assert!(!instances.is_empty());
        assert_eq!(hub.get_json("/v1/inbox").await["messages"], json!([]));
        for (exchange, state) in [(&asked, "received"), (&of_trust, "requested")] {
            let path = format!("/v1/exchanges/{}", exchange["exchange"].as_str().unwrap());
            assert_eq!(hub.get_json(&path).await["state"], state);
        }
        let all = hub.get_json("/v1/exchanges").await;
        assert_eq!(all["exchanges"].as_array().unwrap().len(), 2);
        let waiting = police.get_json("/v1/inbox").await;
        assert_eq!(waiting["messages"].as_array().unwrap().len(), 1);
        gateway.stop();

        let entries = gateway.entries();
        let logged: BTreeSet<_> = entries
            .iter()
            .filter(|fields| fields["event"] == "refused")
            .map(|fields| (text(fields, "instance"), text(fields, "problem")))
            .collect();
        let log = gateway.log();
        for (instance, code) in &instances {
            assert!(log.contains(instance), "{code} is not in the log file");
            assert!(logged.contains(&(&**instance, &**code)), "{code} is not in the log");
        }
        gateway.holds_nowhere(&[MARK]);
        gateway.verify_log();
    }
}

#[tokio::test]
async fn what_is_not_strict_json() {
    let mut zoo = Zoo::open().await;
    let good = zoo.response(|_| {});
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8[good.find(MARK).unwrap()] = 0xff;
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("not JSON", format!("{MARK} is not JSON").into_bytes()),
        ("JSON in single quotes", good.replace('"', "'").into_bytes()),
        ("cut short", good.as_bytes()[..good.len() / 2].to_vec()),
        ("two documents", good.repeat(2).into_bytes()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("a name twice", good.replacen('{', r#"{"result":"nothing-known","#, 1).into_bytes()),
        (
            "a name twice, spelled in two ways",
            good.replacen('{', r#"{"\u0072esult":"nothing-known","#, 1).into_bytes(),
        ),
        ("bytes that are not UTF-8", not_utf8),
        ("the character NUL", good.replace(MARK, r"a\u0000b").into_bytes()),
        ("half of a surrogate pair", good.replace(MARK, r"\ud800").into_bytes()),
        ("too deep", format!("{}{}", "[".repeat(65), "]".repeat(65)).into_bytes()),
        ("much too deep", "[".repeat(500_000).into_bytes()),
        ("a number beyond range", good.replacen('{', r#"{"n":1e999,"#, 1).into_bytes()),
        ("too many values", format!("[{}1]", "1,".repeat(100_000)).into_bytes()),
    ];
    for (what, body) in bodies {
        println!("{what}");
        zoo.responded(body, 400, "not-json", &[]).await;
    }
    zoo.close().await;
}

#[tokio::test]
async fn what_breaks_its_schema_or_rules() {
    let mut zoo = Zoo::open().await;
    zoo.responded("[]", 422, "schema", &[("", "type")]).await;
    let unknown = zoo.response(|r| r["answers"][0][MARK] = json!(1));
    zoo.responded(unknown, 422, "schema", &[("/answers/0", "unknown-field")]).await;
    let missing = zoo.response(|r| {
        r.as_object_mut().unwrap().remove("proportionate");
    });
    zoo.responded(missing, 422, "schema", &[("/proportionate", "proportionate-required")]).await;
    let long = zoo.response(|r| r["answers"][0]["summary"] = json!("x".repeat(100_000)));
    zoo.responded(long, 422, "schema", &[("/answers/0/summary", "text-format")]).await;
    let category = zoo.response(|r| r["answers"][0]["category"] = json!("school-attendance"));
    zoo.responded(category, 422, "schema", &[("/answers/0/category", "category-not-on-form")])
        .await;
    let not_asked = zoo.response(|r| r["answers"][1]["category"] = json!("cse-cce"));
    zoo.responded(
        not_asked,
        422,
        "schema",
        &[("/answers", "category-not-answered"), ("/answers/1/category", "category-not-asked")],
    )
    .await;
    let of_trust = zoo.of_trust["message"].clone();
    let other_rfi = zoo.response(|r| r["inReplyTo"] = of_trust);
    zoo.responded(other_rfi, 422, "schema", &[("/inReplyTo", "not-this-rfi")]).await;
    let person = zoo.response(|r| r["answers"][0]["aboutPersonIds"] = json!(["p9"]));
    zoo.responded(person, 422, "schema", &[("/answers/0/aboutPersonIds/0", "person-not-in-rfi")])
        .await;

    let number = zoo.dispatch(|d| d["rfi"]["persons"][0]["nhsNumber"] = json!("9990000019"));
    zoo.dispatched(number, "schema", &[("/rfi/persons/0/nhsNumber", "nhs-number-check-digit")])
        .await;
    let no_basis = zoo.dispatch(|d| {
        d["rfi"].as_object_mut().unwrap().remove("lawfulBasis");
    });
    zoo.dispatched(no_basis, "schema", &[("/rfi/lawfulBasis", "lawful-basis-required")]).await;
    let late = zoo.dispatch(|d| d["rfi"]["responseRequiredBy"] = json!(case::hours(-3)));
    let answer = zoo.hub.post_bytes("/v1/rfis", &key(), late).await;
    let problem = answer.problem(422, "schema");
    assert_eq!(problem["errors"][0]["pointer"], "/rfi/responseRequiredBy");
    // Everything that is wrong is said at once.
    let much = zoo.response(|r| {
        r["proportionate"] = json!(false);
        r["accuracyChecked"] = json!(MARK);
        r["respondedBy"] = json!({});
    });
    let answer = zoo.police.post_bytes(&zoo.responses(), &key(), much).await;
    let problem = answer.problem(422, "schema");
    assert!(problem["errors"].as_array().unwrap().len() >= 4, "{problem:#}");
    zoo.close().await;
}

#[tokio::test]
async fn recipients_who_cannot_be_asked() {
    let mut zoo = Zoo::open().await;
    for (recipient, code, says) in [
        (json!({ "agency": "test-polise" }), "unknown-recipient", POLICE),
        (json!({ "odsCode": "Z99998" }), "unknown-recipient", "no such agency"),
        (json!({ "agency": CLOSED }), "recipient-closed", POLICE),
        (json!({ "agency": SUSPENDED }), "recipient-suspended", "telephone"),
        (json!({ "agency": HUB }), "recipient-is-the-hub", "own records"),
        (json!({ "agency": "test-surgeries" }), "recipient-is-a-class", "ODS code"),
    ] {
        // Beside one who could be asked: it is all or nothing.
        let body = zoo.dispatch(|d| {
            let mut recipient = recipient.clone();
            recipient["why"] = json!(MARK);
            d["recipients"].as_array_mut().unwrap().push(recipient);
        });
        let answer = zoo.hub.post_bytes("/v1/rfis", &key(), body).await;
        let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(says), "{message}");
        zoo.refused(&answer, 422, "recipient", &[("/recipients/1", code)]);
    }
    let twice = zoo.dispatch(|d| {
        let first = d["recipients"][0].clone();
        d["recipients"].as_array_mut().unwrap().push(first);
    });
    zoo.dispatched(twice, "schema", &[("/recipients/1", "recipient-twice")]).await;
    // The same surgery by id and by ODS code.
    let twice = zoo.dispatch(|d| {
        d["recipients"] = json!([
            { "agency": SURGERY, "why": MARK }, { "odsCode": "Z99999", "why": MARK },
        ]);
    });
    zoo.dispatched(twice, "recipient", &[("/recipients/1", "recipient-named-twice")]).await;
    zoo.close().await;
}

#[tokio::test]
async fn what_is_not_theirs_to_say() {
    let mut zoo = Zoo::open().await;
    let body = zoo.response(|_| {});
    for path in [
        "/v1/exchanges/01890a5d-ac96-774b-bcce-b302099a8057/responses".to_owned(),
        "/v1/exchanges/RFI-2026-999999-9/responses".to_owned(),
        "/v1/exchanges/%00/responses".to_owned(),
        "/v1/exchanges/%ff%fe/responses".to_owned(),
        // Somebody else's.
        case::path(&zoo.of_trust, "responses"),
        format!("/v1/exchanges/{}/gossip", zoo.asked["exchange"].as_str().unwrap()),
    ] {
        let answer = zoo.police.post_bytes(&path, &key(), body.clone()).await;
        zoo.refused(&answer, 404, "not-found", &[]);
    }
    // A trust that was asked nothing in this exchange, and one that was never asked at all.
    for agency in [TRUST, SURGERY] {
        let other = zoo.gateway.agency(agency);
        let answer = other.post_bytes(&zoo.responses(), &key(), body.clone()).await;
        zoo.refused(&answer, 404, "not-found", &[]);
    }
    // The parties' roles.
    let answer = zoo.hub.post_bytes(&zoo.responses(), &key(), body).await;
    zoo.refused(&answer, 403, "wrong-party", &[]);
    let outcome = case::outcome().to_string();
    let path = case::path(&zoo.asked, "outcomes");
    let answer = zoo.police.post_bytes(&path, &key(), outcome).await;
    zoo.refused(&answer, 403, "wrong-party", &[]);
    let dispatch = zoo.dispatch(|_| {});
    let answer = zoo.police.post_bytes("/v1/rfis", &key(), dispatch).await;
    zoo.refused(&answer, 403, "wrong-party", &[]);
    let supplement = case::supplement(zoo.rfi()).to_string();
    let path = case::path(&zoo.asked, "supplements");
    let answer = zoo.police.post_bytes(&path, &key(), supplement).await;
    zoo.refused(&answer, 409, "not-yet-answered", &[]);
    // Suspended: a certificate that is good, an agency that may not send now.
    let suspended = zoo.gateway.agency(SUSPENDED);
    let dispatch = zoo.dispatch(|_| {});
    let answer = suspended.post_bytes("/v1/rfis", &key(), dispatch).await;
    zoo.refused(&answer, 403, "agency-inactive", &[]);
    zoo.close().await;
}

#[tokio::test]
async fn requests_that_are_put_together_wrongly() {
    let mut zoo = Zoo::open().await;
    let (path, body) = (zoo.responses(), zoo.response(|_| {}));
    let json = ("content-type", "application/json");
    let good = key();
    let key_header = ("idempotency-key", good.as_str());
    let digest = content_digest(&sha256(b"another body"));
    let (other, not_uuid) = (key(), "0123456789");
    for (headers, status, code) in [
        (vec![json], 400, "idempotency-key-missing"),
        (vec![json, ("idempotency-key", "")], 400, "idempotency-key-missing"),
        (vec![json, ("idempotency-key", not_uuid)], 400, "idempotency-key-missing"),
        (vec![json, key_header, ("idempotency-key", &other)], 400, "idempotency-key-missing"),
        (vec![key_header], 415, "content-type"),
        (vec![key_header, ("content-type", "text/plain")], 415, "content-type"),
        (vec![key_header, ("content-type", "application/xml")], 415, "content-type"),
        (vec![key_header, json, ("content-digest", &digest)], 400, "content-digest-mismatch"),
    ] {
        let sent = zoo.police.request(Method::POST, &path, &headers, body.clone().into_bytes());
        let answer = sent.await.unwrap();
        zoo.refused(&answer, status, code, &[]);
    }
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "not-found"),
        (Method::GET, "/", 404, "not-found"),
        (Method::GET, "/v1/../../etc/passwd", 404, "not-found"),
        (Method::GET, "/v1/schemas/..%2f..%2fgateway.toml", 404, "not-found"),
        (Method::DELETE, "/v1/inbox", 405, "method-not-allowed"),
        (Method::GET, "/v1/rfis", 405, "method-not-allowed"),
        (Method::PUT, "/v1/whoami", 405, "method-not-allowed"),
        (Method::GET, "/v1/inbox?limit=many", 400, "invalid-parameter"),
        (Method::GET, "/v1/inbox?limit=%2B5", 400, "invalid-parameter"),
        (Method::GET, "/v1/inbox?limit=9007199254740992", 400, "invalid-parameter"),
        (Method::GET, "/v1/log/entries?after=-1", 400, "invalid-parameter"),
        (Method::GET, "/v1/log/proof", 400, "invalid-parameter"),
        (Method::GET, "/v1/log/proof?entry=1&size=999999999", 400, "invalid-parameter"),
        (Method::GET, "/v1/log/proof?from=5&to=2", 400, "invalid-parameter"),
        (Method::GET, "/v1/enquiries", 404, "not-found"),
    ] {
        let answer = zoo.police.request(method, path, &[], Vec::new()).await.unwrap();
        zoo.refused(&answer, status, code, &[]);
    }
    // HEAD must not collect; its answer has no body to hold to anything.
    let waiting = zoo.gateway.agency(TRUST);
    let message = format!("/v1/messages/{}", zoo.of_trust["message"].as_str().unwrap());
    let answer = waiting.request(Method::HEAD, &message, &[], Vec::new()).await.unwrap();
    assert_eq!(answer.status, 405);
    zoo.close().await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let mut zoo = Zoo::open().await;
    let limit = zoo.police.get_json("/v1/whoami").await["bodyBytesMax"].as_u64().unwrap();
    let limit = usize::try_from(limit).unwrap();
    assert_eq!(limit, 1 << 20);
    let padded = |length: usize| {
        let body = zoo.response(|_| {});
        let pad = length - body.len();
        format!("{body}{}", " ".repeat(pad))
    };
    let (one_more, three) = (padded(limit + 1), padded(3 << 20));
    zoo.responded(one_more, 413, "body-too-large", &[]).await;
    zoo.responded(three, 413, "body-too-large", &[]).await;
    zoo.close().await;
}

#[tokio::test]
async fn a_body_of_the_largest_size_is_taken() {
    let zoo = Zoo::open().await;
    let body = zoo.response(|_| {});
    let pad = (1 << 20) - body.len();
    let body = format!("{body}{}", " ".repeat(pad));
    zoo.police.post_bytes(&zoo.responses(), &key(), body).await.ok(202);
}

#[tokio::test]
async fn a_key_used_again() {
    let mut zoo = Zoo::open().await;
    let (path, key) = (zoo.responses(), key());
    let mut body = case::partial(zoo.rfi());
    zoo.police.post_bytes(&path, &key, body.to_string()).await.ok(202);
    body["answers"][0]["summary"] = json!(MARK);
    let other_body = zoo.police.post_bytes(&path, &key, body.to_string()).await;
    zoo.refused(&other_body, 409, "idempotency-key-reused", &[]);
    let acknowledgement = case::acknowledgement(zoo.rfi()).to_string();
    let other_path = case::path(&zoo.asked, "acknowledgements");
    let answer = zoo.police.post_bytes(&other_path, &key, acknowledgement).await;
    zoo.refused(&answer, 409, "idempotency-key-reused", &[]);
    let inbox = zoo.hub.get_json("/v1/inbox").await;
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1);
}

/// What no HTTP library sends.
#[tokio::test]
async fn http_that_is_not_http() {
    let zoo = Zoo::open().await;
    let port = zoo.gateway.url.rsplit(':').next().unwrap().to_owned();
    // Plain HTTP, a foreign protocol and silence at the TLS door: closed, and nothing else hurt.
    for opening in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &b"SSH-2.0-x\r\n"[..], &[0; 64]] {
        let mut tcp = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        tcp.write_all(opening).unwrap();
        let mut answer = Vec::new();
        // A TLS alert or a reset, but an end.
        let _ = tcp.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    }
    // Inside TLS: two lengths, a length beside chunks (request smuggling), endless headers.
    let (path, body) = (zoo.responses(), zoo.response(|_| {}));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {}\r\n",
        key()
    );
    let length = body.len();
    for (what, request) in [
        (
            "two lengths",
            format!("{head}Content-Length: 5\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "a length beside chunks",
            format!(
                "{head}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{body}"
            ),
        ),
        ("a header without end", format!("{head}X: {}\r\n\r\n", "x".repeat(300_000))),
        ("too many headers", format!("{head}{}\r\n", "X: y\r\n".repeat(200))),
        ("a space before the colon", format!("{head}Content-Length : 5\r\n\r\nabcde")),
    ] {
        let answer = zoo.gateway.raw(POLICE, request.as_bytes());
        assert!(!answer.starts_with("HTTP/1.1 2"), "{what}: {answer}");
        assert!(!answer.contains("HTTP/1.1 202"), "{what}: {answer}");
    }
    assert_eq!(zoo.hub.get_json("/v1/inbox").await["messages"], json!([]));
}

/// Every sentence of a problem is the gateway's own: none repeats the value that was wrong.
#[tokio::test]
async fn no_problem_repeats_what_was_sent() {
    let mut zoo = Zoo::open().await;
    let good: Value = serde_json::from_str(&zoo.response(|_| {})).unwrap();
    let mut pointers = Vec::new();
    places(&good, "", &mut pointers);
    assert!(pointers.len() > 15, "{pointers:?}");
    for pointer in pointers {
        let mut body = good.clone();
        *body.pointer_mut(&pointer).unwrap() = json!({ MARK: MARK });
        let answer = zoo.police.post_bytes(&zoo.responses(), &key(), body.to_string()).await;
        assert!(!answer.text().contains(MARK), "{pointer}: {}", answer.text());
        let found = answer.problem(422, "schema")["errors"].as_array().unwrap().len();
        assert!(found > 0, "{pointer}");
        zoo.instances.clear();
    }
    let headers: HeaderMap = zoo.police.get(&format!("/v1/{MARK}")).await.headers;
    assert!(!format!("{headers:?}").contains(MARK));
    zoo.responded("[]", 422, "schema", &[("", "type")]).await;
}

fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}
