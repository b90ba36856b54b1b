// Search by words or by a picture, and say what matched.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { dropZone } from "../lib/drop.js";
import { failed, loading, widestOf } from "../lib/parts.js";
import { go } from "../lib/view.js";
import { ms } from "../lib/words.js";
import { drawCard, makeCard } from "./card.js";

const K = 12;
const EXAMPLES = ["a warm lamp", "something for rainy days", "mustard and dots", "to sit and read"];

/** Return the results of a question as cards; each opens its why. */
export async function resultCards(list) {
  const shown = await api.cards(list.items.map((item) => item.item_id));
  const widest = widestOf(list.items);
  return list.items.map((item, rank) => {
    const card = makeCard(item, { act: null, why: (id) => go({ why: id }) });
    drawCard(card, item, shown.get(item.item_id), { rank, moved: null, widest });
    return card;
  });
}

/** Put the view into an element; returns what ends it. */
export function showSearch(main, { words }) {
  const input = h("input", { type: "search", name: "words", value: words, placeholder: "What are you looking for?", maxlength: 500, "aria-label": "Search by words" });
  const form = h("form.search", { role: "search", onsubmit: (event) => (event.preventDefault(), go({ words: input.value.trim() })) }, input, h("button.button", { type: "submit" }, "Search"));
  const said = h("p.quiet.said", { role: "status" });
  const trouble = h("div.trouble");
  const results = h("ol.grid", { "aria-label": "Results" });
  const zone = dropZone({ label: "Search by a picture", taken: byPicture, refused: (error) => failed(trouble, error) });
  main.append(h("h1", {}, "Search"), h("div.search-by", {}, h("div", {}, form, h("p.examples", {}, EXAMPLES.map((text) => h("button.chip", { type: "button", onclick: () => go({ words: text }) }, text)))), zone.element), said, trouble, results);
  if (words) show(`“${words}”`, api.search({ text: words, k: K }));
  else {
    said.textContent = "Words are compared by what they mean (text encoder) and by themselves (BM25-like); a picture by what it looks like.";
    input.focus({ preventScroll: true });
  }

  function byPicture(file) {
    show("your picture", api.call("POST", `/v1/search?k=${K}`, file, { type: file.type }));
  }

  async function show(what, asked) {
    const since = performance.now();
    loading(said, `Searching for ${what} …`);
    fill(trouble);
    try {
      const { value } = await asked;
      const tookMs = performance.now() - since;
      fill(results, await resultCards(value));
      said.textContent = value.items.length ? `${value.items.length} best for ${what}, in ${ms(tookMs)}. The bar says what matched: likeness of content, and words.` : `Nothing fits ${what}: no item shares its words or its meaning.`;
    } catch (error) {
      fill(said);
      failed(trouble, error);
    }
  }
  return zone.close;
}
