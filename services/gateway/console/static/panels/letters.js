// Show what could not be processed and why; publish it again, once that is mended.

import * as api from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { onFigures } from "../lib/figures.js";
import { empty, failed, loading, panel } from "../lib/parts.js";
import { ago, count } from "../lib/words.js";

const AGAIN_MS = 3000; // after a failure that may pass
const SINCE = [["", "at any time"], ["15", "in the last 15 minutes"], ["60", "in the last hour"], ["1440", "in the last day"]];
const COLUMNS = ["when", "topic", "reason", "in words", "record", "of", "again"];
const records = (n) => (n === 1 ? "1 record" : `${count(n)} records`);

/** Return the panel's element and what ends it. writable: whether it may publish. */
export function makeLetters({ writable }) {
  const topic = select("Topic", "every topic");
  const reason = select("Reason", "every reason");
  const since = h("select", { "aria-label": "When" }, SINCE.map(([minutes, words]) => h("option", { value: minutes }, words)));
  const id = h("input", { type: "search", "aria-label": "User, item or key", placeholder: "user, item or key", maxlength: 128, autocomplete: "off", spellcheck: "false" });
  const filters = h("form.filters", { onchange: () => { fill(outcome); read(); }, onsubmit: (event) => event.preventDefault() }, topic, reason, since, id);
  const body = h("div");
  const outcome = h("p.outcome", { role: "status" });
  const element = panel("Dead letters", "The newest of the topic dead-letters: records that no retry can mend, with the reason. Of the newest 2,000 those are shown that the filters mean. Publishing again sends the originals once more, each where it was read, as `freshet dead-letters --replay` does.", filters, outcome, body);
  let asked = {};
  let counted = null;
  let again;
  let reading = 0;

  async function read() {
    clearTimeout(again);
    const number = (reading += 1);
    asked = {
      ...(topic.value && { topic: [topic.value] }),
      ...(reason.value && { error: [reason.value] }),
      ...(id.value.trim() && { id: [id.value.trim()] }),
      ...(since.value && { since_ms: Date.now() - 60_000 * Number(since.value) }),
    };
    if (!body.firstChild) loading(body, "Reading the topic …");
    try {
      const { value } = await api.call("GET", `/console/ask/letters?${new URLSearchParams(Object.entries(asked).flatMap(([name, values]) => [values].flat().map((one) => [name, one])))}`);
      if (number === reading) draw(value);
    } catch (error) {
      if (number !== reading) return;
      failed(body, error);
      if (!error.passes) return;
      body.append(h("p.quiet", {}, "The next try follows by itself."));
      again = setTimeout(read, AGAIN_MS);
    }
  }

  function draw({ letters, total, waiting }) {
    offer(topic, letters.map((each) => each.topic));
    offer(reason, letters.map((each) => each.error_class));
    if (!total) return empty(body, Object.keys(asked).length ? "None that these filters mean." : "None: everything that was published could be processed.");
    const rows = letters.map((each) => h("tr", {}, h("td", {}, ago(each.failed_ms)), h("td", {}, each.topic), h("td", {}, each.error_class), h("td.wide", {}, each.error), h("td", {}, h("code", {}, each.origin)), h("td", {}, each.key), h("td", {}, each.waits ? "waits" : each.stuck ? h("span", { title: each.stuck }, "cannot be") : "published")));
    const button = writable && waiting > 0 && h("button.button", { type: "button", onclick: () => confirm(waiting) }, `Publish ${waiting === 1 ? "this one" : `these ${count(waiting)}`} again …`);
    fill(body, h("div.summary", {}, h("p.quiet", {}, `${records(total)}${letters.length < total ? `, the newest ${letters.length} shown` : ""}; ${waiting ? `${count(waiting)} not published again yet` : "none waits to be published again"}.`), button),
      h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Dead letters" }, h("table.letters", {}, h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))));
  }

  /** Ask whether so many are to be published again. */
  function confirm(waiting) {
    const meant = asked;
    const dialog = h("dialog.confirm", { "aria-label": "Publish again" },
      h("h2", {}, `Publish ${records(waiting)} again?`),
      h("p", {}, "Each goes to the topic that it was read from, and counts as of when it first stood there. What fails again comes back here."),
      h("div.buttons", {},
        h("button.button", { type: "button", onclick: () => { dialog.close(); replay(meant, waiting); } }, `Publish ${count(waiting)}`),
        h("button.button.second", { type: "button", onclick: () => dialog.close() }, "Leave them")));
    dialog.addEventListener("close", () => dialog.remove());
    element.append(dialog);
    dialog.showModal();
  }

  async function replay(meant, confirmed) {
    loading(outcome, `Publishing ${records(confirmed)} again …`);
    body.querySelector("button")?.setAttribute("disabled", "");
    try {
      const { value } = await api.call("POST", "/console/ask/replay", { ...meant, confirmed });
      fill(outcome, h("b", {}, `${records(value.replayed)} published again.`));
      say(`${records(value.replayed)} published again`);
    } catch (error) {
      failed(outcome, error);
    }
    read();
  }

  read();
  const unheard = onFigures(({ figures }) => {
    const now = JSON.stringify(figures.at(-1)?.dead_letters);
    if (now !== undefined && counted !== null && now !== counted) read();
    counted = now ?? counted;
  });
  return { element, end: () => { unheard(); clearTimeout(again); } };
}

const select = (label, every) => h("select", { "aria-label": label }, h("option", { value: "" }, every));

/** Add what can be chosen to a select; what was once there stays. */
function offer(element, values) {
  const known = new Set([...element.options].map((each) => each.value));
  for (const value of new Set(values)) if (!known.has(value)) element.append(h("option", { value }, value));
}
