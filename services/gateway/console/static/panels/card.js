// Draw one item of a list: the picture is what one clicks, everything else says why it is there.

import { fill, h } from "../lib/dom.js";
import { bar, picture, sumInWords } from "../lib/parts.js";
import { offered, partClass, partOfReason, score } from "../lib/words.js";

const MOVES = { up: (by) => `▲ ${by}`, down: (by) => `▼ ${by}`, same: () => "=", new: () => "new" };

/** Return how an item moved: of its rank before (undefined: it was not there) and now. */
export function movement(before, now) {
  if (before === undefined) return { kind: "new", by: 0 };
  const by = before - now;
  return { kind: by > 0 ? "up" : by < 0 ? "down" : "same", by: Math.abs(by) };
}

/** Return an empty card; `draw` fills it, again and again. act: called with item and event type; why: with the item. */
export function makeCard(item, { act, why }) {
  const card = h("li.card", { "data-id": item.item_id });
  const of = (type) => () => act(item.item_id, type);
  const keys = { l: "like", x: "dislike", c: "cart" };
  card.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "w") why(item.item_id);
    else if (act && keys[event.key]) act(item.item_id, keys[event.key]);
    else return;
    event.preventDefault();
  });
  card.parts = {
    rank: h("b.rank"),
    move: h("span.move"),
    open: h("button.picture", { type: "button", onclick: act ? of("click") : () => why(item.item_id) }),
    title: h("h3"),
    reason: h("p.reason"),
    bar: h("button.why", { type: "button", onclick: () => why(item.item_id) }),
    score: h("b"),
    price: h("span"),
    like: act && h("button", { type: "button", onclick: of("like"), title: "Like (l)" }, "♥"),
    dislike: act && h("button", { type: "button", onclick: of("dislike"), title: "Dislike (x)" }, "✕"),
  };
  const parts = card.parts;
  card.append(
    h("div.frame", {}, parts.open, parts.rank, parts.move, act && h("div.acts", {}, parts.like, parts.dislike)),
    parts.title,
    parts.reason,
    parts.bar,
    h("p.foot", {}, parts.score, parts.price),
  );
  return card;
}

/** Draw an item as it stands now. moved: as of `movement`, null without a list before. */
export function drawCard(card, item, shown, { rank, moved, widest }) {
  const parts = card.parts;
  const title = item.title || shown?.title || item.item_id;
  parts.rank.textContent = rank + 1;
  parts.move.className = `move ${moved?.kind ?? ""}`;
  parts.move.textContent = moved ? MOVES[moved.kind](moved.by) : "";
  if (parts.open.dataset.shown !== (shown?.picture ?? "")) {
    parts.open.dataset.shown = shown?.picture ?? "";
    fill(parts.open, picture(shown, { lazy: rank > 11 }));
  }
  parts.open.setAttribute("aria-label", `${parts.like ? "Click" : "Why"} ${title}`);
  parts.like?.setAttribute("aria-label", `Like ${title}`);
  parts.dislike?.setAttribute("aria-label", `Dislike ${title}`);
  parts.title.textContent = title;
  fill(parts.reason, h(`i.dot.${partClass(partOfReason(item.reason))}`), item.reason);
  parts.reason.title = item.reason;
  fill(parts.bar, bar(item.contributions, widest));
  parts.bar.setAttribute("aria-label", `Why ${title}: ${sumInWords(item.contributions, item.score)}`);
  parts.bar.title = sumInWords(item.contributions, item.score);
  parts.score.textContent = score(item.score);
  parts.price.textContent = offered(shown);
}
