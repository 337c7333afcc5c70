// What every page is held to while people go through the desk: what axe says of it, wide and narrow, and that
// nothing has to be scrolled sideways. Counts what held, and takes pictures where it is asked to.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const WIDTHS = [1280, 320];
// Of whose narrow form there is a picture too.
const NARROW = ["requests", "request details", "reply category", "board", "write tasks", "write person", "agencies"];

const [given, option, pictures] = process.argv.slice(2);
if (!given || (option && (option !== "--screenshots" || !pictures))) {
  console.error(`usage: node ${path.basename(process.argv[1])} PROGRAM [--screenshots DIR]`);
  process.exit(2);
}
/** The gateway's program. */
export const program = given;
const results = { passed: 0, failed: 0 };
const pictured = new Set();

/** Whether something holds, counted and said. */
export function check(what, holds, otherwise = "") {
  results[holds ? "passed" : "failed"] += 1;
  console.log(`${holds ? "ok  " : "FAIL"} ${what}${holds ? "" : `: ${otherwise}`}`);
}

/** Holds the page as it is now to what every page promises. Its name is for the reader, and the picture's. */
export async function hold(page, name) {
  // With its stylesheet: without one, links stand closer than a finger is wide.
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
    // Of a form that was sent empty, what matters stands in words.
    if (pictures && !name.endsWith(" sent empty") && !isPictured && (width === WIDTHS[0] || NARROW.includes(name))) {
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

/** Says how much held, and ends. */
export function finish() {
  console.log(`${results.passed} passed, ${results.failed} failed`);
  process.exit(results.failed ? 1 : 0);
}
