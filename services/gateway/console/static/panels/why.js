// Say why an item is in a user's list, or is not: where it fell, what its score is made of.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { failed, loading, picture, sumInWords, thumb } from "../lib/parts.js";
import { fateSentence, offered, partClass, partFormula, partName, score, sourceName } from "../lib/words.js";
import { go } from "../lib/view.js";

const STAGES = [["candidates", "proposed"], ["filter", "allowed"], ["rank", "ranked"], ["arrange", "arranged"]];

/** Return the dialog; `show(user, itemId, options)` opens it. */
export function makeWhy() {
  const body = h("div.body");
  const others = h("div.others");
  const words = h("input", { type: "search", placeholder: "lamp, or an item's id", "aria-label": "Another item, by words or id", maxlength: 200 });
  const dialog = h("dialog.sheet", { "aria-label": "Why, why not" },
    h("form.ask", { onsubmit: find }, h("label", {}, "And why not … ", words), h("button", { type: "submit" }, "Find")), others, body,
    h("button.close", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "✕"));
  dialog.addEventListener("close", () => go({ why: "" }, { replace: true }));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  let asked = {};

  async function find(event) {
    event.preventDefault();
    const text = words.value.trim();
    if (!text) return;
    loading(others, "Searching …");
    try {
      const known = (await api.cards([text])).get(text);
      if (known?.title) return go({ why: text }, { replace: true });
      const { value } = await api.search({ text, k: 6 });
      const cards = await api.cards(value.items.map((item) => item.item_id));
      fill(others, value.items.length ? value.items.map((item) => thumb(cards.get(item.item_id), () => go({ why: item.item_id }, { replace: true }), `Why, or why not, ${item.title}?`)) : h("p.quiet", {}, `Nothing fits “${text}”.`));
    } catch (error) {
      failed(others, error);
    }
  }

  async function show(user, itemId, options = {}) {
    if (!dialog.isConnected) document.body.append(dialog);
    if (!dialog.open) {
      fill(others);
      dialog.showModal();
    }
    asked = { user, itemId };
    const mine = asked;
    loading(body, "Taking the score apart …");
    try {
      const [{ value }, cards] = await Promise.all([api.explain({ user_id: user, item_id: itemId, ...options }), api.cards([itemId])]);
      if (mine === asked) fill(body, explained(user, value, cards.get(itemId)));
    } catch (error) {
      if (mine === asked) failed(body, error);
    }
  }

  return { show, close: () => dialog.open && dialog.close() };
}

function explained(user, { item, fate, features, versions }, card) {
  const listed = !fate.stage;
  const fell = STAGES.findIndex(([stage]) => stage === fate.stage);
  return [
    h("div.item", {}, h("div.frame", {}, picture(card, { lazy: false })),
      h("div", {}, h("h2", {}, item.title || item.item_id), h("p.quiet", {}, [card?.categories?.join(" · "), offered(card)].filter(Boolean).join(" — ")),
        h("p.fate", { class: `fate ${listed ? "listed" : "fell"}` }, fateSentence(fate, item)), item.reason && h("p.reason", {}, item.reason))),
    h("ol.stages", { "aria-label": "The way to the list" }, STAGES.map(([stage, done], index) => {
      const kind = listed || index < fell ? "passed" : index === fell ? "stopped" : "unreached";
      const rank = stage === "rank" && fate.rank !== null ? `rank ${fate.rank + 1} of ${fate.ranked}` : stage === "arrange" && listed ? `position ${fate.position + 1}` : stage === "candidates" && kind === "passed" ? item.sources.map(sourceName).join(", ") : "";
      return h("li", { class: kind }, h("b", {}, kind === "stopped" ? stage : done), h("span", {}, kind === "stopped" ? "fell here" : rank));
    })),
    item.contributions.length ? h("table.parts", {}, h("caption", {}, `For ${user}: ${sumInWords(item.contributions, item.score)}`),
      h("thead", {}, h("tr", {}, ["part", "of the score", ""].map((name) => h("th", { scope: "col" }, name || h("span.hidden", {}, "length"))))),
      h("tbody", {}, [...item.contributions].sort((a, b) => b.value - a.value).map((part) => row(part, item.contributions)),
        h("tr.sum", {}, h("th", { scope: "row" }, "score"), h("td", {}, score(item.score)), h("td")))) : h("p.quiet", {}, "Nothing speaks for it: every part of its score is zero."),
    h("details.features", {}, h("summary", {}, "The ranker's inputs"), h("dl", {}, Object.entries(features).filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value.toFixed(3))]))),
    h("p.quiet.small", {}, `Explain, of ranking: ${versions.ranker} in space ${versions.space}${versions.snapshot ? `, snapshot ${versions.snapshot}` : ""}. A part is its weight times its input.`),
  ];
}

function row(part, all) {
  const largest = Math.max(...all.map((each) => Math.abs(each.value)), 0.001);
  return h("tr", { title: partFormula(part.name) }, h("th", { scope: "row" }, partName(part.name)), h("td", {}, score(part.value)),
    h("td", {}, h(`i.${part.value < 0 ? "taken" : partClass(part.name)}`, { style: { width: `${(100 * Math.abs(part.value)) / largest}%` } })));
}
