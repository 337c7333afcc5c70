// Those who look after the machine, or see to it that it is right, in their browsers: an operator finds an
// agency and revokes the certificate of somebody who is at their desk, an auditor looks in the log, the
// Operational Lead at how timely agencies are.
//
//   node operator.mjs PROGRAM                     all of it; ends with "N passed, M failed"
//   node operator.mjs PROGRAM --screenshots DIR   and a picture of each page, in DIR

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { Gateway, HUB, POLICE, SURGERY, TRUST, browsers, visit } from "./ground.mjs";
import { check, finish, hold, program } from "./look.mjs";

const browser = await browsers();
const gateway = new Gateway(program);
const endpoint = await refusing(gateway);
try {
  await gateway.start();
  await revokes({ javaScript: true });
  await revokes({ javaScript: false });
  await byKeyboard();
  await cutsOff();
  await overseers();
} finally {
  await browser.close();
  endpoint.close();
  await gateway.stop();
}
finish();

/** From the start page to the end of somebody's certificate. */
async function revokes({ javaScript }) {
  const how = javaScript ? "scripts on" : "scripts off";
  const look = async (page, name) => javaScript && hold(page, name);
  const officer = await visit(browser, gateway, gateway.person(SURGERY, "contact-officer"), { javaScript });
  await officer.goto(`${gateway.desk}/requests`);
  const page = await visit(browser, gateway, gateway.person(HUB, "operator"), { javaScript });
  await page.goto(gateway.desk);
  check(`an operator begins with the agencies, ${how}`, page.url().endsWith("/agencies"), page.url());
  await look(page, "agencies");
  await page.getByLabel("Find an agency by its id or name").fill("surgery");
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByRole("link", { name: `Test ${SURGERY}` }).click();
  await look(page, "agency");
  const serial = newest(SURGERY, "contact-officer");
  await page.getByRole("link", { name: serial }).click();
  await look(page, "certificate");
  await page.getByRole("link", { name: "Revoke this certificate" }).click();
  const before = await page.textContent("main");
  check(`it is said what that does, ${how}`, before.includes("cut off in the middle"), before);
  await look(page, "before revoking");
  await page.getByRole("link", { name: "Go on" }).click();
  await look(page, "revoke");
  await page.getByRole("button", { name: "Revoke now" }).click();
  check(`without a reason nothing is revoked, ${how}`, (await page.title()).startsWith("Error: "), page.url());
  await page.getByLabel("Somebody else has its key, or may have it").check();
  await page.getByLabel("Type the agency's id").fill(TRUST);
  await page.getByRole("button", { name: "Revoke now" }).click();
  check(`nor with another agency's id, ${how}`, (await page.title()).startsWith("Error: "), page.url());
  const kept = await page.getByLabel("Somebody else has its key, or may have it").isChecked();
  check(`and what was chosen is kept, ${how}`, kept, "it is not");
  await look(page, "revoke with errors");
  await officer.reload();
  const still = await officer.textContent("h1");
  check(`so far their window is open, ${how}`, still.startsWith("Requests"), still);

  await page.getByLabel("Type the agency's id").fill(SURGERY);
  await page.getByRole("button", { name: "Revoke now" }).click();
  const done = await page.textContent("main");
  check(`it is in force when the page says so, ${how}`, done.includes("In force"), done);
  check(`with what to do now, ${how}`, done.includes("Telephone the contact officer"), done);
  await look(page, "revoked");

  // Their window was open all the while. The connection is cut: on the next they are told why.
  let answer = null;
  for (let attempt = 0; attempt < 3 && !answer; attempt += 1) {
    answer = await officer.reload().catch(() => null);
  }
  check(`the next thing they ask for is refused, ${how}`, answer?.status() === 403, answer?.status());
  const told = await officer.textContent("main");
  check(`and they are told why, ${how}`, told.includes("Your certificate was revoked"), told);
  await officer.context().close();

  await page.getByRole("link", { name: "Back to" }).click();
  const agency = await page.textContent("main");
  check(`the agency's page has it, ${how}`, agency.includes("Revoked"), agency);
  await page.context().close();
}

/** All that an agency has. */
async function cutsOff() {
  gateway.person(TRUST, "contact-officer");
  const page = await visit(browser, gateway, gateway.person(HUB, "operator"));
  await page.goto(`${gateway.desk}/agencies/${TRUST}`);
  await page.getByRole("link", { name: "Cut it off" }).click();
  await hold(page, "before cutting off");
  await page.getByRole("link", { name: "Go on" }).click();
  await page.getByLabel("The agency may not take part any more").check();
  await page.getByLabel("Type the agency's id").fill(TRUST);
  await page.getByRole("button", { name: "Revoke now" }).click();
  const done = await page.textContent("main");
  check("an agency is cut off as a whole", done.includes("The agency is cut off"), done);
  await hold(page, "cut off");
  await page.context().close();
}

/** The same without a mouse. */
async function byKeyboard() {
  gateway.person(TRUST, "deputy");
  const serial = newest(TRUST, "deputy");
  const page = await visit(browser, gateway, gateway.person(HUB, "operator"));
  await page.goto(`${gateway.desk}/agencies/${TRUST}`);
  const press = async (name, key) => {
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press("Tab");
      const there = await page.evaluate(() => {
        const active = document.activeElement;
        return active.labels?.[0]?.textContent ?? active.textContent;
      });
      if (there.includes(name)) {
        await page.keyboard.press(key);
        await page.waitForLoadState();
        return;
      }
    }
    check(`"${name}" is reached by keyboard`, false, page.url());
  };
  const arrived = (end) => page.waitForURL(`**${end}`);
  await press(serial, "Enter");
  await arrived(serial);
  await press("Revoke this certificate", "Enter");
  await arrived("/revoke");
  await press("Go on", "Enter");
  await arrived("/confirm");
  await press("It is not that agency's", "Space");
  await page.keyboard.press("Tab");
  await page.keyboard.type(TRUST);
  await page.keyboard.press("Enter");
  await page.getByText("In force").waitFor();
  const done = await page.textContent("main");
  check("a certificate is revoked by keyboard alone", done.includes("The certificate is revoked"), done);
  await page.context().close();
}

/** What was returned, the log, and the figures. */
async function overseers() {
  const [reference, answered] = gateway.dispatch([POLICE, SURGERY]);
  const { messages } = gateway.ask(SURGERY, "/v1/inbox");
  const asked = messages.find((message) => message.reference === answered).id;
  gateway.ask(SURGERY, `/v1/messages/${asked}`);
  gateway.ask(SURGERY, `/v1/exchanges/${answered}/responses`, reply(asked));
  const operator = await visit(browser, gateway, gateway.person(HUB, "operator"));
  let letters = "";
  for (let attempt = 0; attempt < 100 && !letters.includes(reference); attempt += 1) {
    await operator.goto(`${gateway.desk}/dead-letters`);
    letters = await operator.textContent("main");
  }
  check("what was returned is listed", letters.includes(reference), letters);
  check("without a name", !letters.includes("Thistlebank"), letters);
  await hold(operator, "dead letters");
  await operator.context().close();

  const auditor = await visit(browser, gateway, gateway.person(HUB, "auditor"));
  await auditor.goto(gateway.desk);
  await auditor.getByRole("link", { name: "Log", exact: true }).click();
  await hold(auditor, "log");
  const field = auditor.getByLabel("Find what is logged of a request, by its reference");
  await field.fill("RFI-2026-1");
  await auditor.getByRole("button", { name: "Find" }).click();
  check("what is no reference is said to be none", (await auditor.title()).startsWith("Error: "), auditor.url());
  await hold(auditor, "log with errors");
  await field.fill(reference.toLowerCase());
  await auditor.getByRole("button", { name: "Find" }).click();
  const found = await auditor.textContent("main");
  check("what is logged of a request is found", found.includes("Returned"), found);
  await hold(auditor, "log of a request");
  await auditor.context().close();

  const lead = await visit(browser, gateway, gateway.person(HUB, "mash-operational-lead"));
  await lead.goto(`${gateway.desk}/timeliness`);
  for (let attempt = 0; attempt < 100 && !(await lead.locator("table").count()); attempt += 1) {
    await lead.goto(`${gateway.desk}/timeliness`);
  }
  const figures = await lead.textContent("main");
  check("the figures name the agencies", figures.includes(`Test ${POLICE}`), figures);
  const width = await lead.locator("img.plot").evaluate((image) => image.complete && image.naturalWidth);
  check("the plot is drawn", width > 0, width);
  await hold(lead, "timeliness");
  await lead.context().close();

  const theirs = await visit(browser, gateway, gateway.person(POLICE, "auditor"));
  await theirs.goto(gateway.desk);
  check("an agency's auditor begins with the log", theirs.url().endsWith("/log"), theirs.url());
  const none = await theirs.goto(`${gateway.desk}/agencies`);
  check("and sees no other agency: 403", none.status() === 403, none.status());
  await theirs.context().close();
}

function newest(agency, profile) {
  const { certificates } = JSON.parse(gateway.run("cert", "list", agency, "--json"));
  return certificates.find((one) => one.profile === profile).serial;
}

function reply(asked) {
  return {
    inReplyTo: asked, result: "nothing-known", answers: [], accuracyChecked: "checked-against-record",
    respondedBy: { name: "Dr Jo Madeup", jobTitle: "General Practitioner" }, proportionate: true,
    onwardDisclosure: "not-without-asking-us",
    lawfulBasis: {
      codelist: "uk-2026-09", article6: "e", specialCategory: true, article9: "h",
      powers: ["children-act-2004-s11"],
    },
  };
}

// An endpoint of the police, in the gateway's directory, that answers 410 to whatever comes.
async function refusing(gateway) {
  const file = (name) => path.join(gateway.folder, name);
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
      "-keyout", file("endpoint.key"), "-out", path.join(gateway.home, "certs/endpoint.pem"),
      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
      "-addext", "basicConstraints=critical,CA:FALSE"],
    { stdio: "ignore" },
  );
  const options = {
    key: fs.readFileSync(file("endpoint.key")),
    cert: fs.readFileSync(path.join(gateway.home, "certs/endpoint.pem")),
  };
  const server = https.createServer(options, (request, response) => {
    request.resume();
    response.writeHead(410).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const change = (name, from, to) => {
    const where = path.join(gateway.home, name);
    const text = fs.readFileSync(where, "utf8");
    if (!text.includes(from)) throw new Error(`${name} has no ${from}`);
    fs.writeFileSync(where, text.replace(from, to));
  };
  change("gateway.toml", "# allow_loopback = false", "allow_loopback = true");
  const url = `https://localhost:${server.address().port}/in`;
  const [mailbox, push] = [
    'endpoints = [{ kind = "mailbox" }]',
    `endpoints = [{ kind = "push", url = "${url}", ca = "certs/endpoint.pem" }]`,
  ];
  const police = `kind = "police"\nstatus = "active"\nstatutory_basis = "invented"\n`;
  change("partners.toml", `${police}${mailbox}`, `${police}${push}`);
  return server;
}
