// A gateway with people at its desks, and their browsers: Debian's Chromium, driven by playwright-core.
// Everybody here is invented.

import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { chromium } from "playwright-core";

export const HUB = "test-mash";
export const POLICE = "test-police";
export const SURGERY = "test-surgery";
export const TRUST = "test-trust";

const AGENCIES = [
  [HUB, "hub", 'hours = "Monday to Friday, 9 to 5"\n'],
  [POLICE, "police", ""],
  [TRUST, "nhs-trust", "attachments = true\n"],
  ["test-early-help", "early-help", ""],
  ["test-social-care", "childrens-social-care", ""],
  [SURGERY, "gp-surgery", 'ods_code = "Z99999"\nclass = "test-surgeries"\n'],
];

/** A gateway in a folder of its own. */
export class Gateway {
  constructor(program) {
    this.program = path.resolve(program);
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "mash-desk-"));
    this.home = path.join(this.folder, "home");
    this.run("init", "--gateway-host", "localhost", "--hub", HUB);
    const settings = path.join(this.home, "gateway.toml");
    let text = fs.readFileSync(settings, "utf8");
    for (const [name, usual] of [
      ["partner_api", "0.0.0.0:8443"],
      ["desk", "0.0.0.0:8444"],
      ["enrolment", "0.0.0.0:8445"],
      ["local", "127.0.0.1:8446"],
    ]) {
      text = replaced(text, `# ${name} = "${usual}"`, `${name} = "127.0.0.1:0"`);
    }
    fs.writeFileSync(settings, text);
    const officers =
      'telephone = "01632 960100"\n' +
      'contact_officer = { name = "A. Officer", telephone = "01632 960101" }\n' +
      'deputy = { name = "B. Deputy", telephone = "01632 960102" }\n';
    const entries = AGENCIES.map(
      ([id, kind, more]) =>
        `[[agency]]\nid = "${id}"\nname = "Test ${id}"\nkind = "${kind}"\nstatus = "active"\n` +
        `statutory_basis = "invented"\nendpoints = [{ kind = "mailbox" }]\n${more}${officers}`,
    );
    entries.push(
      '[[agency]]\nid = "test-surgeries"\nname = "Test surgeries"\nkind = "gp-surgery-class"\n' +
        'status = "active"\nstatutory_basis = "invented"\n',
    );
    fs.writeFileSync(path.join(this.home, "partners.toml"), entries.join("\n"));
  }

  run(...words) {
    const options = { cwd: this.folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] };
    return execFileSync(this.program, [...words, "--home", this.home], options);
  }

  async start() {
    const logged = path.join(this.folder, "gateway.log");
    const log = fs.openSync(logged, "a");
    this.process = spawn(this.program, ["serve", "--home", this.home], {
      stdio: ["ignore", "pipe", log],
    });
    const lines = readline.createInterface({ input: this.process.stdout });
    const line = await new Promise((resolve, reject) => {
      lines.once("line", resolve);
      this.process.once("exit", () => reject(new Error(fs.readFileSync(logged, "utf8"))));
    });
    const at = (door) => line.match(new RegExp(`://[^ ]*?:(\\d+) \\(${door}\\)`))[1];
    this.desk = `https://localhost:${at("desk")}`;
    this.api = `https://localhost:${at("partners")}`;
    const settings = path.join(this.home, "gateway.toml");
    const told = fs
      .readFileSync(settings, "utf8")
      .replace(/^local = .*$/m, `local = "127.0.0.1:${at("local")}"`);
    // So that commands which tell the running gateway find it.
    fs.writeFileSync(settings, told);
  }

  async stop() {
    if (!this.process) return;
    if (this.process.exitCode === null) {
      const ended = new Promise((resolve) => this.process.once("exit", resolve));
      this.process.kill("SIGTERM");
      await ended;
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** A person's certificate: the options with which their browser shows it. */
  person(agency, role) {
    const name = `${agency}.${role}.${randomUUID().slice(0, 8)}`;
    const words = path.join(this.folder, `${name}.txt`);
    this.run(
      "cert", "issue", agency, "--p12", `${name}.p12`, "--password-file", words,
      "--desk", "Wilhelmina Tarn", "--role", role, "--out", "handed-out", "--json",
    );
    const pfxPath = path.join(this.folder, `${name}.p12`);
    return { pfxPath, passphrase: fs.readFileSync(words, "utf8").trim() };
  }

  /** The certificate of an agency's system, as files. */
  system(agency) {
    const base = path.join(this.folder, agency);
    if (!fs.existsSync(`${base}.pem`)) {
      execFileSync(
        "openssl",
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
          `${base}.key`, "-out", `${base}.csr`, "-subj", "/CN=any"],
        { stdio: "ignore" },
      );
      this.run("cert", "issue", agency, "--csr", `${base}.csr`, "--out", this.folder);
    }
    return ["--cert", `${base}.pem`, "--key", `${base}.key`, "--cacert", path.join(this.folder, "ca.pem")];
  }

  /** What the partner API answers an agency's system. */
  ask(agency, route, body) {
    const words = ["--silent", "--show-error", "--fail-with-body", ...this.system(agency)];
    if (body !== undefined) {
      words.push("-H", "content-type: application/json", "-H", `idempotency-key: ${randomUUID()}`);
      words.push("--data-binary", "@-");
    }
    const input = body === undefined ? undefined : JSON.stringify(body);
    return JSON.parse(execFileSync("curl", [...words, `${this.api}${route}`], { input, encoding: "utf8" }));
  }

  /** The hub asks these agencies; the references, in their order. */
  dispatch(agencies, more = {}) {
    const recipients = agencies.map((agency) => ({ agency, why: "They may know the family." }));
    const answer = this.ask(HUB, "/v1/rfis", { recipients, rfi: { ...rfi(), ...more } });
    return answer.exchanges.map((exchange) => exchange.reference);
  }
}

function replaced(text, from, to) {
  if (!text.includes(from)) throw new Error(`gateway.toml has no line ${from}`);
  return text.replace(from, to);
}

function hours(n) {
  return `${new Date(Date.now() + n * 3_600_000).toISOString().slice(0, 19)}Z`;
}

/** A request, about nobody. */
export function rfi() {
  return {
    dateOfRequest: hours(-1),
    responseRequiredBy: hours(200),
    priority: "urgent",
    purpose: "assess-risk",
    pathway: "safeguarding",
    enquiryAuthorisation: {
      by: { name: "Imogen Fablewright", jobTitle: "Manager", role: "mash-team-manager" },
      at: hours(-2),
      why: "The account points to significant harm.",
    },
    requester: {
      name: "Oswin Quillfeather",
      jobTitle: "Health Representative",
      telephone: "+441632960017",
    },
    persons: [
      {
        personId: "p1", kind: "child", relationship: "child", familyName: "Thistlebank",
        givenName: "Wrenna", birthDate: "2017-05-09", nhsNumber: "9990000018",
        nhsNumberStatus: "number-present-and-verified",
      },
      {
        personId: "p2", kind: "parent-or-guardian", relationship: "mother",
        familyName: "Thistlebank", givenName: "Oriel",
      },
    ],
    reason: { concerns: "She sleeps in the greenhouse when it is loud at home.", levelOfRisk: "High." },
    informationRequired: { categories: ["neglect", "last-seen-at-gp", "domestic-abuse"] },
    referral: { source: "professional", parentsAware: "not-known" },
    consent: {
      child: {
        answer: "no", notObtainedReason: "too-young-or-unborn",
        explanation: "She is nine, and her grandmother speaks for her here.",
      },
      parentOrGuardian: { answer: "yes", howGiven: "verbal", copyAttached: false },
      otherFamilyContacts: { answer: "no-such-person" },
    },
    lawfulBasis: {
      codelist: "uk-2026-09", article6: "e", specialCategory: true, article9: "h",
      powers: ["children-act-1989-s47"],
    },
  };
}

/** Browsers, each of one person. */
export async function browsers() {
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
}

/** A person's window on the desk, with their certificate or without one. */
export async function visit(browser, gateway, certificate, { javaScript = true, width = 1280 } = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    javaScriptEnabled: javaScript,
    viewport: { width, height: 900 },
    clientCertificates: certificate ? [{ origin: gateway.desk, ...certificate }] : [],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  return page;
}
