//! Files that somebody adds to what they write at the desk: taken in as files from programs are, named by
//! nobody's computer, and gone with what they were not sent with.

use std::io::Write as _;
use std::process::Command;

use hyper::Method;
use mash_gateway::message::Role;

use crate::attachments::{CANARY, MAY_ATTACH, new_key, pdf};
use crate::attachments_at_rest::memory_kib;
use crate::pages::{location, opened, seat};
use crate::pages_says::{BASIS, WHO, fill_in_task, hidden};
use crate::support::{Agency, Answer, HUB, POLICE, SURGERY, TestGateway, case, eventually, text};

const BOUNDARY: &str = "----of-a-browser";
const NAME: &str = "Thistlebank-Wrenna-2017.pdf";

fn gateway(settings: &[(&str, &str)]) -> TestGateway {
    let mut gateway = TestGateway::made(&case::partners(&[(SURGERY, MAY_ATTACH)]));
    for (default, changed) in settings {
        gateway.configure(default, changed);
    }
    gateway.serve();
    gateway
}

/// One field of a form, as a browser sends it.
fn part(name: &str, more: &str, value: &[u8]) -> Vec<u8> {
    let head =
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

fn file(media_type: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    part("file", &format!("; filename=\"{name}\"\r\nContent-Type: {media_type}"), bytes)
}

fn whole(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

async fn send(desk: &Agency, path: &str, body: Vec<u8>) -> Answer {
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let headers = [("content-type", &*media_type), ("sec-fetch-site", "same-origin")];
    desk.ask(Method::POST, path, &headers, body).await.unwrap()
}

/// Adds a file on its page, as the page has the form now.
async fn add(desk: &Agency, path: &str, media_type: &str, bytes: &[u8]) -> Answer {
    let key = hidden(&desk.page(path).await, "key");
    let form = [part("key", "", key.as_bytes()), file(media_type, NAME, bytes)];
    send(desk, path, whole(&form)).await
}

fn uploaded(gateway: &TestGateway) -> Vec<serde_json::Value> {
    let entries = gateway.entries().into_iter();
    entries.filter(|entry| entry["event"] == "attachment-uploaded").collect()
}

#[tokio::test]
async fn files_go_with_a_reply_and_no_name_of_theirs_is_kept() {
    let mut gateway = gateway(&[]);
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, _) = opened(&gateway, &officer, SURGERY).await;
    let reply = format!("/requests/{reference}/reply");
    let files = format!("{reply}/files");
    assert!(officer.page(&reply).await.text().contains("Files that go with it</a>"));
    let first = pdf(70_000);
    assert_eq!(location(&add(&officer, &files, "application/pdf", &first).await), files);
    let text_file = b"Seen on 20 November.\n";
    assert_eq!(location(&add(&officer, &files, "text/plain", text_file).await), files);
    let page = officer.page(&files).await;
    assert!(page.text().contains("File 1: PDF, 69 KiB"), "{}", page.text());
    assert!(page.text().contains("File 2: plain text, 1 KiB"), "{}", page.text());
    assert!(!page.text().contains("Thistlebank"));
    // In whose role it was brought is in the log.
    let entries = uploaded(&gateway);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert!(entries.iter().all(|entry| entry["desk"] == "contact-officer"), "{entries:?}");

    // Asked for again because the answer was lost, it is one file.
    let key = hidden(&page, "key");
    let form = [part("key", "", key.as_bytes()), file("text/plain", NAME, b"Once.")];
    for _ in 0..2 {
        assert_eq!(location(&send(&officer, &files, whole(&form)).await), files);
    }
    let page = officer.page(&files).await;
    assert_eq!(page.text().matches("plain text, 1 KiB</span>").count(), 2, "{}", page.text());
    let (_, after) = page.text().rsplit_once("name=\"file\" value=\"").unwrap();
    let third = after.split('"').next().unwrap();
    let out = format!("{files}/remove");
    for unwanted in [third, third, "01890a5d-ac96-774b-bcce-b302099a8057", ""] {
        assert_eq!(location(&officer.fill_in(&out, &[("file", unwanted)]).await), files);
    }
    let page = officer.page(&files).await;
    assert!(page.text().contains("File 2") && !page.text().contains("File 3"));

    // They are looked at with the rest, and sent with it.
    let nothing = [("version", &*hidden(&officer.page(&format!("{reply}/who")).await, "version"))];
    location(&officer.fill_in(&format!("{reply}/nothing-known"), &nothing).await);
    for (part, fields) in [
        ("family", &[("family", "family-may-be-told")][..]),
        ("lawful-basis", &BASIS),
        ("who", &WHO),
    ] {
        location(&fill_in_task(&officer, &format!("{reply}/{part}"), fields).await);
    }
    let check = format!("{reply}/check");
    let page = officer.page(&check).await;
    assert!(page.text().contains("File 1: PDF, 69 KiB\nFile 2: plain text"), "{}", page.text());
    let version = hidden(&page, "version");
    // What is sent is what was looked at.
    location(&add(&officer, &files, "text/plain", b"One more.").await);
    assert_eq!(officer.fill_in(&check, &[("version", &version)]).await.status, 409);
    let version = hidden(&officer.page(&check).await, "version");
    let sent = location(&officer.fill_in(&check, &[("version", &version)]).await);
    let (_, message) = sent.rsplit_once('/').unwrap();

    let hub = gateway.agency(HUB);
    let told = hub.get_json(&format!("/v1/messages/{message}")).await;
    let named = told["data"]["attachments"].as_array().unwrap();
    assert_eq!(named.len(), 3);
    let fetched = hub.get(&format!("/v1/attachments/{}", named[0]["id"].as_str().unwrap())).await;
    assert_eq!((fetched.status, &fetched.body), (200, &first));
    assert!(!text(&serde_json::to_vec(&told).unwrap()).contains("Thistlebank"));
    gateway.verify_log();
    gateway.stop();
    gateway.holds_nowhere(&[CANARY, "Thistlebank-Wrenna"]);
}

#[tokio::test]
async fn what_is_no_file_that_is_taken_is_refused_on_the_page() {
    let gateway =
        gateway(&[("# attachment_bytes_max = 26214400", "attachment_bytes_max = 1048576")]);
    let officer = seat(&gateway, SURGERY, Role::Deputy);
    let (reference, _) = opened(&gateway, &officer, SURGERY).await;
    let files = format!("/requests/{reference}/reply/files");
    let page = officer.page(&files).await;
    assert!(page.text().contains("1 MiB at most"), "{}", page.text());
    let key = hidden(&page, "key");
    let key = || part("key", "", key.as_bytes());
    let large = pdf((1 << 20) + 1);
    let larger = pdf(3 << 20);
    for (what, media_type, bytes, said) in [
        ("a program", "application/x-msdownload", &b"MZ\x90\0"[..], "Choose a PDF"),
        ("a program that says it is a PDF", "application/pdf", b"MZ\x90\0", "Choose a PDF"),
        ("a PDF that says it is text", "text/plain", b"%PDF-1.7\n", "Choose a PDF"),
        ("a picture of another kind", "image/png", b"\xff\xd8\xff\xe0", "Choose a PDF"),
        ("text that is none", "text/plain", b"\xff\xfe\0", "Choose a PDF"),
        ("nothing", "text/plain", b"", "Choose a PDF"),
        ("a page", "text/html", b"<b>x</b>", "Choose a PDF"),
        ("a byte too much", "application/pdf", &large, "Choose a smaller file: 1 MiB at most"),
        ("far too much", "application/pdf", &larger, "Choose a smaller file: 1 MiB at most"),
    ] {
        let refused =
            send(&officer, &files, whole(&[key(), file(media_type, "a.pdf", bytes)])).await;
        let shown = refused.text();
        assert_eq!(refused.status, 422, "{what}: {shown}");
        assert!(shown.contains("<title>Error: Files"), "{what}: {shown}");
        assert!(shown.contains(&format!("<a href=\"#file\">{said}")), "{what}: {shown}");
    }
    // Nobody chose one: browsers send it like this.
    let none = file("application/octet-stream", "", b"");
    let none = send(&officer, &files, whole(&[key(), none])).await;
    assert!(none.text().contains("<a href=\"#file\">Choose a file.</a>"), "{}", none.text());
    // What no form of ours sends.
    let good = || file("text/plain", "a.txt", b"Seen.");
    let before = vec![b'x'; 600 << 10];
    for (what, body) in [
        ("no key", whole(&[good()])),
        ("the key behind the file", whole(&[good(), key()])),
        ("a key that is none", whole(&[part("key", "", b"no key"), good()])),
        ("a long key", whole(&[part("key", "", &before), good()])),
        ("much before it", whole(&[before.clone(), key(), good()])),
        ("another field", whole(&[key(), part("other", "", b"x"), good()])),
        ("broken off in the file", [key(), file("text/plain", "a.txt", b"Se")].concat()),
        ("broken off before", key()),
        ("nothing", Vec::new()),
    ] {
        let refused = send(&officer, &files, body).await;
        assert_eq!(refused.status, 400, "{what}: {}", refused.text());
    }
    for media_type in [
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/mixed; boundary=----of-a-browser",
        &format!("multipart/form-data; boundary={}", "b".repeat(71)),
    ] {
        let headers = [("content-type", media_type), ("sec-fetch-site", "same-origin")];
        let body = whole(&[key(), good()]);
        let refused = officer.ask(Method::POST, &files, &headers, body).await.unwrap();
        assert_eq!(refused.status, 415, "{media_type}: {}", refused.text());
    }
    let shown = officer.page(&files).await;
    assert!(shown.text().contains("None yet."), "{}", shown.text());
    assert!(uploaded(&gateway).is_empty(), "nothing of it is here");

    // Ten go with a message, and the eleventh is not taken in.
    for _ in 0..10 {
        assert_eq!(location(&add(&officer, &files, "text/plain", b"Seen.").await), files);
    }
    let shown = officer.page(&files).await;
    assert!(shown.text().contains("No more files fit") && !shown.text().contains("type=\"file\""));
    let eleventh = whole(&[key(), file("application/pdf", "a.pdf", &larger)]);
    let refused = send(&officer, &files, eleventh).await;
    assert!(refused.text().contains("There are 10 files already"), "{}", refused.text());
    assert_eq!(uploaded(&gateway).len(), 10);
}

#[tokio::test]
async fn an_agency_that_may_send_no_files_is_told_how_else() {
    let gateway = TestGateway::start();
    let officer = seat(&gateway, POLICE, Role::ContactOfficer);
    let (reference, _) = opened(&gateway, &officer, POLICE).await;
    let files = format!("/requests/{reference}/reply/files");
    let page = officer.page(&files).await;
    assert_eq!(page.status, 200);
    let shown = page.text();
    assert!(shown.contains("does not send files through this gateway yet"), "{shown}");
    assert!(!shown.contains("type=\"file\""), "{shown}");
    let form = [part("key", "", new_key().as_bytes()), file("text/plain", "a.txt", b"Seen.")];
    let refused = send(&officer, &files, whole(&form)).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    // As every refusal, it is in the log.
    eventually("the refusal is in the log", async || {
        let refusals = gateway.entries().into_iter().filter(|entry| entry["event"] == "refused");
        let mut codes = refusals.filter_map(|entry| entry["problem"].as_str().map(str::to_owned));
        codes.any(|code| code == "attachments-not-allowed")
    })
    .await;
}

#[tokio::test]
async fn a_large_file_from_a_browser_takes_no_more_memory_than_a_small_one() {
    let mib = 96;
    let gateway = gateway(&[
        ("# attachment_bytes_max = 26214400", "attachment_bytes_max = 2147483648"),
        ("# attachments_unsent_bytes_max = 104857600", "attachments_unsent_bytes_max = 9000000000"),
    ]);
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, _) = opened(&gateway, &officer, SURGERY).await;
    let files = format!("/requests/{reference}/reply/files");
    location(&add(&officer, &files, "application/pdf", &pdf(2 << 20)).await);
    let path = gateway.folder().join("large.pdf");
    let mut large = std::fs::File::create(&path).unwrap();
    large.write_all(&pdf(1 << 20)).unwrap();
    large.set_len(mib << 20).unwrap();
    drop(large);
    let (before, _) = memory_kib(&gateway);
    let material =
        |folder: &std::path::Path, name: &str| folder.join(name).to_str().unwrap().to_owned();
    let name = format!("{SURGERY}.contact-officer");
    for protocol in ["--http1.1", "--http2"] {
        let sent = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "300",
                "--write-out",
                "\n%{http_code}",
            ])
            .args(["--cacert", &material(&gateway.agencies(), "ca.pem"), protocol])
            .args(["--cert", &material(gateway.folder(), &format!("{name}.pem"))])
            .args(["--key", &material(gateway.folder(), &format!("{name}.key"))])
            .args(["--form", &format!("key={}", new_key())])
            .args(["--form", &format!("file=@{};type=application/pdf", path.to_str().unwrap())])
            .arg(format!("{}{files}", gateway.desk))
            .output();
        let sent = tokio::task::spawn_blocking(move || sent.unwrap()).await.unwrap();
        let said = text(&sent.stdout);
        assert!(said.ends_with("\n303"), "{said} {}", text(&sent.stderr));
    }
    let (_, most) = memory_kib(&gateway);
    let grown = most.saturating_sub(before) / 1024;
    println!("{mib} MiB in: {grown} MiB of memory above {} MiB", before / 1024);
    assert!(grown < 32, "{grown} MiB");
    assert!(officer.page(&files).await.text().contains("File 3: PDF, 98304 KiB"));
}

#[tokio::test]
async fn who_has_uploaded_as_much_as_may_wait_is_told_to_send_it_first() {
    let gateway = gateway(&[
        ("# attachment_bytes_max = 26214400", "attachment_bytes_max = 1048576"),
        ("# attachments_unsent_bytes_max = 104857600", "attachments_unsent_bytes_max = 2097152"),
    ]);
    let officer = seat(&gateway, SURGERY, Role::ContactOfficer);
    let (reference, _) = opened(&gateway, &officer, SURGERY).await;
    let files = format!("/requests/{reference}/reply/files");
    let large = pdf(1_000_000);
    for _ in 0..2 {
        assert_eq!(location(&add(&officer, &files, "application/pdf", &large).await), files);
    }
    let refused = add(&officer, &files, "application/pdf", &large).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("Send first what your agency has uploaded"));
    assert!(refused.text().contains("File 2: PDF"), "what is there stays: {}", refused.text());
}
