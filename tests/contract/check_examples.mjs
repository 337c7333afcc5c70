// Checks the examples of the contract with ajv, which knows nothing of the gateway.
//
// A partner who validates before sending must get the verdict the gateway gives. Usage:
// npm ci && node check_examples.mjs [folder with the schemas]

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const here = dirname(fileURLToPath(import.meta.url));
const schemas = process.argv[2] ?? join(here, "..", "..", "schemas");
const examples = join(schemas, "examples");

function isNhsNumber(text) {
  if (!/^[0-9]{10}$/.test(text)) return false;
  const digits = [...text].map(Number);
  const total = digits.slice(0, 9).reduce((sum, digit, i) => sum + digit * (10 - i), 0);
  return (11 - (total % 11)) % 11 === digits[9];
}

function json(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

function compiled() {
  // Strict but for required: our conditions name properties that are defined one level out.
  const ajv = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false });
  addFormats(ajv, ["date", "date-time", "uuid"]);
  ajv.addFormat("nhs-number", { type: "string", validate: isNhsNumber });
  ajv.addVocabulary(["x-code", "x-message"]);
  const documents = readdirSync(schemas)
    .filter((name) => name.endsWith(".schema.json"))
    .map((name) => [name.split(".")[0], json(join(schemas, name))]);
  for (const [, document] of documents) ajv.addSchema(document);
  return new Map(documents.map(([kind, { $id }]) => [kind, ajv.getSchema($id)]));
}

const validators = compiled();
let passed = 0;
let failed = 0;
let skipped = 0;
function fail(message) {
  console.log(message);
  failed += 1;
}

for (const name of readdirSync(examples).sort()) {
  const [kind, , expected, last] = name.split(".");
  if (last !== "json") continue;
  let problem = null;
  if (expected === "invalid") {
    const beside = join(examples, name.replace(/json$/, "problem.json"));
    if (!existsSync(beside)) {
      fail(`${name}: its problem file is missing`);
      continue;
    }
    problem = json(beside);
    // Not JSON as the gateway reads it: nothing a schema could be asked about.
    if (problem.problem === "not-json") {
      skipped += 1;
      continue;
    }
  }
  const isValid = validators.get(kind)(json(join(examples, name)));
  // What only a rule of the gateway refuses, its schema takes.
  if (isValid === (problem === null || !problem.schemaOnly)) passed += 1;
  else fail(`${name}: ${isValid ? "valid" : "invalid"} by its schema`);
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped (not JSON)`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
