// Show what is kept of a user: history, dislikes and what interests lie near, as pictures.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, failed, loading, panel, thumb } from "../lib/parts.js";
import { ago } from "../lib/words.js";

const MARKS = { like: "♥", dislike: "✕", hide: "✕", cart: "+", purchase: "✓", rate: "★", share: "↗" };
const SHOWN = 12; // of a history, the newest
const VECTORS = [["session", "this visit"], ["interest", "interest"], ["long_term", "long term"]];

/** Return the panel; `load()` asks for the state anew. why: called with an item's id. */
export function makeState(user, { why }) {
  const body = h("div");
  const element = panel(`What ${user} did`, "GET /v1/users/{id}: the history, newest first, and the vectors in Redis. Beside each vector are the items of the catalogue nearest to it (cosine).", body);
  loading(body, "Looking it up …");

  async function load(after = "") {
    try {
      const { value } = await api.state(after ? `${user}` : user);
      if (!value.known) return empty(body, `Nothing is known of ${user} yet: the list is what is trending and new.`);
      const newest = value.history.slice(-SHOWN).reverse();
      const disliked = value.disliked.slice(-6).reverse();
      const { value: near } = await api.call("GET", `/console/ask/tastes?user_id=${encodeURIComponent(user)}`);
      const ids = [...newest.map((entry) => entry.item_id), ...disliked, ...near.tastes.flatMap((taste) => taste.item_ids)];
      const cards = await api.cards(ids);
      fill(body,
        h("div.thumbs", { "aria-label": "History, newest first" }, newest.map((entry) => thumb(cards.get(entry.item_id), () => why(entry.item_id), `${entry.type} ${ago(entry.time_ms)}: ${entry.title || entry.item_id}. Why not again?`, MARKS[entry.type]))),
        near.tastes.length ? h("dl.tastes", {}, near.tastes.map((taste) => h("div", {}, h("dt", {}, nameOf(taste.name), h("small", {}, taste.label)), h("dd", {}, taste.item_ids.slice(0, 4).map((id) => thumb(cards.get(id), () => why(id), `Near ${nameOf(taste.name)}: ${cards.get(id)?.title ?? id}`)))))) : null,
        disliked.length ? [h("h3", {}, "Dislikes"), h("div.thumbs.dim", {}, disliked.map((id) => thumb(cards.get(id), () => why(id), `Disliked: ${cards.get(id)?.title ?? id}`, "✕")))] : null,
        h("p.quiet.small", {}, `${value.history.length} events kept, ${value.purchased.length} bought, ${value.interests.length} interests`),
      );
    } catch (error) {
      failed(body, error);
    }
  }
  return { element, load };
}

function nameOf(name) {
  const [kind, number] = name.split(":");
  const words = Object.fromEntries(VECTORS)[kind] ?? kind;
  return number ? `${words} ${number}` : words;
}
