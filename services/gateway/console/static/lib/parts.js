// Draw what several panels have: a picture, a bar of contributions, a panel with its "i".

import { pictureOf, showPicture } from "./api.js";
import { fill, h } from "./dom.js";
import { partClass, partName, score } from "./words.js";

/** Return an item's picture, square and never distorted; where none is kept a tile with its letter, which says if it has one elsewhere. */
export function picture(card, { alt = "", lazy = true } = {}) {
  const source = pictureOf(card);
  const tile = () => h("span.tile", { "aria-hidden": "true" }, (card?.title || card?.item_id || "?")[0].toUpperCase(), card?.elsewhere && h("small", {}, "picture at its address"));
  if (!source) return tile();
  const image = h("img", { alt, width: 256, height: 256, decoding: "async", loading: lazy ? "lazy" : null, onerror: () => image.replaceWith(tile()) });
  showPicture(image, source).catch(() => image.replaceWith(tile()));
  return image;
}

/** Return a button with an item's picture, small, that does something with it. */
export const thumb = (card, onclick, label, mark) =>
  h("button.thumb", { type: "button", onclick, title: label, "aria-label": label, "data-id": card.item_id }, picture(card, { lazy: false }), mark && h("span.mark", { "aria-hidden": "true" }, mark));

/** Return contributions in words, with their sum. */
export const sumInWords = (contributions, total) =>
  `${contributions.map((part, index) => `${part.value < 0 ? " − " : index ? " + " : ""}${partName(part.name)} ${score(Math.abs(part.value))}`).join("").trim()} = ${score(total)}`;

/** Return a stacked bar of contributions; `widest`: the largest sum of positive parts beside it. */
export function bar(contributions, widest) {
  const adding = contributions.filter((part) => part.value > 0);
  const taking = contributions.filter((part) => part.value < 0);
  const sum = (parts) => parts.reduce((total, part) => total + Math.abs(part.value), 0);
  const stack = h("span.stack", { style: { width: `${(100 * sum(adding)) / (widest || 1)}%` } });
  for (const part of adding) stack.append(h(`i.${partClass(part.name)}`, { style: { flexGrow: part.value } }));
  if (taking.length) stack.append(h("i.taken", { style: { width: `${Math.min(100, (100 * sum(taking)) / (sum(adding) || 1))}%` } }));
  return h("span.bar", { "aria-hidden": "true" }, stack);
}

/** Return the largest sum of positive parts of a list, which bars are as long as. */
export const widestOf = (items) =>
  Math.max(0.01, ...items.map((item) => item.contributions.reduce((sum, part) => sum + Math.max(0, part.value), 0)));

/** Return a panel: heading, an "i" that says where it comes from, what it holds. */
export function panel(title, source, ...children) {
  const info = h("details.info", {}, h("summary", { "aria-label": `What ${title} is made from`, title: "Where this comes from" }, "i"), h("p", {}, source));
  return h("section.panel", {}, h("div.head", {}, h("h2", {}, title), info), children);
}

/** Show in an element that something is asked for, is not there, or failed. */
export const loading = (element, text) => fill(element, h("p.quiet.waiting", {}, text));
export const empty = (element, text) => fill(element, h("p.quiet", {}, text));
export const failed = (element, problem) => fill(element, h("p.failed", { role: "alert" }, `${problem.message[0].toUpperCase()}${problem.message.slice(1)}.`));
