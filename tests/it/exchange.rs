//! The main job: an RFI goes out, the answers come back, and only its parties see it.

use serde_json::json;

use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case};

#[tokio::test]
async fn an_rfi_is_asked_answered_and_closed() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let whoami = hub.get_json("/v1/whoami").await;
    assert_eq!((&whoami["agency"], &whoami["role"]), (&json!(HUB), &json!("hub")));

    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    assert_eq!(asked["agency"], POLICE);
    let view = hub.get_json(&format!("/v1/exchanges/{}", text(asked, "exchange"))).await;
    assert_eq!((&view["state"], &view["silence"]), (&json!("requested"), &json!("not-collected")));

    let inbox = police.get_json("/v1/inbox").await;
    assert_eq!(inbox["messages"][0]["id"], asked["message"]);
    let document = police.collect_first().await;
    assert_eq!(document["id"], asked["message"]);
    assert_eq!(document["data"]["whyAsked"], "They may know the family.");
    let view = hub.get_json(&format!("/v1/exchanges/{}", text(asked, "reference"))).await;
    assert_eq!(view["silence"], "collected-no-reply");
    assert_eq!(view["rfi"], asked["message"]);

    let rfi = text(asked, "message");
    police.post(&case::path(asked, "acknowledgements"), &case::acknowledgement(rfi)).await.ok(202);
    police.post(&case::path(asked, "responses"), &case::partial(rfi)).await.ok(202);
    let path = format!("/v1/exchanges/{}/responses", text(asked, "reference"));
    police.post(&path, &case::response(rfi)).await.ok(202);
    police.post(&case::path(asked, "supplements"), &case::supplement(rfi)).await.ok(202);
    let again = police.post(&path, &case::response(rfi)).await;
    again.problem(409, "already-answered");

    let kinds: Vec<_> = hub.get_json("/v1/inbox").await["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["kind"].clone())
        .collect();
    assert_eq!(kinds, ["acknowledgement", "response", "response", "supplement"]);
    hub.post(&case::path(asked, "outcomes"), &case::outcome()).await.ok(202);
    let again = hub.post(&case::path(asked, "outcomes"), &case::outcome()).await;
    again.problem(409, "outcome-already-sent");

    let view = hub.get_json(&format!("/v1/exchanges/{}", text(asked, "exchange"))).await;
    assert_eq!((&view["state"], &view["result"]), (&json!("completed"), &json!("complete")));
    let events: Vec<_> = view["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (text(entry, "event"), entry["kind"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(
        events,
        [
            ("accepted", "rfi"),
            ("collected", "rfi"),
            ("accepted", "acknowledgement"),
            ("accepted", "response"),
            ("accepted", "response"),
            ("accepted", "supplement"),
            ("accepted", "outcome"),
        ]
    );
}

#[tokio::test]
async fn each_agency_is_asked_its_own_and_sees_nothing_of_the_others() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let mut dispatch = case::dispatch(&[POLICE, TRUST]);
    dispatch["recipients"][0]["categories"] = json!(["criminal-activity"]);
    dispatch["recipients"][1] = json!({ "odsCode": "Z99999", "why": "Registered there." });
    let dispatched = hub.post("/v1/rfis", &dispatch).await.ok(202);
    let [police, surgery] = [0, 1].map(|i| &dispatched["exchanges"][i]);
    assert_eq!(surgery["agency"], SURGERY);

    let collected = gateway.agency(POLICE).collect_first().await;
    assert_eq!(
        collected["data"]["informationRequired"]["categories"],
        json!(["criminal-activity"])
    );
    let collected = gateway.agency(SURGERY).collect_first().await;
    assert_eq!(collected["data"]["informationRequired"]["categories"].as_array().unwrap().len(), 2);
    assert!(!collected.to_string().contains(POLICE), "the others asked are nobody's business");

    // Somebody else's exchange is exactly like one that does not exist.
    let trust = gateway.agency(TRUST);
    let nothing = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (theirs, none) in [
        (format!("/v1/exchanges/{}", text(police, "exchange")), format!("/v1/exchanges/{nothing}")),
        (
            format!("/v1/exchanges/{}", text(police, "reference")),
            "/v1/exchanges/RFI-2026-000999-X".to_owned(),
        ),
        (format!("/v1/messages/{}", text(police, "message")), format!("/v1/messages/{nothing}")),
        (
            format!("/v1/messages/{}/receipt", text(police, "message")),
            format!("/v1/messages/{nothing}/receipt"),
        ),
        (
            format!("/v1/enquiries/{}", text(&dispatched, "enquiry")),
            format!("/v1/enquiries/{nothing}"),
        ),
    ] {
        let mut answers = Vec::new();
        for path in [&theirs, &none] {
            let mut problem = trust.get(path).await.problem(404, "not-found");
            problem["instance"].take();
            answers.push(problem);
        }
        assert_eq!(answers[0], answers[1], "{theirs}");
    }
    let answered = trust
        .post(&case::path(police, "responses"), &case::response(text(police, "message")))
        .await;
    answered.problem(404, "not-found");
    let mine = trust.get_json("/v1/exchanges").await;
    assert_eq!(mine["exchanges"], json!([]));
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_byte_for_byte() {
    let mut gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let dispatch = case::dispatch(&[POLICE]).to_string();
    let key = "01890a5d-ac96-774b-bcce-b302099a8057";
    let first = hub.post_bytes("/v1/rfis", key, dispatch.clone()).await;
    assert_eq!(first.status, 202);
    let again = hub.post_bytes("/v1/rfis", key, dispatch.clone()).await;
    assert_eq!(first.body, again.body);
    hub.post_bytes("/v1/rfis", key, format!("{dispatch} "))
        .await
        .problem(409, "idempotency-key-reused");
    for outcome in ["accepted", "refused", "replayed"] {
        let line = format!("mash_gateway_submissions_total{{kind=\"rfi\",outcome=\"{outcome}\"}}");
        assert_eq!(gateway.metric(&line), 1, "{outcome}");
    }

    gateway.kill();
    gateway.serve();
    let hub = gateway.agency(HUB);
    let after_power_cut = hub.post_bytes("/v1/rfis", key, dispatch.clone()).await;
    assert_eq!(first.body, after_power_cut.body);

    let other = case::dispatch(&[TRUST]).to_string();
    hub.post_bytes("/v1/rfis", key, other).await.problem(409, "idempotency-key-reused");
    // The same key from somebody else is another key.
    let police = gateway.agency(POLICE);
    police.post_bytes("/v1/rfis", key, dispatch).await.problem(403, "wrong-party");
    assert_eq!(hub.get_json("/v1/exchanges").await["exchanges"].as_array().unwrap().len(), 1);
    assert_eq!(police.get_json("/v1/inbox").await["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_waits_until_it_is_said_to_be_saved() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let dispatched = hub.dispatch(&[POLICE]).await;
    let message = text(&dispatched["exchanges"][0], "message").to_owned();
    let saved = format!("/v1/messages/{message}/saved");
    let early = police.post(&saved, &json!({})).await;
    early.problem(409, "not-collected");
    assert_eq!(police.get_json("/v1/whoami").await["waiting"], 1);
    police.collect_first().await;
    assert_eq!(police.collect_first().await["id"], json!(message), "it can be fetched again");
    let first = police.post(&saved, &json!({})).await.ok(200);
    assert_eq!(police.get_json("/v1/inbox").await["messages"], json!([]));
    assert_eq!(police.post(&saved, &json!({})).await.ok(200), first, "said once");
    // A program in a loop does not fill the log: what it does again within a minute is there once.
    for _ in 0..5 {
        police.get(&format!("/v1/messages/{message}")).await.ok(200);
    }
    let path = format!("/v1/exchanges/{}", text(&dispatched["exchanges"][0], "exchange"));
    let events: Vec<_> = hub.get_json(&path).await["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| text(entry, "event").to_owned())
        .collect();
    assert!(events.iter().filter(|event| *event == "collected").count() <= 3, "{events:?}");
    assert_eq!(events.iter().filter(|event| *event == "saved").count(), 1);
    // Only its recipient may say so.
    hub.post(&saved, &json!({})).await.problem(404, "not-found");
}

#[tokio::test]
async fn pages_hold_together() {
    let gateway = TestGateway::start();
    gateway.configure("# inbox_page_max = 100", "inbox_page_max = 2");
    let mut gateway = gateway;
    gateway.restart();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    for _ in 0..5 {
        hub.dispatch(&[POLICE]).await;
    }
    for (agency, first, list) in [
        (&police, "/v1/inbox", "messages"),
        (&hub, "/v1/exchanges", "exchanges"),
        (&hub, "/v1/enquiries", "enquiries"),
    ] {
        let (mut path, mut seen) = (first.to_owned(), Vec::new());
        loop {
            let page = agency.get(&path).await;
            let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
            for item in page.ok(200)[list].as_array().unwrap() {
                seen.push(item["id"].clone());
            }
            match link {
                Some(link) => path = link[1..link.find('>').unwrap()].to_owned(),
                None => break,
            }
        }
        assert_eq!(seen.len(), 5, "{first}");
        seen.sort_by_key(ToString::to_string);
        seen.dedup();
        assert_eq!(seen.len(), 5, "{first}: each once");
    }
}

fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}
