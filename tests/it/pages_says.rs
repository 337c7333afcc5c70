//! What is said on the desk's pages beside the reply itself: each is held to what the partner API holds it to,
//! and is shown to whoever may say it. Who is let in to which page at all, `pages.rs` says.

use mash_gateway::message::Role;

use crate::pages::{location, opened, seat};
use crate::support::{Agency, Answer, HUB, SURGERY, TestGateway, case};

/// The value of a page's hidden field of this name.
fn hidden(page: &Answer, name: &str) -> String {
    let there = format!("name=\"{name}\" value=\"");
    let (_, after) = page.text().split_once(&there).unwrap_or_else(|| panic!("{}", page.text()));
    after.split('"').next().unwrap().to_owned()
}

/// Fills in a task of something that is written over several pages, as the page has it now.
async fn fill_in_task(desk: &Agency, path: &str, fields: &[(&str, &str)]) -> Answer {
    let version = hidden(&desk.page(path).await, "version");
    let fields: Vec<_> = fields.iter().copied().chain([("version", &*version)]).collect();
    desk.fill_in(path, &fields).await
}

const BASIS: [(&str, &str); 3] =
    [("powers", "children-act-2004-s11"), ("article-6", "e"), ("special", "no")];
const WHO: [(&str, &str); 4] = [
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
