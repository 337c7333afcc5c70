// Pages work without this. With it, an error summary has the focus, and lists are kept current: each minute
// the same page is asked for again, and says when it was last true.
"use strict";
const summary = document.getElementById("errors-title");
if (summary) summary.focus();
const live = document.querySelector("[data-live]");
async function refresh() {
  if (document.hidden || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh) live.replaceChildren(...fresh.childNodes);
  } catch {
    // The list says when it was last true; the next minute asks again.
  }
}
if (live) setInterval(refresh, 60000);
