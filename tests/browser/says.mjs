// What is said on pages beside the reply itself. Each journey is given the browser, the gateway, and the two
// ways of judging a page that desk.mjs has.

import fs from "node:fs";
import path from "node:path";
import { HUB, SURGERY, TRUST, visit } from "./ground.mjs";

/** A response as a program sends it, to a request of ground.mjs. */
function response(rfi) {
  return {
    inReplyTo: rfi,
    respondedBy: { name: "Dr Jo Madeup", jobTitle: "General Practitioner" },
    channel: "api",
    result: "nothing-known",
    answers: ["neglect", "last-seen-at-gp", "domestic-abuse"].map((category) => (
      { category, status: "nothing-known" }
    )),
    accuracyChecked: "checked-against-record",
    proportionate: true,
    onwardDisclosure: "not-without-asking-us",
    lawfulBasis: {
      codelist: "uk-2026-09", article6: "e", specialCategory: false, powers: ["children-act-2004-s11"],
    },
  };
}

/** A request that this agency was sent, and has answered with nothing known: its reference and its enquiry. */
function answered(gateway, agency) {
  const [reference] = gateway.dispatch([agency]);
  const exchange = gateway.ask(HUB, `/v1/exchanges/${reference}`);
  const rfi = exchange.rfi;
  gateway.ask(agency, `/v1/messages/${rfi}`);
  gateway.ask(agency, `/v1/exchanges/${reference}/responses`, response(rfi));
  return { reference, rfi, enquiry: exchange.enquiry };
}

/** A surgery learns more after it has answered, and adds it. */
export async function addsLater({ browser, gateway, check, hold }) {
  const { reference } = answered(gateway, SURGERY);
  const page = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  const next = async () => page.getByRole("button", { name: "Save and continue" }).click();
  await page.goto(`${gateway.desk}/requests/${reference}`);
  await page.getByRole("link", { name: "Add to your reply, or put it right" }).click();
  await hold(page, "supplement tasks");
  await page.getByRole("link", { name: /^Neglect/ }).click();
  check("what is not new is left as it was", await page.getByLabel("Nothing new here").isChecked(), page.url());
  await page.getByLabel("We know something").check();
  await next();
  check("what is new has to be said", (await page.title()).startsWith("Error: "), await page.title());
  await hold(page, "supplement category with errors");
  await page.getByLabel("What is known", { exact: true }).fill("Her grandmother brought her, and she was well.");
  await page.getByLabel("Wrenna Thistlebank (child)").check();
  await page.getByLabel("A fact").check();
  await next();
  await page.getByRole("link", { name: "Why you send it now" }).click();
  await hold(page, "supplement why now");
  await page.getByLabel("Why do you send it now?").fill("She was seen yesterday.");
  await next();
  await page.getByRole("link", { name: "On what basis you share it" }).click();
  await next();
  await page.getByRole("link", { name: "What the family may be told" }).click();
  await page.getByLabel("All of it").check();
  await next();
  await page.getByRole("link", { name: "Check and send" }).click();
  check("what is missing is named", (await page.textContent("main")).includes("There is a problem"), page.url());
  await hold(page, "supplement check with errors");
  await page.getByRole("link", { name: "Change Who answers" }).click();
  await page.getByLabel("Your name", { exact: true }).fill("Dr Jo Madeup");
  await page.getByLabel("Your job title", { exact: true }).fill("General Practitioner");
  await page.getByLabel("It was checked against the record").check();
  await page.getByLabel("It is relevant, not excessive, and proportionate").check();
  await next();
  await page.getByRole("link", { name: "Check and send" }).click();
  await page.getByRole("button", { name: "Send addition to the hub" }).click();
  check("it is added", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  await hold(page, "supplement sent");
  const exchange = gateway.ask(HUB, `/v1/exchanges/${reference}`);
  check("and the hub is shown that it came", exchange.needsAttention === true, JSON.stringify(exchange));
  await page.context().close();
}

/** The hub asks a surgery what it meant; it answers with the question before it. */
export async function answersAQuestion({ browser, gateway, check, hold }) {
  const { reference, rfi } = answered(gateway, SURGERY);
  gateway.ask(HUB, `/v1/exchanges/${reference}/clarifications`, {
    inReplyTo: rfi,
    from: { name: "Oswin Quillfeather", jobTitle: "Health Representative" },
    category: "neglect",
    question: "Does this include the health visitor's notes?",
  });
  const page = await visit(browser, gateway, gateway.person(SURGERY, "deputy"));
  await page.goto(`${gateway.desk}/requests/${reference}`);
  await page.getByRole("link", { name: "Question, or the answer to one: sent to you" }).click();
  await hold(page, "question received");
  await page.getByRole("link", { name: "Answer the question" }).click();
  check("the question stands above", (await page.textContent("main")).includes("health visitor's notes"), page.url());
  await hold(page, "answer to a question");
  await page.getByRole("button", { name: "Send the answer" }).click();
  check("nothing is no answer", (await page.title()).startsWith("Error: "), await page.title());
  await hold(page, "answer to a question with errors");
  await page.getByLabel("Your answer").fill("It does: she wrote none.");
  await page.getByLabel("Your name", { exact: true }).fill("Dr Jo Madeup");
  await page.getByLabel("Your job title", { exact: true }).fill("General Practitioner");
  await page.getByRole("button", { name: "Send the answer" }).click();
  check("the answer is sent", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  await page.context().close();
}

/** A trust adds a file to its reply, without a script; a surgery that may send none is told so. */
export async function addsFiles({ browser, gateway, check, hold }) {
  const [first, second] = gateway.dispatch([TRUST, SURGERY]);
  const nurse = gateway.person(TRUST, "contact-officer");
  const page = await visit(browser, gateway, nurse);
  await page.goto(`${gateway.desk}/requests/${first}`);
  await page.getByRole("button", { name: "Open the request" }).click();
  await page.getByRole("link", { name: "Reply", exact: true }).click();
  await page.getByRole("link", { name: "Files that go with it" }).click();
  await hold(page, "files");
  await page.getByRole("button", { name: "Add the file" }).click();
  check("no file is an error", (await page.title()).startsWith("Error: "), await page.title());
  await hold(page, "files with errors");
  await page.context().close();

  const plain = await visit(browser, gateway, nurse, { javaScript: false });
  const file = path.join(gateway.folder, "Wrenna Thistlebank.pdf");
  fs.writeFileSync(file, `%PDF-1.7\n${"A note. ".repeat(4_000)}`);
  await plain.goto(`${gateway.desk}/requests/${first}/reply/files`);
  for (const _ of [1, 2]) {
    await plain.getByLabel("Add a file").setInputFiles(file);
    await plain.getByRole("button", { name: "Add the file" }).click();
  }
  const listed = await plain.textContent("main");
  check("files are listed by what they are", listed.includes("File 2: PDF, 32 KiB"), listed);
  check("and not by their names", !listed.includes("Thistlebank"), listed);
  await plain.getByRole("button", { name: "Take out File 2: PDF, 32 KiB" }).click();
  const left = await plain.textContent("main");
  check("one is taken out again", left.includes("File 1: PDF") && !left.includes("File 2"), left);
  const wrong = path.join(gateway.folder, "program.pdf");
  fs.writeFileSync(wrong, Buffer.from([0x4d, 0x5a, 0x90, 0]));
  await plain.getByLabel("Add a file").setInputFiles(wrong);
  await plain.getByRole("button", { name: "Add the file" }).click();
  check("what is not what its name says is refused",
    (await plain.textContent("main")).includes("Choose a PDF"), await plain.title());
  await plain.getByRole("link", { name: "Go on with the reply" }).click();
  await plain.context().close();
  const wide = await visit(browser, gateway, nurse);
  await wide.goto(`${gateway.desk}/requests/${first}/reply/files`);
  await hold(wide, "files added");
  await wide.context().close();

  const surgery = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  await surgery.goto(`${gateway.desk}/requests/${second}`);
  await surgery.getByRole("button", { name: "Open the request" }).click();
  await surgery.goto(`${gateway.desk}/requests/${second}/reply/files`);
  const told = await surgery.textContent("main");
  check("who may send no files is told how else", told.includes("Ring"), told);
  await hold(surgery, "no files");
  await surgery.context().close();
}

/** A day and a time in London, so many minutes ago, in the fields that a page has for this. */
async function fillInTime(page, name, minutesAgo) {
  const at = new Date(Date.now() - minutesAgo * 60_000);
  const there = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/London", ...options }).format(at);
  const [day, month, year] = there({ day: "2-digit", month: "2-digit", year: "numeric" }).split("/");
  await page.locator(`#${name}-day`).fill(`${year}-${month}-${day}`);
  await page.locator(`#${name}-time`).fill(there({ hour: "2-digit", minute: "2-digit" }));
}

/** What the hub decided, sent to whoever answered. */
function decide(gateway, { reference, rfi }, outcome) {
  const more = outcome === "early-help"
    ? { familyTold: { answer: "yes" }, letterToFamily: { state: "to-follow" }, nextAgency: "Early Help" }
    : {};
  gateway.ask(HUB, `/v1/exchanges/${reference}/outcomes`, {
    inReplyTo: rfi,
    outcome,
    decidedAt: new Date(Date.now() - 1_000).toISOString().slice(0, 19) + "Z",
    decidedBy: { name: "Imogen Fablewright", jobTitle: "Manager" },
    representative: { name: "Oswin Quillfeather", jobTitle: "Health Representative" },
    textForRecord: "The hub has decided.",
    ...more,
  });
}

/** The hub tells what follows: consent withdrawn, an answer passed on, a step-down, the referrer told. */
export async function tellsFurther({ browser, gateway, check, hold }) {
  const assessed = answered(gateway, SURGERY);
  decide(gateway, assessed, "social-care-assessment");
  const helped = answered(gateway, SURGERY);
  decide(gateway, helped, "early-help");
  const page = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  const wrong = async (button, name) => {
    await page.getByRole("button", { name: button }).click();
    check(`${name}: nothing filled in is refused`, (await page.title()).startsWith("Error: "), await page.title());
    await hold(page, `${name} with errors`);
  };
  const sent = async (button, name) => {
    await page.getByRole("button", { name: button }).click();
    check(`${name}: sent`, (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  };
  await page.goto(`${gateway.desk}/enquiries/${assessed.enquiry}`);
  await hold(page, "enquiry decided");
  await page.getByRole("link", { name: "Say that consent was withdrawn" }).click();
  await hold(page, "consent withdrawn");
  await wrong("Tell the agency", "consent withdrawn");
  await page.getByLabel("A parent's or guardian's").check();
  await fillInTime(page, "withdrawn", 5);
  await page.getByLabel("It answers on a basis that is not consent").check();
  await page.getByLabel("Who at the hub was told?").fill("Oswin Quillfeather");
  await page.getByLabel("Their job title").fill("Health Representative");
  await sent("Tell the agency", "consent withdrawn");

  await page.goto(`${gateway.desk}/enquiries/${assessed.enquiry}`);
  await page.getByRole("link", { name: "Pass an answer on to the social work team" }).click();
  await hold(page, "forwarding");
  await wrong("Pass it on", "forwarding");
  await page.getByLabel(/^Reply, /).check();
  await page.getByLabel("Why does whoever assesses the child need it?").fill("They need what the surgery knows.");
  await page.getByLabel("Your name", { exact: true }).fill("Oswin Quillfeather");
  await page.getByLabel("Your job title", { exact: true }).fill("Health Representative");
  await sent("Pass it on", "forwarding");

  await page.goto(`${gateway.desk}/enquiries/${helped.enquiry}`);
  await page.getByRole("link", { name: "Step down to Early Help" }).click();
  await hold(page, "step-down");
  await wrong("Tell Early Help", "step-down");
  await page.getByLabel("The concerns noted in the initial referral").fill("She does not sleep.");
  await page.locator("#persons-1").check();
  await page.locator("#persons-2").check();
  await page.getByLabel("Yes", { exact: true }).check();
  await page.getByLabel("Will follow").check();
  await page.getByLabel("Your name", { exact: true }).fill("Oswin Quillfeather");
  await page.getByLabel("Your job title", { exact: true }).fill("Health Representative");
  await sent("Tell Early Help", "step-down");

  await page.goto(`${gateway.desk}/enquiries/${helped.enquiry}`);
  await page.getByRole("link", { name: "Record that whoever referred the child was told" }).click();
  await hold(page, "referrer told");
  await wrong("Record it", "referrer told");
  await page.context().close();
}

/** A surgery tells the hub that something went wrong with what it had. */
export async function reportsAnIncident({ browser, gateway, check, hold }) {
  const { reference } = answered(gateway, SURGERY);
  const page = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  await page.goto(`${gateway.desk}/requests/${reference}`);
  await page.getByRole("link", { name: "Report an incident or a near miss" }).click();
  await hold(page, "incident");
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("an incident of nothing is refused", (await page.title()).startsWith("Error: "), await page.title());
  await hold(page, "incident with errors");
  await page.getByLabel(/^Request for information, /).check();
  await page.getByLabel("It is looked into").check();
  await page.locator("#near-1").check();
  await page.locator("#serious-2").check();
  await page.getByLabel("Sent to the wrong recipient").check();
  await fillInTime(page, "found", 60);
  await page.getByLabel("What happened, and what is being done?")
    .fill("A print of the request lay in the waiting room; nobody had read it.");
  await page.getByLabel("Whoever is responsible for security or data protection").check();
  await page.getByLabel("Your name", { exact: true }).fill("Dr Jo Madeup");
  await page.getByLabel("Your job title", { exact: true }).fill("General Practitioner");
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("it is told", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  await page.context().close();
}

/** Somebody asks for what is held about them: the hub asks the surgery, which says what may be released. */
export async function asksWhatMayBeReleased({ browser, gateway, check, hold }) {
  const { reference, enquiry } = answered(gateway, SURGERY);
  const hub = await visit(browser, gateway, gateway.person(HUB, "mash-team-manager"));
  await hub.goto(`${gateway.desk}/enquiries/${enquiry}`);
  await hub.getByRole("link", { name: "Ask whether the agency's part may be released" }).click();
  await hold(hub, "subject access");
  await hub.getByRole("button", { name: "Ask the agency" }).click();
  check("when it is needed has to be said", (await hub.title()).startsWith("Error: "), await hub.title());
  await hold(hub, "subject access with errors");
  await fillInTime(hub, "received", 60);
  await fillInTime(hub, "by", -10_000);
  await hub.getByLabel("Your name", { exact: true }).fill("Imogen Fablewright");
  await hub.getByLabel("Your job title", { exact: true }).fill("Manager");
  await hub.getByRole("button", { name: "Ask the agency" }).click();
  check("the agency is asked", (await hub.textContent("h1")) === "It is sent", await hub.textContent("main"));
  await hub.context().close();

  const page = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  await page.goto(`${gateway.desk}/requests/${reference}`);
  await page.getByRole("link", { name: "Say whether your part may be released" }).click();
  await hold(page, "subject access view");
  await page.getByLabel("None of it should be released").check();
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("why not has to be said", (await page.title()).startsWith("Error: "), await page.title());
  await hold(page, "subject access view with errors");
  await page.getByLabel("Protection of the rights of others").check();
  await page.getByLabel("Why?", { exact: true }).fill("Whoever told us would be known by it.");
  await page.getByLabel("Who decided?").fill("Dr Jo Madeup");
  await page.getByLabel("Their job title").fill("General Practitioner");
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("the hub is told", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  await page.context().close();
}

/** The hub rings a trust that is silent, and writes down what it answers. */
export async function writesDownAnAnswer({ browser, gateway, check, hold }) {
  const [reference] = gateway.dispatch([TRUST]);
  const { enquiry } = gateway.ask(HUB, `/v1/exchanges/${reference}`);
  const page = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  const next = async () => page.getByRole("button", { name: "Save and continue" }).click();
  await page.goto(`${gateway.desk}/enquiries/${enquiry}`);
  await page.getByRole("link", { name: "Write down an answer given by telephone" }).click();
  await hold(page, "transcription tasks");
  await page.getByRole("button", { name: "Nothing known for the rest" }).click();
  await page.getByRole("link", { name: "What the family may be told" }).click();
  await page.getByLabel("Nothing, without asking us first").check();
  await next();
  await page.getByRole("link", { name: "On what basis you share it" }).click();
  await next();
  await page.getByRole("link", { name: "Who answers" }).click();
  await page.getByLabel("Your name", { exact: true }).fill("Kit Specimen");
  await page.getByLabel("Your job title", { exact: true }).fill("Named Nurse");
  await page.getByLabel("It was checked against the record").check();
  await page.getByLabel("It is relevant, not excessive, and proportionate").check();
  await next();
  await page.getByRole("link", { name: "Who wrote it down" }).click();
  await hold(page, "transcription taken down");
  await next();
  check("who wrote it down has to be said", (await page.title()).startsWith("Error: "), await page.title());
  await hold(page, "transcription taken down with errors");
  await fillInTime(page, "taken", 5);
  await page.getByLabel("Yes", { exact: true }).check();
  await page.getByLabel("Who at the hub wrote it down?").fill("Oswin Quillfeather");
  await page.getByLabel("Their job title").fill("Health Representative");
  await next();
  await page.getByRole("link", { name: "Check and send" }).click();
  await hold(page, "transcription check");
  await page.getByRole("button", { name: "Send transcription to the agency" }).click();
  check("it is sent to the agency", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  const exchange = gateway.ask(HUB, `/v1/exchanges/${reference}`);
  check("and stands as its answer", exchange.result === "nothing-known", JSON.stringify(exchange));
  await page.context().close();
}
