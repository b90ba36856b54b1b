// Add an item and watch it arrive: its picture encoded, its neighbours, whose list it enters, its end.

import * as api from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { base64, dropZone } from "../lib/drop.js";
import { empty, failed, loading, panel, thumb } from "../lib/parts.js";
import { go } from "../lib/view.js";
import { ms } from "../lib/words.js";

const NEIGHBOURS = 5;
const LOOKED_AT = 3; // neighbours that the visitor clicks
const SHOWN = 12; // of a list
const DEEP = 100; // where an item is looked for that is not at the top
const TOP_WITHIN_MS = 2_000;
const WITHIN_MS = 30_000;
const PAUSE_MS = 20; // between questions

/** Put the view into an element; returns what ends it. */
export function showLab(main, { user }, { writable }) {
  let picture = null;
  let near = null;
  let itemId = "";
  let ended = false;
  const why = (id) => go({ why: id });
  const trouble = h("div.trouble");
  const zone = dropZone({ label: "A picture of the new item", taken: encode, refused: (error) => failed(trouble, error) });
  const neighbours = h("div");
  const title = h("input", { name: "title", required: true, maxlength: 120, placeholder: "Hand-thrown mug in moss" });
  const category = h("input", { name: "category", maxlength: 60, placeholder: "Kitchen" });
  const price = h("input", { name: "price", type: "number", min: 0, step: "0.01", placeholder: "18.00" });
  const add = h("button.button", { type: "submit", disabled: true }, "Add to the shop");
  const remove = h("button.button.second", { type: "button", onclick: withdraw, hidden: true }, "Delete it again");
  const form = h("form.fields", { onsubmit: (event) => (event.preventDefault(), publish()) },
    h("label", {}, "Title", title), h("label", {}, "Category", category), h("label", {}, "Price in euros", price), h("div.buttons", {}, add, remove));
  const arrival = h("ol.arrival", { "aria-live": "polite" });
  const hint = h("p.quiet", {}, "Where it appears, and after how long, stands here once it is added.");

  main.append(h("h1", {}, "New item"), h("p.quiet.said", {}, "A picture nobody has seen: watch it being understood, and turn up where it belongs."), trouble,
    h("div.lab", {},
      panel("1 · Its picture", "The picture goes to Similar, which lets embedding encode it (CNN) and looks for the nearest vectors in the served index. Nothing is published by that.", zone.element, neighbours),
      panel("2 · The item", "PUT /v1/items/{id}: the item and its picture go to Kafka, embedding encodes both and publishes the vector, ranking takes it in. DELETE takes it away.", writable ? form : h("p.quiet", {}, "Read only: the page or the key has no leave to add items.")),
      panel("3 · Who gets it", `Asked again and again from here until it is there: similar items of it, then the lists of ${user} and of a visitor who has just clicked ${LOOKED_AT} of its neighbours.`, hint, arrival)));
  empty(neighbours, "Its nearest neighbours stand here once there is a picture.");

  async function encode(file) {
    picture = file;
    fill(trouble);
    loading(neighbours, "Encoding and comparing …");
    const since = performance.now();
    try {
      const { value } = await api.call("POST", `/v1/similar?k=${NEIGHBOURS}&by=visual`, file, { type: file.type });
      const tookMs = performance.now() - since;
      near = value.items.map((item) => item.item_id);
      const cards = await api.cards(near);
      fill(neighbours, h("p.done", {}, `Encoded and compared in ${ms(tookMs)}. Nearest:`), h("div.thumbs.large", {}, value.items.map((item) => h("figure", {}, thumb(cards.get(item.item_id), () => why(item.item_id), `${item.title}: why?`), h("figcaption", {}, item.score.toFixed(2))))));
      if (!category.value) category.value = cards.get(near[0])?.categories[0] ?? "";
      add.disabled = false;
      say("Neighbours of the picture are there");
    } catch (error) {
      near = null;
      failed(neighbours, error);
    }
  }

  async function publish() {
    add.disabled = true;
    itemId = `console-${Date.now().toString(36)}`;
    const visitor = `visitor-${itemId}`;
    fill(trouble);
    fill(arrival);
    try {
      await Promise.all(near.slice(0, LOOKED_AT).map((id) => api.publish({ user_id: visitor, item_id: id, type: "click" })));
      const item = { title: title.value.trim(), image_bytes: await base64(picture), created_ms: Date.now() };
      if (category.value.trim()) item.categories = [category.value.trim()];
      if (price.value) Object.assign(item, { price: Number(price.value), currency: "EUR" });
      const since = performance.now();
      await api.putItem(itemId, item);
      step(`Published after ${ms(performance.now() - since)}`);
      await until(() => api.similar({ item_id: itemId, k: 1 }).then(() => true, unknown));
      step(`Encoded and in the index after ${ms(performance.now() - since)}`);
      remove.hidden = false;
      await Promise.all([appears(visitor, "a visitor who looked at its neighbours", since), appears(user, user, since)]);
    } catch (error) {
      failed(trouble, error);
      add.disabled = false;
    }
  }

  /** Show where the item stands in somebody's list; it has some time to come to the top. */
  async function appears(who, name, since) {
    const ask = (k) => async () => {
      const { value } = await api.recommend({ user_id: who, k });
      const at = value.items.findIndex((item) => item.item_id === itemId);
      return at < 0 ? null : { at, items: value.items.slice(0, SHOWN) };
    };
    const found = (await until(ask(SHOWN), TOP_WITHIN_MS).catch(() => null)) ?? (await ask(DEEP)());
    if (!found) return step(`Not among the first ${DEEP} for ${name}: it is not to their taste`);
    const cards = await api.cards(found.items.map((item) => item.item_id));
    step(`Position ${found.at + 1} for ${name}, ${ms(performance.now() - since)} after it was added`,
      h("div.thumbs", {}, found.items.map((item) => {
        const small = thumb(cards.get(item.item_id), () => go({ why: item.item_id, of: who }), item.title || item.item_id);
        if (item.item_id === itemId) small.classList.add("mine");
        return small;
      })));
  }

  async function withdraw() {
    remove.disabled = true;
    const since = performance.now();
    try {
      await api.deleteItem(itemId);
      await until(() => api.similar({ item_id: itemId, k: 1 }).then(() => false, (error) => error.status === 404 || unknown(error)));
      step(`Gone from every list ${ms(performance.now() - since)} after the delete`);
      api.forgetCard(itemId);
      remove.hidden = true;
      add.disabled = false;
    } catch (error) {
      failed(trouble, error);
    }
    remove.disabled = false;
  }

  function step(text, ...more) {
    hint.hidden = true;
    arrival.append(h("li", {}, h("b", {}, text), more));
  }

  /** Ask until the answer is true. Throws where it is not in time, or whatever asking throws. */
  async function until(ask, withinMs = WITHIN_MS) {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const answer = await ask();
      if (answer) return answer;
      if (ended || performance.now() > deadline) throw new Error(`nothing of it to be seen within ${withinMs / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  return () => {
    ended = true;
    zone.close();
  };
}

/** Say of a failure that the item is not known yet: false. Throws any other. */
function unknown(error) {
  if (error.status === 404) return false;
  throw error;
}
