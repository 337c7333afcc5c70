// The health representative's day at the desk: a request is written in parts, decided on by the Team Manager
// because nobody has consented, and sent to three agencies; one is rung, one is late, each is told the outcome.
// With scripts on and off; what axe says of each page on the way, wide and narrow.
//
//   node hub.mjs PROGRAM                     all of it; ends with "N passed, M failed"
//   node hub.mjs PROGRAM --screenshots DIR   and a picture of each page, in DIR

import { Gateway, HUB, POLICE, SURGERY, TRUST, browsers, visit } from "./ground.mjs";
import { Keyboard } from "./keys.mjs";
import { check, finish, hold, program } from "./look.mjs";

const browser = await browsers();
const gateway = new Gateway(program);
try {
  await gateway.start();
  await asksWithoutConsent({ javaScript: true });
  await asksWithoutConsent({ javaScript: false });
  await byKeyboardAlone();
  await hostile();
  await twoWriteOneRequest();
} finally {
  await browser.close();
  await gateway.stop();
}
finish();

/** A day and a time in London, so many hours from now, as the two fields take them. */
function there(hours) {
  const at = new Date(Date.now() + hours * 3_600_000);
  const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/London", ...options }).format(at);
  const [day, month, year] = part({ day: "2-digit", month: "2-digit", year: "numeric" }).split("/");
  return { day: `${year}-${month}-${day}`, time: part({ hour: "2-digit", minute: "2-digit" }) };
}

async function fillWhen(page, hours) {
  const { day, time } = there(hours);
  await page.getByLabel("Day", { exact: true }).fill(day);
  await page.getByLabel("Time", { exact: true }).fill(time);
}

async function save(page) {
  await page.getByRole("button", { name: "Save and continue" }).click();
}

async function heading(page) {
  return page.textContent("h1");
}

/** From an empty page to three outcomes. */
async function asksWithoutConsent({ javaScript }) {
  const how = javaScript ? "scripts on" : "scripts off";
  const page = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"), { javaScript });
  // axe is a script: it looks on where there are scripts.
  const look = async (name, at = page) => javaScript && hold(at, name);
  const fill = (label, text) => page.getByLabel(label, { exact: true }).fill(text);
  const pick = (label) => page.getByLabel(label, { exact: true }).check();
  const task = (name) => page.getByRole("link", { name, exact: true }).click();

  await page.goto(gateway.desk);
  await task("Write a request");
  await look("write list");
  await page.getByRole("button", { name: "Begin a new request" }).click();
  const path = new URL(page.url()).pathname;
  await look("write tasks");

  await task("Who asks");
  await save(page);
  check(`${how}: an error is said in the title`, (await page.title()).startsWith("Error: "), await page.title());
  await look("write requester with errors");
  await fill("Your name", "Oswin Quillfeather");
  await fill("Your job title", "Health Representative");
  await fill("Your telephone", "01632 960017");
  await save(page);

  await task("Whom it is about");
  await look("write people none");
  await task("Add a person");
  await look("write person");
  await save(page);
  await look("write person with errors");
  await pick("A child");
  await fill("What are they to the child?", "subject child");
  await fill("Given name or names", "Wrenna");
  await fill("Family name", "Thistlebank");
  await fill("Date of birth", "2017-05-09");
  await fill("NHS number", "999 000 0018");
  await pick("Traced and verified");
  await fill("Postcode (optional)", "zz23ab");
  await fill("Address, without the postcode (optional)", "9 Madeup Road\nExampleton");
  await save(page);
  await task("Add a person");
  await pick("A parent or guardian");
  await fill("What are they to the child?", "mother");
  await fill("Given name or names", "Oriel");
  await fill("Family name", "Thistlebank");
  await save(page);
  await look("write people");
  const people = await page.textContent("main");
  check(`${how}: both are listed`, people.includes("Wrenna") && people.includes("Oriel"), people);
  await task("Go on with the request");
  await task("Who must not learn of it");
  await pick("Oriel Thistlebank (mother)");
  await look("write not told");
  await save(page);

  await task("The decision to ask");
  await look("write decision");
  await pick("Safeguarding: a child may be at risk of significant harm");
  await pick("To assess the risk");
  await fill("Which Team Manager decided that it is asked?", "Imogen Fablewright");
  await fill("Their job title", "Manager");
  await fillWhen(page, -2);
  await fill("Why is it appropriate and proportionate to ask?", "The account points to significant harm.");
  await save(page);
  await task("How the referral came");
  await look("write referral");
  await pick("A professional");
  await page.locator("#aware-2").check();
  await save(page);
  await task("What the concerns are");
  await look("write reason");
  await fill("What are the concerns?", "She sleeps in the greenhouse when it is loud at home.");
  await fill("Earlier MASH enquiries (optional)", "2024-06: Neglect.");
  await save(page);
  await task("What is asked");
  await look("write categories");
  await pick("Neglect: missed appointments, poor home conditions");
  await pick("Last seen at the surgery");
  await save(page);
  await task("By when");
  await look("write due");
  await pick("Urgent");
  await fillWhen(page, 5);
  await save(page);

  await task("Consent of the child");
  await look("write consent");
  await page.locator("#answer-2").check();
  await save(page);
  const refused = await page.textContent("main");
  check(`${how}: a no is explained`, refused.includes("Explain individually"), refused);
  await look("write consent with errors");
  await pick("Too young to answer, or not yet born");
  await fill("Why was it not obtained, in full, for this person?", "She is nine, and was not asked at school.");
  await save(page);
  await task("Consent of the parents or guardians");
  await page.locator("#answer-2").check();
  await pick("Asking would increase the risk");
  await fill("Why was it not obtained, in full, for this person?", "Asking at home would tell those who live there.");
  await save(page);

  await task("On what basis you ask");
  await look("write lawful basis");
  await page.locator("#special-1").check();
  await pick("(h) health or social care");
  await save(page);

  await task("Which agencies are asked");
  const add = async (agency, why, category) => {
    await task("Add an agency");
    if (agency) await pick(agency);
    else await fill("Or a surgery, by its ODS code", "z99999");
    await fill("Why is this agency asked?", why);
    if (category) await pick(category);
  };
  await add(`Test ${POLICE}`, "An adult at home may be known.", "Neglect: missed appointments, poor home conditions");
  await look("write agency");
  await save(page);
  await add(null, "She is registered there.");
  await save(page);
  await add(`Test ${TRUST}`, "The nearest emergency department.");
  await save(page);
  await look("write agencies");
  await task("Go on with the request");

  // Nobody agreed: it is the Team Manager's to decide, in a window of their own.
  await look("write tasks without consent");
  await task("The Team Manager's decision to go on without consent");
  const stop = await page.textContent("main");
  check(`${how}: the representative is told whom to ask`, stop.includes("Ask the MASH Team Manager"), stop);
  await look("write decision of another");
  await page.goto(`${gateway.desk}${path}/check`);
  check(`${how}: it is not sent before`,
    (await page.getByRole("button", { name: "Send the request" }).count()) === 0, page.url());
  await look("write check with errors");
  const manager = await visit(browser, gateway, gateway.person(HUB, "mash-team-manager"), { javaScript });
  await manager.goto(gateway.desk);
  await manager.getByRole("link", { name: "Write a request" }).click();
  await manager.locator(`a[href="${path}"]`).click();
  await manager.getByRole("link", { name: "The Team Manager's decision to go on without consent" }).click();
  check(`${how}: the manager is stopped first`, (await heading(manager)).startsWith("Not everybody has agreed"), manager.url());
  await look("override interruption", manager);
  await manager.getByRole("link", { name: "Go on to decide" }).click();
  await look("override", manager);
  await manager.getByRole("button", { name: "Put the decision on record" }).click();
  await look("override with errors", manager);
  await manager.getByLabel("Your name", { exact: true }).fill("Imogen Fablewright");
  await manager.getByLabel("Your job title", { exact: true }).fill("Manager");
  await manager
    .getByLabel("Why is it right to go on without consent?")
    .fill("Waiting would leave the child there another night.");
  await manager.getByLabel("To protect somebody from harm").check();
  await manager.getByRole("button", { name: "Put the decision on record" }).click();
  const decided = await manager.textContent("main");
  check(`${how}: it is on record, with a paragraph for the child's`,
    decided.includes("of the gateway's log") && decided.includes("Waiting would leave"), decided);
  await look("override recorded", manager);
  await manager.context().close();

  await page.goto(`${gateway.desk}${path}`);
  await page.getByRole("link", { name: "Check and send" }).click();
  const all = await page.textContent("main");
  check(`${how}: all of it is shown before it is sent`,
    ["greenhouse", "Oriel", "another night", "The nearest emergency department.", `Test ${SURGERY}`]
      .every((part) => all.includes(part)), all);
  await look("write check");
  await page.getByRole("button", { name: "Send the request" }).click();
  check(`${how}: it is sent`, (await heading(page)) === "The request is sent", page.url());
  await look("request sent");
  const sent = await page.textContent("main");
  const [, ...references] = [...sent.matchAll(/Test test-(?:police|surgery|trust): (RFI-[0-9A-Z-]+)/g)].reduce(
    (found, match) => [...found, match[1]], [null]);
  check(`${how}: to three agencies`, references.length === 3, sent);
  check(`${how}: who are to be rung now`, sent.split("Ring them now").length === 4, sent);

  // One is rung.
  const exchanges = references.map((reference) => gateway.ask(HUB, `/v1/exchanges/${reference}`));
  const of = (agency) => exchanges.find((exchange) => exchange.agency === agency);
  await page.locator("a").filter({ hasText: `Record the telephone call, ${of(TRUST).reference}` }).click();
  await fillWhen(page, -0.02);
  await fill("Whom did you speak to?", "Kit Specimen");
  await fill("Their job title", "Named Nurse");
  await fill("Your name", "Oswin Quillfeather");
  await fill("Your job title", "Health Representative");
  await page.getByRole("button", { name: "Record the call" }).click();
  check(`${how}: the call is recorded`,
    "telephonedAt" in gateway.ask(HUB, `/v1/exchanges/${of(TRUST).reference}`), await page.textContent("main"));

  // One is late: asked for by a moment that then passes.
  const soon = `${new Date(Date.now() + 3_000).toISOString().slice(0, 19)}Z`;
  const [late] = gateway.dispatch([TRUST], { responseRequiredBy: soon });
  const row = page.locator("tr").filter({ hasText: late });
  const reply = async () => {
    await page.goto(`${gateway.desk}/enquiries`);
    return (await row.textContent()).match(/The agency's reply:.*?(Overdue|Due soon|Running)/s)?.[1];
  };
  let grade = await reply();
  for (const until = Date.now() + 30_000; grade !== "Overdue" && Date.now() < until; ) grade = await reply();
  check(`${how}: who is late is seen`, grade === "Overdue", grade);
  const first = await page.locator("tbody tr").first().textContent();
  check(`${how}: and stands among the first`, first.includes("Overdue"), first);
  await look("board with one late");

  // Each answers, and is told the outcome.
  for (const exchange of exchanges) {
    answers(exchange);
    await page.goto(`${gateway.desk}/enquiries/${exchange.enquiry}`);
    await page.locator("a").filter({ hasText: `Tell the outcome, ${exchange.reference}` }).click();
    await pick("Children's social care assesses");
    await fillWhen(page, -0.02);
    await fill("Who decided?", "Imogen Fablewright");
    await fill("Their job title", "Manager");
    await fill("Whose is it to feed it back?", "Oswin Quillfeather");
    await fill("Their job title at the hub", "Health Representative");
    await fill("A paragraph for the agency's own record", "Children's social care assesses.");
    await page.getByRole("button", { name: "Send the outcome" }).click();
    const told = gateway.ask(HUB, `/v1/exchanges/${exchange.reference}`);
    check(`${how}: ${exchange.agency} is told the outcome`, "outcomeAt" in told, await page.textContent("main"));
  }
  await page.goto(`${gateway.desk}/enquiries/${exchanges[0].enquiry}`);
  await look("enquiry with outcomes");
  await page.context().close();
}

/** The agency of this exchange says that nothing is known. */
function answers(exchange) {
  const { messages } = gateway.ask(exchange.agency, "/v1/inbox");
  const asked = messages.find((message) => message.reference === exchange.reference).id;
  gateway.ask(exchange.agency, `/v1/messages/${asked}`);
  gateway.ask(exchange.agency, `/v1/exchanges/${exchange.reference}/responses`, {
    inReplyTo: asked, result: "nothing-known", answers: [], accuracyChecked: "checked-against-record",
    respondedBy: { name: "Dr Jo Madeup", jobTitle: "Named Professional" }, proportionate: true,
    onwardDisclosure: "not-without-asking-us",
    lawfulBasis: {
      codelist: "uk-2026-09", article6: "e", specialCategory: true, article9: "h",
      powers: ["children-act-2004-s11"],
    },
  });
}

/** A request with consent to one agency, from the first page to the last without a mouse. */
async function byKeyboardAlone() {
  const page = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  const keys = new Keyboard(page);
  const when = async (hours) => {
    const { day, time } = there(hours);
    // The fields are the browser's own, and this one's are American: the month first, and twelve hours.
    const [year, month, date] = day.split("-");
    const [hour, minute] = time.split(":");
    await keys.type("Day", `${month}${date}${year}`);
    const twelve = `${(Number(hour) % 12) || 12}`.padStart(2, "0");
    await keys.type("Time", `${twelve}${minute}${Number(hour) < 12 ? "AM" : "PM"}`);
  };
  const kept = () => keys.follow("Save and continue");
  await page.goto(gateway.desk);
  await keys.follow("Write a request");
  await keys.follow("Begin a new request");
  await keys.follow("Who asks");
  await keys.type("Your name", "Oswin Quillfeather");
  await keys.type("Your job title", "Health Representative");
  await keys.type("Your telephone", "01632 960017");
  await kept();
  await keys.follow("Whom it is about");
  await keys.follow("Add a person");
  await keys.pick("A child");
  await keys.type("What are they to the child?", "subject child");
  await keys.type("Given name or names", "Wrenna");
  await keys.type("Family name", "Thistlebank");
  await kept();
  await keys.follow("Go on with the request");
  await keys.follow("The decision to ask");
  await keys.pick("Safeguarding: a child may be at risk of significant harm");
  await keys.pick("To keep victims safe");
  await keys.type("Which Team Manager decided that it is asked?", "Imogen Fablewright");
  await keys.type("Their job title", "Manager");
  await when(-2);
  await keys.type("Why is it appropriate and proportionate to ask?", "The account points to significant harm.");
  await kept();
  await keys.follow("How the referral came");
  await keys.pick("The family");
  await keys.pick("Yes");
  await kept();
  await keys.follow("What the concerns are");
  await keys.type("What are the concerns?", "She sleeps in the greenhouse.");
  await kept();
  await keys.follow("What is asked");
  await keys.pick("Criminal activity");
  await kept();
  await keys.follow("By when");
  await keys.pick("Routine");
  await when(200);
  await kept();
  for (const whose of ["Consent of the child", "Consent of the parents or guardians"]) {
    await keys.follow(whose);
    await keys.pick("Yes");
    await keys.pick("Verbally");
    await kept();
  }
  await keys.follow("On what basis you ask");
  await keys.pick("No");
  await kept();
  await keys.follow("Which agencies are asked");
  await keys.follow("Add an agency");
  await keys.pick(`Test ${POLICE}`);
  await keys.type("Why is this agency asked?", "An adult at home may be known.");
  await kept();
  await keys.follow("Go on with the request");
  await keys.follow("Check and send");
  await keys.follow("Send the request");
  check("by keyboard alone: it is sent", (await heading(page)) === "The request is sent", await page.textContent("main"));
  console.log(`     ${keys.letters} letters, ${keys.others} other keys`);
  await page.context().close();
}

/** Whatever somebody at the hub writes shows as text to the others there, and breaks no page. */
async function hostile() {
  const evil = '<script>document.title="taken"</script><img src=x onerror="document.title=1">"\'><b>bold</b>';
  const concerns = `${evil}\u202Edrow\u202C 👩‍👩‍👧‍👦 ${"W".repeat(7000)} ${"a b ".repeat(200)}`;
  const page = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  await page.goto(`${gateway.desk}/rfis`);
  await page.getByRole("button", { name: "Begin a new request" }).click();
  const path = new URL(page.url()).pathname;
  const write = async (part, fields) => {
    await page.goto(`${gateway.desk}${path}/${part}`);
    for (const [label, text] of fields) await page.getByLabel(label, { exact: true }).fill(text);
  };
  await write("people/new", [
    ["What are they to the child?", "W".repeat(200)],
    ["Given name or names", "\u202Eסבתא 👵".padEnd(150, "x")],
    ["Family name", evil.slice(0, 60)],
  ]);
  await page.getByLabel("Another family contact", { exact: true }).check();
  await save(page);
  await write("reason", [["What are the concerns?", concerns]]);
  await save(page);
  for (const [part, name] of [["people", "hostile people"], ["reason", "hostile concerns"], ["check", "hostile request to check"]]) {
    await page.goto(`${gateway.desk}${path}/${part}`);
    check(`${name}: nothing of it runs`, !["taken", "1"].includes(await page.title()), await page.title());
    check(`${name}: no element of it is made`, (await page.locator("main img, main script, main b").count()) === 0, part);
    await hold(page, name);
  }
  const shown = await page.textContent("main");
  check("it is shown as it was written", shown.includes(evil) && shown.includes("👩‍👩‍👧‍👦"), shown.slice(0, 400));
  await page.context().close();
}

/** Two at the hub write one request: neither loses anything; and what is not wanted is let go. */
async function twoWriteOneRequest() {
  const first = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  const second = await visit(browser, gateway, gateway.person(HUB, "mash-team-manager"));
  await first.goto(`${gateway.desk}/rfis`);
  await first.getByRole("button", { name: "Begin a new request" }).click();
  const path = new URL(first.url()).pathname;
  for (const page of [first, second]) await page.goto(`${gateway.desk}${path}/reason`);
  await first.getByLabel("What are the concerns?").fill("A neighbour rang twice.");
  await save(first);
  await second.getByLabel("What are the concerns?").fill("The school rang once.");
  await save(second);
  const shown = await second.textContent("main");
  check("whoever saves second is told", shown.includes("Somebody else"), shown);
  check("and keeps what they had", shown.includes("The school rang once."), shown);
  await hold(second, "write overtaken");
  await second.goto(`${gateway.desk}${path}`);
  await second.getByText("It is not to be sent at all").click();
  await hold(second, "write let go");
  await second.getByRole("button", { name: "Destroy what is written" }).click();
  check("let go, it is not in the list", (await second.locator(`a[href="${path}"]`).count()) === 0, path);
  await first.goto(`${gateway.desk}${path}/reason`);
  check("nor anywhere else", (await heading(first)).includes("no"), await first.textContent("main"));
  await first.context().close();
  await second.context().close();
}
