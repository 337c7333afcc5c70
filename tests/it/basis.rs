//! What depends on who relies on a lawful basis is held to the directory: a public authority has tasks and not
//! interests (R66), and what needs an appropriate policy document needs one on record (R72).

use serde_json::{Value, json};

use crate::support::{Agency, HUB, POLICE, TRUST, TestGateway, case};

async fn answers(hub: &Agency, agency: &Agency, id: &str, basis: &Value) -> (u16, Value) {
    let asked = hub.dispatch(&[id]).await["exchanges"][0].clone();
    let mut response = case::response(asked["message"].as_str().unwrap());
    response["lawfulBasis"] = basis.clone();
    let answer = agency.post(&case::path(&asked, "responses"), &response).await;
    (answer.status, answer.json())
}

fn refusal(answer: &Value) -> (&str, &str) {
    let [error] = answer["errors"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    (error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap())
}

fn basis(article6: &str, article9: &str) -> Value {
    let mut basis = json!({
        "codelist": "uk-2026-09", "article6": article6, "specialCategory": true,
        "article9": article9, "powers": ["children-act-2004-s11"],
    });
    if article9 == "g" {
        basis["dpaSchedule1"] = json!("pt2-para18");
        basis["para18WithoutConsentReason"] = json!("2c-would-prejudice-protection");
        basis["para18"] =
            json!({ "aim": "protect-from-neglect-or-harm", "individual": "under-18" });
        basis["appropriatePolicyDocument"] = json!("APD-1");
    }
    basis
}

#[tokio::test]
async fn legitimate_interests_are_for_those_who_are_no_public_authority() {
    let own = "endpoints = [{ kind = \"mailbox\" }]\npublic_authority = false\n";
    let gateway = TestGateway::start_with(&case::partners(&[(TRUST, own)]));
    let hub = gateway.agency(HUB);
    let (police, charity) = (gateway.agency(POLICE), gateway.agency(TRUST));
    let (status, answer) = answers(&hub, &police, POLICE, &basis("f", "h")).await;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(
        refusal(&answer),
        ("/lawfulBasis/article6", "public-authority-legitimate-interests")
    );
    assert_eq!(answers(&hub, &police, POLICE, &basis("e", "h")).await.0, 202);
    assert_eq!(answers(&hub, &charity, TRUST, &basis("f", "h")).await.0, 202);
    // So it is of what is asked.
    let mut dispatch = case::dispatch(&[POLICE]);
    dispatch["rfi"]["lawfulBasis"]["article6"] = json!("f");
    let problem = hub.post("/v1/rfis", &dispatch).await.problem(422, "schema");
    assert_eq!(
        refusal(&problem),
        ("/rfi/lawfulBasis/article6", "public-authority-legitimate-interests")
    );
}

#[tokio::test]
async fn a_condition_that_needs_a_policy_document_needs_one_on_record() {
    let document = format!(
        "endpoints = [{{ kind = \"mailbox\" }}]\n\
         policy_document = {{ sha256 = \"{}\", review = 2099-01-01 }}\n",
        "7a".repeat(32)
    );
    let gateway = TestGateway::start_with(&case::partners(&[(TRUST, &document)]));
    let hub = gateway.agency(HUB);
    let (police, trust) = (gateway.agency(POLICE), gateway.agency(TRUST));
    let (status, answer) = answers(&hub, &police, POLICE, &basis("e", "g")).await;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(
        refusal(&answer),
        ("/lawfulBasis/appropriatePolicyDocument", "policy-document-not-recorded")
    );
    assert_eq!(answers(&hub, &trust, TRUST, &basis("e", "g")).await.0, 202);
}
