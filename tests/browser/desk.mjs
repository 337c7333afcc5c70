// Journeys through the desk, as people make them: with a certificate in a real browser, with scripts on and
// off, by mouse and by keyboard alone; and what axe says of each page on the way, wide and narrow.
//
//   node desk.mjs PROGRAM                     all of it; ends with "N passed, M failed"
//   node desk.mjs PROGRAM --screenshots DIR   and a picture of each page, in DIR

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { execFileSync } from "node:child_process";
import { Gateway, HUB, POLICE, SURGERY, TRUST, browsers, rfi, visit } from "./ground.mjs";
import * as says from "./says.mjs";

const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const WIDTHS = [1280, 320];
// Of whose narrow form there is a picture too.
const NARROW = ["requests", "request details", "reply category", "board"];
const PROMISED = { requests: 25, seconds: 90 };

const [program, option, pictures] = process.argv.slice(2);
if (!program || (option && (option !== "--screenshots" || !pictures))) {
  console.error("usage: node desk.mjs PROGRAM [--screenshots DIR]");
  process.exit(2);
}
const results = { passed: 0, failed: 0 };
const pictured = new Set();

function check(what, holds, otherwise = "") {
  results[holds ? "passed" : "failed"] += 1;
  console.log(`${holds ? "ok  " : "FAIL"} ${what}${holds ? "" : `: ${otherwise}`}`);
}

/** Holds the page as it is now to what every page promises. Its name is for the reader, and the picture's. */
async function hold(page, name) {
  // A click comes back before the page it leads to has its style.
  await page.waitForLoadState("load");
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    const found = await examine(page);
    const wrong = [...found.violations, ...found.incomplete].map(
      (rule) => `${rule.id} (${rule.nodes.map((node) => node.target).join(", ")})`,
    );
    check(`axe finds nothing on "${name}" at ${width} px`, wrong.length === 0, wrong.join("; "));
    const over = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    check(`"${name}" needs no scrolling sideways at ${width} px`, over <= 0, `${over} px too wide`);
    const isPictured = pictured.has(`${name}-${width}`);
    if (pictures && !isPictured && (width === WIDTHS[0] || NARROW.includes(name))) {
      pictured.add(`${name}-${width}`);
      const file = `${name.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase()}-${width}.png`;
      // Of 8,000 characters the beginning is enough.
      await page.screenshot({ path: path.join(pictures, file), fullPage: !name.startsWith("hostile") });
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

// axe itself needs scripts; a page without them is examined in the window beside it that has them.
async function examine(page) {
  await page.evaluate(axe);
  return page.evaluate((tags) => axe.run(document, { runOnly: tags }), RULES);
}

/** What the browser asks for from now on. */
function counting(page) {
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  return asked;
}

const browser = await browsers();
const gateway = new Gateway(program);
try {
  await gateway.start();
  await doors();
  await surgeryAnswers({ javaScript: true });
  await surgeryAnswers({ javaScript: false });
  await byKeyboardAlone();
  await policeRefuse();
  await nothingShared();
  await hubSeesAndTells();
  await hostile();
  await twoAtOneDesk();
  const around = { browser, gateway, check, hold };
  await says.addsLater(around);
  await says.answersAQuestion(around);
  await says.addsFiles(around);
  await says.tellsFurther(around);
  await says.reportsAnIncident(around);
  await says.asksWhatMayBeReleased(around);
  await says.writesDownAnAnswer(around);
  await revoked();
} finally {
  await browser.close();
  await gateway.stop();
}
console.log(`${results.passed} passed, ${results.failed} failed`);
process.exit(results.failed ? 1 : 0);

/** Whoever has no good certificate is told what to do, and whom to ring. */
async function doors() {
  const nobody = await visit(browser, gateway, null);
  const missing = await nobody.goto(`${gateway.desk}/requests`);
  check("without a certificate: 401", missing.status() === 401, missing.status());
  const text = await nobody.textContent("main");
  check("which says what to do", text.includes(".p12"), text);
  check("and whom to ring", text.includes("01632 960100"), text);
  await hold(nobody, "no certificate");
  const headers = missing.headers();
  check("nothing may be kept", headers["cache-control"] === "no-store", headers["cache-control"]);
  const policy = headers["content-security-policy"] ?? "";
  check("the policy forbids all but ours", policy.startsWith("default-src 'none'"), policy);

  await nobody.goto(`${gateway.desk}/accessibility`);
  await hold(nobody, "accessibility statement");

  const other = new Gateway(program);
  try {
    const foreigner = await visit(browser, gateway, other.person(SURGERY, "contact-officer"));
    const foreign = await foreigner.goto(`${gateway.desk}/requests`);
    check("another hub's certificate: 401", foreign.status() === 401, foreign.status());
    await hold(foreigner, "foreign certificate");
  } finally {
    await other.stop();
    fs.rmSync(other.folder, { recursive: true, force: true });
  }

  const hub = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  const wrong = await hub.goto(`${gateway.desk}/requests`);
  check("the hub's people have no agency's pages: 403", wrong.status() === 403, wrong.status());
  await hold(hub, "wrong role");
  const nowhere = await hub.goto(`${gateway.desk}/no-such-page`);
  check("a page that is not there: 404", nowhere.status() === 404, nowhere.status());
}

/** A surgery answers, from opening the list to the receipt. */
async function surgeryAnswers({ javaScript }) {
  const how = javaScript ? "scripts on" : "scripts off";
  const [reference] = gateway.dispatch([SURGERY]);
  const officer = gateway.person(SURGERY, "contact-officer");
  const page = await visit(browser, gateway, officer, { javaScript });
  const asked = counting(page);
  // axe is a script: it looks on where there are scripts.
  const look = async (name) => javaScript && hold(page, name);
  let typed = 0;
  const fill = async (label, text) => {
    typed += text.length;
    await page.getByLabel(label, { exact: true }).fill(text);
  };

  await page.goto(gateway.desk);
  check(`${how}: the start is the list`, page.url().endsWith("/requests"), page.url());
  const list = await page.textContent("main");
  check(`${how}: what waits is listed`, list.includes(reference), list);
  check(`${how}: without a name`, !list.includes("Thistlebank"), list);
  await look("requests");
  await page.getByRole("link", { name: reference }).click();
  check(`${how}: not opened, nothing of it is shown`,
    !(await page.textContent("main")).includes("greenhouse"), "the concerns are shown");
  await look("request not opened");
  await page.getByRole("button", { name: "Open the request" }).click();
  const details = await page.textContent("main");
  check(`${how}: the warning comes before the detail`,
    details.indexOf("Do not mention this request") > 0
      && details.indexOf("Do not mention this request") < details.indexOf("greenhouse"), details);
  await look("request details");
  await page.getByRole("link", { name: "Reply", exact: true }).click();
  await look("reply tasks");

  // One category is known, the rest is not.
  await page.getByRole("link", { name: /^Neglect/ }).click();
  await look("reply category");
  await page.getByRole("button", { name: "Save and continue" }).click();
  check(`${how}: an error is said in the title`, (await page.title()).startsWith("Error: "), await page.title());
  await look("reply category with errors");
  if (javaScript) {
    const focused = await page.evaluate(() => document.activeElement?.id);
    check("the error summary has the focus", focused === "errors-title", focused);
  }
  await page.getByLabel("We know something").check();
  await fill("What is known", "She was not brought to two appointments.");
  await page.getByRole("button", { name: "Save and continue" }).click();
  const kept = await page.getByLabel("What is known", { exact: true }).inputValue();
  check(`${how}: what was filled in is kept on an error`, kept.includes("two appointments"), kept);
  await page.getByLabel("Wrenna Thistlebank (child)").check();
  await page.getByLabel("A fact").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("button", { name: "Nothing known for the rest" }).click();

  await page.getByRole("link", { name: "What the family may be told" }).click();
  await look("reply family");
  await page.getByLabel("Nothing, without asking us first").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "On what basis you share it" }).click();
  await look("reply lawful basis");
  const basis = await page.textContent("main");
  check(`${how}: three questions are put before the basis`,
    (await page.locator("main .inset li").count()) === 3, basis);
  check(`${how}: a usual basis is chosen already`,
    await page.getByLabel("(h) health or social care").isChecked(), basis);
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "Who answers" }).click();
  await look("reply who");
  await fill("Your name", "Dr Jo Madeup");
  await fill("Your job title", "General Practitioner");
  await fill("Your telephone (optional)", "01632 960021");
  await page.getByLabel("It was checked against the record").check();
  await page.getByLabel("It is relevant, not excessive, and proportionate").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "Check and send" }).click();
  await look("reply check");
  const checked = await page.textContent("main");
  check(`${how}: all of it is shown before it is sent`,
    checked.includes("two appointments") && checked.includes("+441632960021"), checked);
  await page.getByRole("button", { name: "Send reply to the hub" }).click();
  check(`${how}: it is sent`, (await page.textContent("h1")) === "Your reply is sent", await page.title());
  await look("reply sent");
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "Download the receipt" }).click(),
  ]);
  const receipt = path.join(gateway.folder, `${reference}.receipt`);
  await download.saveAs(receipt);
  const key = path.join(gateway.folder, "log.key");
  fs.writeFileSync(key, execFileSync("curl",
    ["--silent", "--fail", ...gateway.system(SURGERY), `${gateway.api}/v1/log/key`]));
  const verified = execFileSync(gateway.program, ["receipt", "verify", receipt, "--log-key", key],
    { encoding: "utf8" });
  check(`${how}: the receipt verifies offline`, verified.includes(reference), verified);
  const exchange = gateway.ask(HUB, `/v1/exchanges/${reference}`);
  check(`${how}: the hub has an answer`,
    exchange.state === "completed" && exchange.result === "complete", JSON.stringify(exchange));
  await page.getByRole("link", { name: "Requests", exact: true }).click();
  check(`${how}: it waits no more`,
    !(await page.locator("table").filter({ hasText: "Waiting for an answer" }).allTextContents())
      .join().includes(reference), await page.textContent("main"));
  const own = asked.filter((url) => !url.startsWith(gateway.desk) && !url.startsWith("data:"));
  check(`${how}: nothing is asked of anybody else`, own.length === 0, own.join());
  if (!javaScript) {
    const pages = asked.filter((url) => !/\.(css|js)$/.test(url) && !url.startsWith("data:")).length;
    console.log(`     ${pages} requests, ${typed} characters typed`);
  }
  await page.context().close();
}

/** The least that a reply of "nothing known" takes, by keyboard alone. */
async function byKeyboardAlone() {
  const [reference] = gateway.dispatch([TRUST]);
  const page = await visit(browser, gateway, gateway.person(TRUST, "deputy"));
  const asked = counting(page);
  let keys = 0;
  const press = async (key) => {
    keys += 1;
    await page.keyboard.press(key);
  };
  // To whatever is read out like this, and from there on.
  const go = async (name, key) => {
    for (let step = 0; step < 120; step += 1) {
      await press("Tab");
      const reached = await page.evaluate(() => {
        const here = document.activeElement;
        const label = here?.labels?.[0]?.textContent ?? here?.textContent ?? "";
        return label.trim();
      });
      if (reached === name || reached.startsWith(`${name} `)) {
        if (key) {
          const moves = here(key) ? page.waitForLoadState("load") : undefined;
          await press(key);
          await moves;
        }
        return;
      }
    }
    throw new Error(`the keyboard does not get to ${name} on ${page.url()}`);
  };
  const here = (key) => key === "Enter";
  const type = async (text) => {
    keys += text.length;
    await page.keyboard.type(text);
  };
  const follow = async (name, key = "Enter") => {
    await Promise.all([page.waitForEvent("domcontentloaded"), go(name, key)]);
    await page.waitForLoadState("load");
  };
  const begun = Date.now();
  await page.goto(gateway.desk);
  await follow(reference);
  await follow("Open the request");
  await follow("Reply");
  await follow("Nothing known for the rest");
  await follow("What the family may be told");
  await go("Nothing, without asking us first");
  await press("Space");
  await follow("Save and continue");
  await follow("On what basis you share it");
  await follow("Save and continue");
  await follow("Who answers");
  await go("Your name");
  await type("Kit Specimen");
  await go("Your job title");
  await type("Named Nurse");
  await go("It was checked against the record");
  await press("Space");
  await go("It is relevant, not excessive, and proportionate");
  await press("Space");
  await follow("Save and continue");
  await follow("Check and send");
  await follow("Send reply to the hub");
  check("by keyboard alone: it is sent", (await page.textContent("h1")) === "Your reply is sent",
    await page.textContent("main"));
  const exchange = gateway.ask(HUB, `/v1/exchanges/${reference}`);
  check("as nothing known", exchange.result === "nothing-known", JSON.stringify(exchange));
  const pages = asked.filter((url) => !/\.(css|js)$/.test(url) && !url.startsWith("data:")).length;
  check(`in fewer than ${PROMISED.requests} requests`, pages < PROMISED.requests, pages);
  // At forty words of five letters a minute, and a second for each key that is no letter.
  const letters = "Kit SpecimenNamed Nurse".length;
  const seconds = (letters / 200) * 60 + (keys - letters) * 0.3;
  console.log(
    `     ${pages} requests, ${keys} keys: ${seconds.toFixed(0)} s at 40 words a minute and 0.3 s for each ` +
      `Tab; this run took ${((Date.now() - begun) / 1000).toFixed(1)} s`,
  );
  check(`and under ${PROMISED.seconds} s of a person's typing`, seconds < PROMISED.seconds, seconds);
  await page.context().close();
}

/** The police answer, and let nothing be told; later they allow a part. */
async function policeRefuse() {
  const [reference] = gateway.dispatch([POLICE]);
  const page = await visit(browser, gateway, gateway.person(POLICE, "contact-officer"));
  await page.goto(`${gateway.desk}/requests/${reference}`);
  await page.getByRole("button", { name: "Open the request" }).click();
  await page.goto(`${gateway.desk}/requests/${reference}/acknowledge`);
  await hold(page, "acknowledge");
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("an acknowledgement without a day is refused", (await page.title()).startsWith("Error: "), page.url());
  await hold(page, "acknowledge with errors");
  const tomorrow = new Date(Date.now() + 30 * 3_600_000).toISOString().slice(0, 10);
  await page.getByLabel("Day", { exact: true }).fill(tomorrow);
  await page.getByLabel("Time", { exact: true }).fill("12:00");
  await page.getByLabel("Your name", { exact: true }).fill("Sgt Alex Invented");
  await page.getByLabel("Your job title", { exact: true }).fill("Detective Sergeant");
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("it is acknowledged", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));
  await hold(page, "acknowledged");
  check("and the hub sees by when", "willReplyBy" in gateway.ask(HUB, `/v1/exchanges/${reference}`), reference);

  await page.goto(`${gateway.desk}/requests/${reference}/question`);
  await hold(page, "question");
  await page.getByLabel("What is not clear?").fill("Which of the two addresses is meant?");
  await page.getByLabel("Your name", { exact: true }).fill("Sgt Alex Invented");
  await page.getByLabel("Your job title", { exact: true }).fill("Detective Sergeant");
  await page.getByRole("button", { name: "Send the question" }).click();
  check("a question is sent", (await page.textContent("h1")) === "It is sent", await page.textContent("main"));

  await page.goto(`${gateway.desk}/requests/${reference}/reply`);
  await page.getByRole("button", { name: "Nothing known for the rest" }).click();
  await page.getByRole("link", { name: "What the family may be told" }).click();
  await hold(page, "reply family of the police");
  await page.getByLabel("C: lawful sharing permitted with conditions").check();
  await page.getByLabel("Nothing, without asking us first").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  const refused = await page.textContent("main");
  check("code C without its conditions is refused", refused.includes("Write the conditions"), refused);
  await page.getByLabel("What else must a reader respect? (optional)").fill("Nothing is said to the family.");
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "On what basis you share it" }).click();
  await page.getByLabel("No", { exact: true }).check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "Who answers" }).click();
  await page.getByLabel("Your name", { exact: true }).fill("Sgt Alex Invented");
  await page.getByLabel("Your job title", { exact: true }).fill("Detective Sergeant");
  await page.getByLabel("It was checked against the record").check();
  await page.getByLabel("It is relevant, not excessive, and proportionate").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "Check and send" }).click();
  await page.getByRole("button", { name: "Send reply to the hub" }).click();
  const told = () => gateway.ask(HUB, `/v1/exchanges/${reference}`).familyMayBeTold;
  check("the family may be told nothing", told() === "nothing", told());

  await page.goto(`${gateway.desk}/requests/${reference}`);
  await hold(page, "request answered");
  await page.getByRole("link", { name: "Say again what the family may be told" }).click();
  await hold(page, "family again");
  await page.getByLabel("A part of it").check();
  await page.locator("#told-neglect-1").check();
  await page.getByLabel("Who decided?").fill("Sgt Alex Invented");
  await page.getByLabel("Their job title").fill("Detective Sergeant");
  await page.getByRole("button", { name: "Tell the hub" }).click();
  check("later a part may be told", told() === "part", `${told()}: ${await page.textContent("main")}`);
  await page.context().close();
}

/** An agency that may share nothing says so, with its reason; another is not the one to ask. */
async function nothingShared() {
  const [first, second] = gateway.dispatch([TRUST, POLICE]);
  const page = await visit(browser, gateway, gateway.person(TRUST, "contact-officer"));
  await page.goto(`${gateway.desk}/requests/${first}`);
  await page.getByRole("button", { name: "Open the request" }).click();
  await page.goto(`${gateway.desk}/requests/${first}/reply/cannot-share`);
  await page.getByLabel("We cannot share anything").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  check("why not has to be said", (await page.title()).startsWith("Error: "), page.url());
  await hold(page, "cannot share with errors");
  await page.getByLabel("There is no lawful basis").check();
  await page.getByLabel("Why, in this case?").fill("We have looked, and nothing allows it in this case.");
  await page.getByLabel("Who decided?").fill("Kit Specimen");
  await page.getByLabel("Their job title").fill("Caldicott Guardian");
  await page.getByRole("button", { name: "Save and come back later" }).click();
  await page.goto(`${gateway.desk}/requests/${first}`);
  check("it is gone on with later",
    await page.getByRole("link", { name: "Go on with your reply" }).isVisible(), await page.textContent("main"));
  await page.goto(`${gateway.desk}/requests/${first}/reply/family`);
  await page.getByLabel("Nothing, without asking us first").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.goto(`${gateway.desk}/requests/${first}/reply/lawful-basis`);
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.goto(`${gateway.desk}/requests/${first}/reply/check`);
  const wrong = await page.textContent("main");
  check("what is still missing is named before it is sent", wrong.includes("There is a problem"), wrong);
  await hold(page, "check with errors");
  await page.goto(`${gateway.desk}/requests/${first}/reply/who`);
  await page.getByLabel("Your name", { exact: true }).fill("Kit Specimen");
  await page.getByLabel("Your job title", { exact: true }).fill("Caldicott Guardian");
  await page.getByLabel("It was checked against the record").check();
  await page.getByLabel("It is relevant, not excessive, and proportionate").check();
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("link", { name: "Check and send" }).click();
  await page.getByRole("button", { name: "Send reply to the hub" }).click();
  const result = gateway.ask(HUB, `/v1/exchanges/${first}`).result;
  check("it cannot share", result === "cannot-share", `${result}: ${await page.textContent("main")}`);
  await page.context().close();

  const police = await visit(browser, gateway, gateway.person(POLICE, "deputy"));
  await police.goto(`${gateway.desk}/requests/${second}`);
  await police.getByRole("button", { name: "Open the request" }).click();
  await police.goto(`${gateway.desk}/requests/${second}/not-for-us`);
  await hold(police, "not for us");
  await police.getByLabel("Who should be asked instead?").fill("The force of the next county.");
  await police.getByLabel("Your name", { exact: true }).fill("Sgt Alex Invented");
  await police.getByLabel("Your job title", { exact: true }).fill("Detective Sergeant");
  await police.getByRole("button", { name: "Tell the hub" }).click();
  const state = gateway.ask(HUB, `/v1/exchanges/${second}`).state;
  check("it is not for them", state === "rejected", state);
  await police.context().close();
}

/** The health representative sees who has not answered, rings, reads what came, and tells the outcome. */
async function hubSeesAndTells() {
  const hours = (n) => `${new Date(Date.now() + n * 3_600_000).toISOString().slice(0, 19)}Z`;
  const [silent, answered, police] = gateway.dispatch([TRUST, SURGERY, POLICE], { responseRequiredBy: hours(3) });
  const say = (agency, reference, kind, body) => gateway.ask(agency, `/v1/exchanges/${reference}/${kind}`, body);
  const { messages } = gateway.ask(SURGERY, "/v1/inbox");
  const asked = messages.find((message) => message.reference === answered).id;
  const reply = {
    inReplyTo: asked, result: "nothing-known", answers: [], accuracyChecked: "checked-against-record",
    respondedBy: { name: "Dr Jo Madeup", jobTitle: "General Practitioner" }, proportionate: true,
    onwardDisclosure: "not-without-asking-us",
    lawfulBasis: {
      codelist: "uk-2026-09", article6: "e", specialCategory: true, article9: "h",
      powers: ["children-act-2004-s11"],
    },
  };
  gateway.ask(SURGERY, `/v1/messages/${asked}`);
  say(SURGERY, answered, "responses", reply);
  const ofPolice = gateway.ask(POLICE, "/v1/inbox").messages.find((one) => one.reference === police).id;
  gateway.ask(POLICE, `/v1/messages/${ofPolice}`);
  const { inReplyTo, ...rest } = reply;
  say(POLICE, police, "responses", { ...rest, inReplyTo: ofPolice });

  const page = await visit(browser, gateway, gateway.person(HUB, "mash-health-representative"));
  await page.goto(gateway.desk);
  check("the hub begins with its board", page.url().endsWith("/enquiries"), page.url());
  const row = page.locator("tr").filter({ hasText: silent });
  const stands = await row.textContent();
  check("the board shows who is silent", stands.includes("Not opened"), stands);
  check("and that they are to be rung", stands.includes("Ring the agency"), stands);
  check("without a name", !(await page.textContent("main")).includes("Thistlebank"), "a name is on the board");
  await hold(page, "board");
  await row.getByRole("link", { name: silent }).click();
  await hold(page, "enquiry");
  await page.locator("a").filter({ hasText: `Record a telephone call, ${silent}` }).click();
  await page.getByRole("button", { name: "Record the call" }).click();
  check("a call without anything is refused", (await page.title()).startsWith("Error: "), page.url());
  await hold(page, "telephone with errors");
  const now = new Date(Date.now() - 120_000);
  const there = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/London", ...options }).format(now);
  const [day, month, year] = there({ day: "2-digit", month: "2-digit", year: "numeric" }).split("/");
  await page.getByLabel("Day", { exact: true }).fill(`${year}-${month}-${day}`);
  await page.getByLabel("Time", { exact: true }).fill(there({ hour: "2-digit", minute: "2-digit" }));
  await page.getByLabel("Whom did you speak to?").fill("Kit Specimen");
  await page.getByLabel("Their job title").fill("Named Nurse");
  await page.getByLabel("Your name", { exact: true }).fill("Oswin Quillfeather");
  await page.getByLabel("Your job title", { exact: true }).fill("Health Representative");
  await page.getByRole("button", { name: "Record the call" }).click();
  const rung = gateway.ask(HUB, `/v1/exchanges/${silent}`);
  check("the call is recorded", "telephonedAt" in rung, await page.textContent("main"));

  await page.goto(`${gateway.desk}/enquiries/${rung.enquiry}/answers`);
  const all = await page.textContent("main");
  check("what was answered is side by side", all.includes("Dr Jo Madeup") && all.includes(silent), all);
  check("with what the family may be told", all.includes("The family may be told: nothing"), all);
  check("silence is said to be silence", all.includes("Silence is not an answer"), all);
  check("what the police say is not for this role", all.includes("Its sender shows this to"), all);
  await hold(page, "all answers");

  await page.goto(`${gateway.desk}/exchanges/${answered}/outcome`);
  await hold(page, "outcome");
  await page.getByRole("button", { name: "Send the outcome" }).click();
  await hold(page, "outcome with errors");
  await page.getByLabel("No further action: threshold not met").check();
  await page.getByLabel("Day", { exact: true }).fill(`${year}-${month}-${day}`);
  await page.getByLabel("Time", { exact: true }).fill("00:01");
  await page.getByLabel("Who decided?").fill("Imogen Fablewright");
  await page.getByLabel("Their job title", { exact: true }).fill("Team Manager");
  await page.getByLabel("Whose is it to feed it back?").fill("Oswin Quillfeather");
  await page.getByLabel("Their job title at the hub").fill("Health Representative");
  await page.getByLabel("A paragraph for the agency's own record").fill("The enquiry ended without further action.");
  await page.getByRole("button", { name: "Send the outcome" }).click();
  const told = gateway.ask(HUB, `/v1/exchanges/${answered}`);
  check("the outcome is sent", "outcomeAt" in told, `${JSON.stringify(told)}: ${await page.textContent("main")}`);
  await page.context().close();

  const surgery = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  await surgery.goto(`${gateway.desk}/requests`);
  await surgery.locator("a").filter({ hasText: `Outcome of request ${answered}` }).click();
  const outcome = await surgery.textContent("main");
  check("the surgery reads it, with a paragraph for its record",
    outcome.includes("For your record") && outcome.includes("without further action"), outcome);
  await hold(surgery, "outcome received");
  await surgery.getByRole("button", { name: "It is in our own record" }).click();
  await surgery.goto(`${gateway.desk}/requests`);
  check("saved, it waits no more",
    !(await surgery.textContent("main")).includes(`Outcome of request ${answered}`), "it still waits");
  await surgery.context().close();

  const manager = await visit(browser, gateway, gateway.person(HUB, "mash-team-manager"));
  await manager.goto(`${gateway.desk}/enquiries/${rung.enquiry}/answers`);
  const shown = await manager.textContent("main");
  check("the Team Manager reads what the police say", !shown.includes("Its sender shows this to"), shown);
  await manager.context().close();
}

/** Whatever somebody wrote shows as text, and breaks no page. */
async function hostile() {
  const evil = '<script>document.title="taken"</script><img src=x onerror="document.title=1">"\'><b>bold</b>';
  const concerns = `${evil}\u202Edrow\u202C 👩‍👩‍👧‍👦 ${"W".repeat(7000)} ${"a b ".repeat(200)}`;
  const request = rfi();
  request.persons[0].familyName = `${evil.slice(0, 60)}`;
  request.persons[1].givenName = "\u202Eסבתא 👵".padEnd(150, "x");
  const [reference] = gateway.dispatch([SURGERY], {
    persons: request.persons,
    reason: { concerns, allegation: evil },
    referral: { source: "anonymous-public", parentsAware: "not-known" },
    doNotInform: ["p2"],
    consent: request.consent,
  });
  const page = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  await page.goto(`${gateway.desk}/requests/${reference}`);
  await page.getByRole("button", { name: "Open the request" }).click();
  const shown = await page.textContent("main");
  check("markup is text", shown.includes(evil), shown.slice(0, 400));
  check("and nothing of it runs", !["taken", "1"].includes(await page.title()), await page.title());
  check("no element of it is made", (await page.locator("main img, main script, main b").count()) === 0, shown);
  await hold(page, "hostile request");
  await page.goto(`${gateway.desk}/requests/${reference}/reply/neglect`);
  await page.getByLabel("We know something").check();
  await page.getByLabel("What is known", { exact: true }).fill(concerns);
  await page.getByRole("button", { name: "Save and come back later" }).click();
  await page.goto(`${gateway.desk}/requests/${reference}/reply/neglect`);
  const kept = await page.getByLabel("What is known", { exact: true }).inputValue();
  check("what was written comes back as it was", kept === concerns.trim(), `${kept.length} characters`);
  await hold(page, "hostile reply");
  await page.goto(`${gateway.desk}/requests/${reference}/reply/check`);
  await hold(page, "hostile check");
  await page.context().close();
}

/** Two at one desk write the same reply: neither loses anything. */
async function twoAtOneDesk() {
  const [reference] = gateway.dispatch([SURGERY]);
  const first = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"));
  const second = await visit(browser, gateway, gateway.person(SURGERY, "deputy"));
  await first.goto(`${gateway.desk}/requests/${reference}`);
  await first.getByRole("button", { name: "Open the request" }).click();
  const part = `${gateway.desk}/requests/${reference}/reply/neglect`;
  await first.goto(part);
  await second.goto(part);
  await first.getByLabel("Nothing known").check();
  await first.getByRole("button", { name: "Save and continue" }).click();
  await second.getByLabel("We know something").check();
  await second.getByLabel("What is known", { exact: true }).fill("A neighbour rang twice.");
  await second.getByRole("button", { name: "Save and come back later" }).click();
  const shown = await second.textContent("main");
  check("whoever saves second is told", shown.includes("Somebody else"), shown);
  check("and keeps what they had", shown.includes("A neighbour rang twice."), shown);
  await hold(second, "overtaken");
  await first.goto(part);
  check("what the first saved is there", await first.getByLabel("Nothing known").isChecked(), part);
  await first.context().close();
  await second.context().close();
}

/** A certificate is revoked while its browser is open: that is the end of it. */
async function revoked() {
  const page = await visit(browser, gateway, gateway.person(TRUST, "contact-officer"));
  await page.goto(`${gateway.desk}/requests`);
  check("before, the list is shown", (await page.textContent("h1")).startsWith("Requests"), await page.title());
  const { certificates } = JSON.parse(gateway.run("cert", "list", "--json"));
  const newest = certificates
    .filter((one) => one.agency === TRUST && one.profile !== "agency-client")
    .sort((one, other) => one.issuedAt.localeCompare(other.issuedAt))
    .at(-1);
  gateway.run("cert", "revoke", "--serial", newest.serial, "--reason", "key-compromise", "--confirm", TRUST);
  // The connection that was open is cut: the browser makes another, and is told on it.
  let answer = null;
  for (let attempt = 0; attempt < 3 && !answer; attempt += 1) {
    answer = await page.goto(`${gateway.desk}/requests`).catch(() => null);
  }
  check("after, 403", answer?.status() === 403, answer?.status());
  const text = await page.textContent("main");
  check("and why", text.includes("revoked"), text);
  await hold(page, "revoked certificate");
  await page.context().close();
}
