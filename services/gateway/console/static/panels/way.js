// Show how a list was made: candidates by source, what filters took away, what was ranked and listed.

import { fill, h } from "../lib/dom.js";
import { empty, panel } from "../lib/parts.js";
import { count, filterName, ms, partClass, sourceName } from "../lib/words.js";

const SOURCE_PART = { nearest: "interests", new: "freshness", filter: "rule" };

/** Return the panel; `show(list)` fills it. */
export function makeWay() {
  const body = h("div");
  const element = panel("How this list was made", "The trace of this very list (Recommend with trace): what each source proposed, what each filter removed of what the steps before left, and how long each stage took in ranking.", body);
  empty(body, "As soon as a list is there.");
  return { element, show: (list) => fill(body, drawn(list)) };
}

function drawn(list) {
  const stage = Object.fromEntries(list.trace.map((each) => [each.stage, each]));
  const total = list.trace.reduce((sum, each) => sum + each.ms, 0);
  const sources = (stage.candidates?.steps ?? []).filter((step) => step.added).sort((a, b) => b.added - a.added);
  const most = Math.max(1, ...sources.map((step) => step.added));
  const removed = ["filter", "arrange"].flatMap((name) => stage[name]?.steps ?? []).filter((step) => step.removed);
  const added = (stage.filter?.steps ?? []).filter((step) => step.added);
  return [
    h("ul.sources", { "aria-label": "Candidates by source" }, sources.map((step) => h("li", {}, h(`i.${partClass(SOURCE_PART[step.name] ?? step.name)}`, { style: { width: `${(100 * step.added) / most}%` } }), h("span", {}, sourceName(step.name)), h("b", {}, count(step.added))))),
    h("ul.removed", {}, removed.map((step) => h("li", {}, h("span", {}, filterName(step.name)), h("b", {}, `−${count(step.removed)}`))), added.map((step) => h("li", {}, h("span", {}, sourceName(step.name)), h("b", {}, `+${count(step.added)}`)))),
    h("p.sum", {}, h("span", {}, `ranked ${count(stage.rank?.candidates ?? 0)}`), h("span", {}, `listed ${count(list.items.length)}`)),
    h("div.times", { role: "img", "aria-label": list.trace.map((each) => `${each.stage} ${ms(each.ms)}`).join(", ") }, list.trace.map((each) => h("i", { title: `${each.stage} ${ms(each.ms)}`, style: { flexGrow: Math.max(each.ms, total / 200) }, class: `stage-${each.stage}` }))),
    h("dl.stage-ms", {}, list.trace.map((each) => h("div", {}, h("dt", {}, h(`i.stage-${each.stage}`), each.stage), h("dd", {}, ms(each.ms)))), h("div.total", {}, h("dt", {}, "in ranking"), h("dd", {}, ms(total)))),
    h("p", { class: list.degraded.length ? "failed" : "quiet small" }, list.degraded.length ? `Degraded: left out ${list.degraded.join(", ")}.` : "Nothing had to be left out."),
  ];
}
