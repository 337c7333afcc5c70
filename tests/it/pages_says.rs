//! What is said on the desk's pages beside the reply itself: each is held to what the partner API holds it to,
//! and is shown to whoever may say it. Who is let in to which page at all, `pages.rs` says.

use mash_gateway::message::{Kind, Role};

use crate::pages::{location, opened, seat};
use crate::support::{Agency, Answer, HUB, SURGERY, TestGateway, case};

/// The value of a page's hidden field of this name.
pub(crate) fn hidden(page: &Answer, name: &str) -> String {
    let there = format!("name=\"{name}\" value=\"");
    let (_, after) = page.text().split_once(&there).unwrap_or_else(|| panic!("{}", page.text()));
    after.split('"').next().unwrap().to_owned()
}

/// Fills in a task of something that is written over several pages, as the page has it now.
pub(crate) async fn fill_in_task(desk: &Agency, path: &str, fields: &[(&str, &str)]) -> Answer {
    let version = hidden(&desk.page(path).await, "version");
    let fields: Vec<_> = fields.iter().copied().chain([("version", &*version)]).collect();
    desk.fill_in(path, &fields).await
}

pub(crate) const BASIS: [(&str, &str); 3] =
    [("powers", "children-act-2004-s11"), ("article-6", "e"), ("special", "no")];
pub(crate) const WHO: [(&str, &str); 4] = [
    ("name", "Dr Jo Madeup"),
    ("jobTitle", "General Practitioner"),
    ("accuracy", "checked-against-record"),
    ("confirmed", "yes"),
];

#[tokio::test]
async fn more_is_added_to_a_reply_also_when_the_exchange_is_over() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, rfi) = opened(&gateway, &officer, SURGERY).await;
    let request = format!("/requests/{reference}");
    let adding = format!("{request}/supplement");
    // Nothing is added to what was not answered.
    assert!(!officer.page(&request).await.text().contains("/supplement"));
    for path in [adding.clone(), format!("{adding}/check"), format!("{adding}/why-now")] {
        assert_eq!(location(&officer.page(&path).await), request, "{path}");
    }
    assert_eq!(location(&officer.fill_in(&format!("{adding}/check"), &[]).await), request);

    let surgery = gateway.agency(SURGERY);
    let exchange = format!("/v1/exchanges/{reference}");
    surgery.post(&format!("{exchange}/responses"), &case::response(&rfi)).await.ok(202);
    let hub = gateway.agency(HUB);
    hub.post(&format!("{exchange}/outcomes"), &case::outcome()).await.ok(202);
    assert!(officer.page(&request).await.text().contains("Add to your reply, or put it right"));

    // Nothing new under a heading is no mistake, and nothing new at all is.
    let unanswered = fill_in_task(&officer, &format!("{adding}/neglect"), &[]).await;
    assert_eq!(location(&unanswered), adding);
    let why = fill_in_task(&officer, &format!("{adding}/why-now"), &[]).await;
    assert_eq!(why.status, 422);
    assert!(why.text().contains("<title>Error: Why you send it now"), "{}", why.text());
    for (part, fields) in [
        ("why-now", &[("why", "She was seen yesterday.")][..]),
        ("family", &[("family", "family-may-be-told")]),
        ("lawful-basis", &BASIS),
        ("who", &WHO),
    ] {
        let kept = fill_in_task(&officer, &format!("{adding}/{part}"), fields).await;
        assert_eq!(location(&kept), adding, "{part}");
    }
    let check = officer.page(&format!("{adding}/check")).await;
    assert_eq!(check.status, 422);
    assert!(check.text().contains("Give at least one new or corrected answer."));
    let nothing = [("status", "nothing-new")];
    location(&fill_in_task(&officer, &format!("{adding}/neglect"), &nothing).await);
    let half = [("status", "provided")];
    let half = fill_in_task(&officer, &format!("{adding}/neglect"), &half).await;
    assert_eq!(half.status, 422, "what is known has to be said");
    let known = [
        ("status", "provided"),
        ("summary", "She came with her grandmother, and was well."),
        ("about", "p1"),
        ("kind", "fact"),
    ];
    location(&fill_in_task(&officer, &format!("{adding}/neglect"), &known).await);
    assert!(officer.page(&request).await.text().contains("Go on with what you add"));
    // Not what belongs to a reply, and not twice.
    for part in ["rest", "cannot-share", "none"] {
        assert_eq!(officer.page(&format!("{adding}/{part}")).await.status, 404, "{part}");
    }
    let check = format!("{adding}/check");
    let version = hidden(&officer.page(&check).await, "version");
    let sent = location(&officer.fill_in(&check, &[("version", &version)]).await);
    assert!(sent.starts_with(&format!("{request}/sent/")), "{sent}");
    assert!(officer.page(&sent).await.text().contains("Supplement: accepted"));
    assert_eq!(location(&officer.fill_in(&check, &[("version", &version)]).await), request);
    let accepted = gateway.entries().into_iter().filter(|entry| entry["kind"] == "supplement");
    assert_eq!(accepted.filter(|entry| entry["event"] == "accepted").count(), 1);

    // The hub is shown that something came unasked.
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let state = hub.get_json(&exchange).await;
    assert_eq!((&state["state"], &state["needsAttention"]), (&"completed".into(), &true.into()));
    let shown = manager.page(&format!("/enquiries/{}", state["enquiry"].as_str().unwrap())).await;
    assert!(shown.text().contains("Something came unasked"), "{}", shown.text());
    gateway.verify_log();
}

#[tokio::test]
async fn a_question_is_answered_by_either_party_with_the_question_above() {
    let gateway = TestGateway::start();
    let hub = gateway.agency(HUB);
    let officer = seat(&gateway, SURGERY, Role::Deputy);
    let manager = seat(&gateway, HUB, Role::TeamManager);
    let (reference, rfi) = opened(&gateway, &officer, SURGERY).await;
    let clarifications = format!("/v1/exchanges/{reference}/clarifications");
    let question = case::said(Kind::Clarification, &rfi);
    let surgery = gateway.agency(SURGERY);
    for (asks, reads, place) in [(&hub, &officer, "requests"), (&surgery, &manager, "exchanges")] {
        let sent = asks.post(&clarifications, &question).await.ok(202);
        let id = sent["message"].as_str().unwrap();
        let page = reads.page(&format!("/messages/{id}")).await;
        let path = format!("/messages/{id}/answer");
        assert!(page.text().contains(&format!("href=\"{path}\"")), "{}", page.text());
        let form = reads.page(&path).await;
        assert!(form.text().contains("what her brother&#39;s school wrote?"), "{}", form.text());
        let key = hidden(&form, "key");
        let wrong = [("key", &*key), ("name", "Kit Specimen")];
        let wrong = reads.fill_in(&path, &wrong).await;
        assert_eq!(wrong.status, 422);
        let (shown, title) = (wrong.text(), "<title>Error: Answer the question");
        assert!(shown.contains(title) && shown.contains("value=\"Kit Specimen\""), "{shown}");
        assert!(shown.contains("what her brother&#39;s school wrote?"), "{shown}");
        let fields = [
            ("key", &*key),
            ("answer", "It does not: only what we saw ourselves."),
            ("name", "Kit Specimen"),
            ("jobTitle", "Named Nurse"),
        ];
        let answered = location(&reads.fill_in(&path, &fields).await);
        assert!(answered.starts_with(&format!("/{place}/{reference}/sent/")), "{answered}");
        // Pressed twice, it is said once.
        assert_eq!(location(&reads.fill_in(&path, &fields).await), answered);
        let other = [("key", "no key"), ("answer", "No.")];
        assert_eq!(reads.fill_in(&path, &other).await.status, 400);

        // Whoever asked is told to what it is the answer, and about which heading. It is not answered again.
        let (_, id) = answered.rsplit_once('/').unwrap();
        let told = asks.get_json(&format!("/v1/messages/{id}")).await;
        let said = &told["data"];
        assert_eq!(said["inReplyTo"], sent["message"]);
        assert_eq!((&said["category"], &said["question"]), (&question["category"], &().into()));
        assert_eq!(said["answer"], "It does not: only what we saw ourselves.");
        let reader = if place == "requests" { &manager } else { &officer };
        let page = reader.page(&format!("/messages/{id}")).await;
        assert!(page.text().contains("It does not: only") && !page.text().contains("Answer the"));
        assert_eq!(reader.page(&format!("/messages/{id}/answer")).await.status, 404);
        // Nor by whoever asked.
        let own = sent["message"].as_str().unwrap();
        assert_eq!(reader.page(&format!("/messages/{own}/answer")).await.status, 404);
    }
    // The social worker reads what was asked, and does not answer for the hub.
    let worker = seat(&gateway, HUB, Role::SocialWorker);
    let asked = surgery.post(&clarifications, &question).await.ok(202);
    let page = worker.page(&format!("/messages/{}", asked["message"].as_str().unwrap())).await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("Answer the question"), "{}", page.text());
    // What is no question is not answered.
    assert_eq!(officer.page(&format!("/messages/{rfi}/answer")).await.status, 404);
    gateway.verify_log();
}
