// Every page that the desk has a route for, as somebody sees it who may: what axe says of it and of what it says
// when its form is sent empty, wide and narrow. The routes are read from the source, so that a page which nobody
// thought of here fails.
//
//   node every.mjs PROGRAM                     all of it; ends with "N passed, M failed"
//   node every.mjs PROGRAM --screenshots DIR   and a picture of each page, in DIR

import fs from "node:fs";
import { Gateway, HUB, SURGERY, TRUST, browsers, visit } from "./ground.mjs";
import { check, finish, hold, program } from "./look.mjs";

const SOURCES = ["src/http/desk/mod.rs", "src/http/desk/office.rs"];

// What is no page to look at: it leads to one, is a file, or only takes what another page sends.
const NO_PAGE = [
  "/", "/desk.css", "/desk.js", "/find", "/timeliness/plot", "/attachments/{id}", "/messages/{id}/receipt",
  "/messages/{id}/saved", "/requests/{reference}/open", "/requests/{reference}/reply/nothing-known",
  "/exchanges/{reference}/transcription/nothing-known", "/requests/{reference}/reply/files/remove", "/requests/{reference}/supplement/files/remove", "/rfis/{id}/discard",
];

// Who looks at what is under this; the first that fits.
const WHO = [
  ["/rfis/{id}/override/decide", "manager"],
  ["/timeliness", "lead"],
  ["/agencies", "operator"],
  ["/dead-letters", "operator"],
  ["/log", "operator"],
  ["/rfis", "representative"],
  ["/enquiries", "representative"],
  ["/exchanges", "representative"],
  ["/", "officer"],
];

const browser = await browsers();
const gateway = new Gateway(program);
try {
  await gateway.start();
  await everyPage();
} finally {
  await browser.close();
  await gateway.stop();
}
finish();

async function everyPage() {
  const routes = SOURCES.flatMap((file) =>
    [...fs.readFileSync(file, "utf8").matchAll(/\.route\(\s*"([^"]+)"/g)].map((found) => found[1]));
  check("the routes are found", routes.length > 40 && routes.includes("/rfis/{id}/{part}"), routes.join());
  const people = {
    officer: gateway.person(SURGERY, "contact-officer"),
    representative: gateway.person(HUB, "mash-health-representative"),
    manager: gateway.person(HUB, "mash-team-manager"),
    operator: gateway.person(HUB, "operator"),
    lead: gateway.person(HUB, "mash-operational-lead"),
  };
  const windows = {};
  for (const [who, certificate] of Object.entries(people)) windows[who] = await visit(browser, gateway, certificate);
  const places = await prepare(windows);
  let errors = 0;
  for (const route of routes.filter((route) => !NO_PAGE.includes(route))) {
    const at = places[route];
    check(`"${route}" is looked at`, at?.length > 0, "a page without a row here");
    const [, who] = WHO.find(([start]) => route.startsWith(start));
    for (const path of at ?? []) {
      const page = windows[who];
      const name = nameOf(route, path);
      const answer = await page.goto(`${gateway.desk}${path}`);
      // What is not complete is said to be that.
      check(`${name} is there`, [200, 422].includes(answer.status()), `${answer.status()} ${path}`);
      await hold(page, name);
      if (!(await page.locator("main form[method=post] .question").count())) continue;
      const [sent] = await Promise.all([
        page.waitForResponse((response) => response.request().method() === "POST"),
        page.locator("main form[method=post] button").first().click(),
      ]);
      if (sent.status() !== 422) continue;
      await page.waitForLoadState("load");
      errors += 1;
      check(`${name} sent empty says so in its title`, (await page.title()).startsWith("Error: "), await page.title());
      await hold(page, `${name} sent empty`);
    }
  }
  check("most forms refuse to be empty", errors >= 45, errors);
  console.log(`     ${routes.length} routes, ${errors} pages with errors`);
}

/** A page's name: its route without what differs, and the part of it. */
function nameOf(route, path) {
  const parts = path.split("/");
  const own = route.split("/").map((part, place) => (/^\{(part|item)\}$/.test(part) ? parts[place] : part));
  return own.filter((part) => part && !part.startsWith("{")).join(" ");
}

/** What there is to look at, by its route. */
async function prepare({ officer, representative }) {
  const [opened] = gateway.dispatch([SURGERY]);
  await officer.goto(`${gateway.desk}/requests/${opened}`);
  await officer.getByRole("button", { name: "Open the request" }).click();
  const [answered] = gateway.dispatch([SURGERY]);
  const { rfi, enquiry } = gateway.ask(HUB, `/v1/exchanges/${answered}`);
  gateway.ask(SURGERY, `/v1/messages/${rfi}`);
  const say = (agency, kind, body) => gateway.ask(agency, `/v1/exchanges/${answered}/${kind}`, body).message;
  const reply = say(SURGERY, "responses", {
    inReplyTo: rfi, result: "nothing-known", answers: [], accuracyChecked: "checked-against-record",
    respondedBy: { name: "Dr Jo Madeup", jobTitle: "General Practitioner" }, proportionate: true,
    onwardDisclosure: "not-without-asking-us",
    lawfulBasis: {
      codelist: "uk-2026-09", article6: "e", specialCategory: false, powers: ["children-act-2004-s11"],
    },
  });
  const from = { name: "Oswin Quillfeather", jobTitle: "Health Representative" };
  const question = say(HUB, "clarifications", { inReplyTo: reply, question: "Since when?", from });
  const told = say(HUB, "clarifications", { inReplyTo: reply, question: "And until when?", from });

  await representative.goto(`${gateway.desk}/rfis`);
  await representative.getByRole("button", { name: "Begin a new request" }).click();
  const draft = new URL(representative.url()).pathname;
  await representative.goto(`${gateway.desk}${draft}/people/new`);
  for (const kind of ["A child", "Another family contact"]) {
    await representative.goto(`${gateway.desk}${draft}/people/new`);
    await representative.getByLabel(kind, { exact: true }).check();
    await representative.getByLabel("What are they to the child?").fill("somebody");
    await representative.getByLabel("Given name or names").fill("Wrenna");
    await representative.getByLabel("Family name").fill("Thistlebank");
    await representative.getByRole("button", { name: "Save and continue" }).click();
  }
  await representative.goto(`${gateway.desk}${draft}/recipients/new`);
  await representative.getByLabel(`Test ${TRUST}`).check();
  await representative.getByLabel("Why is this agency asked?").fill("They may know the family.");
  await representative.getByRole("button", { name: "Save and continue" }).click();

  gateway.system(TRUST);
  const { certificates } = JSON.parse(gateway.run("cert", "list", TRUST, "--json"));
  const certificate = `/agencies/${TRUST}/certificates/${certificates[0].serial}`;
  const tasks = (page, path) => links(page, path, (to) => to.startsWith(`${path}/`) && !to.endsWith("/check"));
  return {
    "/accessibility": ["/accessibility"],
    "/requests": ["/requests"],
    "/requests/{reference}": [`/requests/${opened}`, `/requests/${answered}`],
    "/requests/{reference}/details": [`/requests/${opened}/details`],
    "/requests/{reference}/acknowledge": [`/requests/${opened}/acknowledge`],
    "/requests/{reference}/not-for-us": [`/requests/${opened}/not-for-us`],
    "/requests/{reference}/question": [`/requests/${opened}/question`],
    "/requests/{reference}/family": [`/requests/${answered}/family`],
    "/requests/{reference}/sent/{message}": [`/requests/${answered}/sent/${reply}`],
    "/requests/{reference}/incident": [`/requests/${opened}/incident`],
    "/requests/{reference}/subject-access": [`/requests/${answered}/subject-access`],
    "/requests/{reference}/reply": [`/requests/${opened}/reply`],
    "/requests/{reference}/reply/check": [`/requests/${opened}/reply/check`],
    "/requests/{reference}/reply/{part}": [
      ...await tasks(officer, `/requests/${opened}/reply`), `/requests/${opened}/reply/rest`,
    ],
    "/requests/{reference}/reply/files": [`/requests/${opened}/reply/files`],
    "/requests/{reference}/supplement": [`/requests/${answered}/supplement`],
    "/requests/{reference}/supplement/check": [`/requests/${answered}/supplement/check`],
    "/requests/{reference}/supplement/{part}": await tasks(officer, `/requests/${answered}/supplement`),
    "/requests/{reference}/supplement/files": [`/requests/${answered}/supplement/files`],
    "/messages/{id}": [`/messages/${told}`],
    "/messages/{id}/answer": [`/messages/${question}/answer`],
    "/enquiries": ["/enquiries"],
    "/enquiries/{id}": [`/enquiries/${enquiry}`],
    "/enquiries/{id}/answers": [`/enquiries/${enquiry}/answers`],
    "/enquiries/{id}/asked": [`/enquiries/${enquiry}/asked`],
    "/enquiries/{id}/referrer": [`/enquiries/${enquiry}/referrer`],
    "/enquiries/{id}/sent": [`/enquiries/${enquiry}/sent`],
    "/exchanges/{reference}/telephone": [`/exchanges/${opened}/telephone`],
    "/exchanges/{reference}/cancel": [`/exchanges/${opened}/cancel`],
    "/exchanges/{reference}/consent-withdrawal": [`/exchanges/${opened}/consent-withdrawal`],
    "/exchanges/{reference}/forward": [`/exchanges/${answered}/forward`],
    "/exchanges/{reference}/incident": [`/exchanges/${opened}/incident`],
    "/exchanges/{reference}/step-down": [`/exchanges/${answered}/step-down`],
    "/exchanges/{reference}/subject-access": [`/exchanges/${answered}/subject-access`],
    "/exchanges/{reference}/transcription": [`/exchanges/${opened}/transcription`],
    "/exchanges/{reference}/transcription/check": [`/exchanges/${opened}/transcription/check`],
    "/exchanges/{reference}/transcription/{part}":
      await tasks(representative, `/exchanges/${opened}/transcription`),
    "/exchanges/{reference}/question": [`/exchanges/${opened}/question`],
    "/exchanges/{reference}/outcome": [`/exchanges/${opened}/outcome`],
    "/exchanges/{reference}/sent/{message}": [`/exchanges/${answered}/sent/${question}`],
    "/rfis": ["/rfis"],
    "/rfis/{id}": [draft],
    "/rfis/{id}/check": [`${draft}/check`],
    "/rfis/{id}/override": [`${draft}/override`],
    "/rfis/{id}/override/decide": [`${draft}/override/decide`],
    "/rfis/{id}/{part}": await tasks(representative, draft),
    "/rfis/{id}/{part}/{item}": ["people/new", "people/p1", "recipients/new", "recipients/1"]
      .map((item) => `${draft}/${item}`),
    "/agencies": ["/agencies"],
    "/agencies/{agency}": [`/agencies/${TRUST}`],
    "/agencies/{agency}/certificates/{serial}": [certificate],
    "/agencies/{agency}/certificates/{serial}/revoke": [`${certificate}/revoke`],
    "/agencies/{agency}/certificates/{serial}/revoke/confirm": [`${certificate}/revoke/confirm`],
    "/agencies/{agency}/revoke": [`/agencies/${TRUST}/revoke`],
    "/agencies/{agency}/revoke/confirm": [`/agencies/${TRUST}/revoke/confirm`],
    "/dead-letters": ["/dead-letters"],
    "/log": ["/log"],
    "/timeliness": ["/timeliness"],
  };
}

/** Where a page's links lead, of those that are wanted. */
async function links(page, path, isWanted) {
  await page.goto(`${gateway.desk}${path}`);
  const all = await page.locator("main a").evaluateAll((each) => each.map((link) => link.getAttribute("href")));
  return all.filter(isWanted);
}
