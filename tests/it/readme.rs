//! README's "Do it by hand", done: its commands as they stand there, by bash, curl and openssl, on
//! ports that are free.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::text;

/// What stands in for "leave it running": starts it on free ports, and waits until it says so.
const SERVE: &str = r#"
sed -i -e 's/^# partner_api = .*/partner_api = "127.0.0.1:0"/' \
       -e 's/^# desk = .*/desk = "127.0.0.1:0"/' \
       -e 's/^# enrolment = .*/enrolment = "127.0.0.1:0"/' \
       -e 's/^# local = .*/local = "127.0.0.1:0"/' H/gateway.toml
# What an earlier one said is not what this one says.
rm -f listening
mash-gateway serve --home H > listening 2> serve.log &
until grep -qs Listening listening; do kill -0 $! || { cat serve.log; exit 1; }; sleep 0.05; done
PORT=$(sed 's/.*https:[^ ]*:\([0-9]*\) .*/\1/' listening)
sed -i "s|^local = .*|local = \"$(sed 's/.*http:..\([^ ]*\) .*/\1/' listening)\"|" H/gateway.toml
"#;

/// The commands of one section, block after block.
fn commands(heading: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn what_the_readme_says_to_do_by_hand_works() {
    let folder = TempDir::new().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_mash-gateway"));
    let by_hand = commands("## Do it by hand") + &commands("## Onboard an agency") + "kill %1\n";
    let script: String = by_hand
        .lines()
        .map(|line| match line {
            line if line.starts_with("export ") => String::new(),
            line if line.starts_with("mash-gateway serve") => SERVE.to_owned(),
            line if line.starts_with("mash-gateway receipt verify my.receipt") => {
                format!("kill %1; wait %1\n{line}\n")
            }
            line => format!("{}\n", line.replace("localhost:8443", "localhost:$PORT")),
        })
        .collect();
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let ran = Command::new("bash")
        .args(["-uc", &script])
        .env("PATH", path)
        .env("CLONE", env!("CARGO_MANIFEST_DIR"))
        .env_remove("MASH_GATEWAY_HOME")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (said, complained) = (text(&ran.stdout), text(&ran.stderr));
    let mut rest = said.as_str();
    for expected in [
        "17 agencies, no mistakes",
        "\"agency\": \"sefton-mash\"",
        "\"mediaType\": \"text/plain\"",
        "\"reference\": \"RFI-",
        "the copy is the hub's",
        "\"savedAt\"",
        "urn:mash:problem:schema",
        "\"pointer\": \"/proportionate\"",
        "verified\n",
        "from demo-surgery to sefton-mash",
        "exit 3",
        "every payload's digest",
        "mash-seal/v1 ",
        "\"result\": \"nothing-known\"",
        "Added demo-practice (pending). 3 of 7",
        "Issued to demo-practice",
        "6 of 7",
        "demo-practice is active",
        "Issued to demo-practice's contact officer",
    ] {
        let Some((_, after)) = rest.split_once(expected) else {
            panic!("no {expected} in its place: {said}\n{complained}")
        };
        rest = after;
    }
    assert!(complained.contains("no identity matched"), "{complained}");
    // Nothing went wrong that the README does not mean to go wrong.
    assert_eq!(complained.matches("error:").count(), 2, "{complained}");
}
