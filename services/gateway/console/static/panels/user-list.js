// Show one user's list; what is done to it is a real event, and the list moves to what comes of it.

import * as api from "../lib/api.js";
import { fill, h, moves, say } from "../lib/dom.js";
import { failed, thumb, widestOf } from "../lib/parts.js";
import { ms } from "../lib/words.js";
import { drawCard, makeCard, movement } from "./card.js";

const AGAIN_MS = 1500; // after a failure that may pass
const ENTERS = [{ opacity: 0, transform: "scale(.94)" }, { opacity: 1, transform: "none" }];
const EASE = "cubic-bezier(.2,.8,.2,1)";
const DONE = { click: "the click", like: "the like", dislike: "the dislike", cart: "it was put in the cart" };

export class UserList {
  /** options: of the request beside the user. writable: whether events may be sent. heard: called with each new list and what led to it. why: called with an item's id. */
  constructor(user, { options = {}, writable, heard = () => {}, why, title }) {
    this.user = user;
    this.options = options;
    this.list = null;
    this.unsent = []; // events that Kafka does not have yet, oldest first
    this.heard = heard;
    this.cards = new Map();
    this.handlers = { act: writable ? (id, type) => this.act(id, type) : null, why };
    this.took = h("span.took");
    this.how = h("span.how", {}, writable ? "click a picture: it is a real event" : "read only: the page or the key has no leave to click");
    this.grid = h("ol.grid", { "aria-label": `List for ${user}` });
    this.gone = h("div.gone", {});
    this.trouble = h("div.trouble");
    this.element = h("div.user-list", {}, h("div.hero", {}, h("h1", {}, title ?? `For ${user}`), this.took, this.how), this.trouble, this.grid, this.gone);
    this.grid.addEventListener("keydown", (event) => this.arrow(event));
    for (let n = 0; n < (options.k ?? 12); n += 1) this.grid.append(h("li.card.ghost", { "aria-hidden": "true" }, h("div.frame"), h("h3"), h("p.reason"), h("span.why"), h("p.foot")));
  }

  /** Ask for the list. after: position of an event that it must hold; since: performance.now() of what led to it; type: of the event. */
  async load({ after, since, type } = {}) {
    const question = { user_id: this.user, k: 12, explain: true, trace: true, surface: "console", ...this.options };
    if (after) question.after = after;
    clearTimeout(this.again);
    try {
      const { value, timings } = await api.recommend(question);
      const tookMs = since === undefined ? null : performance.now() - since;
      const shown = await api.cards(value.items.map((item) => item.item_id));
      this.show(value, shown);
      this.say({ tookMs, type, timings });
      this.heard(value, { tookMs, timings, type, changed: this.changed });
      return true;
    } catch (error) {
      this.fail(error, () => this.load());
      return false;
    }
  }

  /** Publish what was done to an item and ask for the list that holds it. */
  async act(itemId, type) {
    const since = performance.now();
    const focused = this.cards.get(itemId)?.contains(document.activeElement);
    this.cards.get(itemId)?.classList.add("acted");
    // By its id an event counts once, however often it is sent.
    const event = { user_id: this.user, item_id: itemId, type, event_id: crypto.randomUUID() };
    if (this.list?.request_id) event.request_id = this.list.request_id;
    this.unsent.push({ event, since });
    if (this.unsent.length === 1) await this.send();
    else this.sayUnsent();
    for (const card of this.cards.values()) card.classList.remove("acted");
    if (focused && !this.grid.contains(document.activeElement)) this.grid.querySelector("button.picture")?.focus({ preventScroll: true });
  }

  /** Publish what was done, in its order, and ask for the list that holds it; what fails is kept for the next try. */
  async send() {
    clearTimeout(this.again);
    let done;
    try {
      while (this.unsent.length) {
        const { event, since } = this.unsent[0];
        const { position, timings } = await api.publish(event);
        this.kafkaMs = timings.kafka;
        done = { after: position, since, type: event.type };
        this.unsent.shift();
      }
      await this.load(done);
    } catch (error) {
      if (!error.passes) this.unsent.shift(); // it never will be taken
      this.fail(error, () => this.send());
      if (!error.passes && this.unsent.length) this.again = setTimeout(() => this.send(), AGAIN_MS);
      this.sayUnsent();
    }
  }

  /** Say which clicks did not count yet. */
  sayUnsent() {
    if (!this.trouble.firstChild || !this.unsent.length) return;
    this.trouble.querySelector(".unsent")?.remove();
    this.trouble.append(h("p.quiet.unsent", {}, this.unsent.length === 1 ? "What you did has shown no effect yet: it is kept, sent again until it arrives, and counts once." : `${this.unsent.length} clicks have shown no effect yet: they are kept, sent again until they arrive, and count once each.`));
  }

  show(list, shown) {
    const before = this.list && new Map(this.list.items.map((item, rank) => [item.item_id, rank]));
    const now = list.items.map((item) => item.item_id);
    const left = before ? this.list.items.filter((item) => !now.includes(item.item_id)) : [];
    this.changed = !before || left.length > 0 || now.some((id, rank) => before.get(id) !== rank);
    const at = new Map([...this.cards].map(([id, card]) => [id, card.getBoundingClientRect()]));
    const widest = widestOf(list.items);
    const cards = list.items.map((item, rank) => {
      const card = this.cards.get(item.item_id) ?? makeCard(item, this.handlers);
      drawCard(card, item, shown.get(item.item_id), { rank, widest, moved: before && movement(before.get(item.item_id), rank) });
      return card;
    });
    const focused = document.activeElement;
    fill(this.grid, cards);
    if (this.grid.contains(focused)) focused.focus({ preventScroll: true });
    this.cards = new Map(now.map((id, rank) => [id, cards[rank]]));
    this.list = list;
    if (!list.items.length) this.again = setTimeout(() => this.load(), AGAIN_MS); // a shop that opens fills
    fill(this.trouble, list.items.length ? null : h("p.quiet", {}, "There is nothing to list yet: the shop has no items, or filters let none through. `freshet demo` fills a shop."));
    fill(this.gone, left.length ? [h("span", {}, "gone:"), left.map((item) => thumb({ ...item, ...(this.looks?.get(item.item_id) ?? {}) }, () => this.handlers.why(item.item_id), `${item.title || item.item_id} left the list: why?`))] : null);
    this.looks = shown;
    if (before && moves()) this.animate(cards, at);
  }

  /** Let each card move from where it was; new ones appear. */
  animate(cards, at) {
    for (const [index, card] of cards.entries()) {
      const from = at.get(card.dataset.id);
      const to = card.getBoundingClientRect();
      const frames = from ? [{ transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` }, { transform: "none" }] : ENTERS;
      if (!from || from.left !== to.left || from.top !== to.top) card.animate(frames, { duration: 420, delay: from ? 0 : 120 + index * 12, easing: EASE, fill: "backwards" });
    }
  }

  say({ tookMs, type, timings }) {
    if (tookMs === null) {
      this.took.textContent = "";
      return;
    }
    const what = this.changed ? "list changed" : "same list";
    this.took.textContent = `${what} ${ms(tookMs)} after ${DONE[type] ?? "the event"}`;
    this.took.title = `Kafka acknowledged in ${ms(this.kafkaMs ?? 0)}; the list that holds the event took ${ms(timings.total ?? 0)} at the gateway; the rest is the browser and the way`;
    if (moves()) this.took.animate([{ transform: "scale(1.06)" }, { transform: "none" }], { duration: 300 });
    say(`${what}, ${ms(tookMs)} after ${DONE[type] ?? "the event"}`);
  }

  fail(error, again) {
    failed(this.trouble, error);
    if (!this.list) this.grid.querySelectorAll(".ghost").forEach((ghost) => ghost.classList.add("still"));
    if (!error.passes) return;
    this.trouble.append(h("p.quiet", {}, this.list ? "What is shown is the list as it was; the next try follows by itself." : "The next try follows by itself."));
    this.again = setTimeout(again, AGAIN_MS);
  }

  /** Move between cards by arrows. */
  arrow(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns(), ArrowUp: -this.columns() };
    const step = steps[event.key];
    const card = event.target.closest(".card");
    if (!step || !card) return;
    const all = [...this.grid.children];
    all[all.indexOf(card) + step]?.querySelector(".picture")?.focus();
    event.preventDefault();
  }

  columns() {
    return getComputedStyle(this.grid).gridTemplateColumns.split(" ").length;
  }

  close() {
    clearTimeout(this.again);
  }
}
