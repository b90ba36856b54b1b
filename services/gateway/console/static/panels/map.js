// Draw the catalogue as a map: where items lie by what they are, and where a user is among them.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, failed, loading, panel, picture, thumb } from "../lib/parts.js";
import { go } from "../lib/view.js";
import { ago, offered } from "../lib/words.js";

const DRAWN = 3000; // points: beyond it every n-th, the newest for sure
const PATH = 8; // last items of the history
const COLOURS = [["category", "by category"], ["freshness", "by freshness"]];
const WIDE = 150; // of the drawing, from its middle
const HIGH = 100;

/** Put the view into an element; returns what ends it. */
export function showMap(main, { user, colour, only }) {
  const chart = h("div.chart");
  const about = h("div.about");
  const side = h("div");
  main.append(h("h1", {}, "Map of the catalogue"), h("p.quiet.said", {}, `What is alike lies close together. Triangles are ${user}'s vectors, the line joins the last things ${user} chose.`),
    h("div.map", {}, h("section.panel", {}, chart, about), side));
  loading(chart, "Drawing the map …");
  draw();

  async function draw() {
    try {
      const [{ value: map }, { value: state }, { value: near }] = await Promise.all([api.call("GET", "/console/ask/map"), api.state(user).catch(unseen), api.call("GET", `/console/ask/tastes?user_id=${encodeURIComponent(user)}`).catch(unseen)]);
      if (!map.points.length) return empty(chart, "There is no map yet: no item has been encoded.");
      const points = new Map(map.points.map(([id, x, y, category, arrived]) => [id, { id, x, y, category, arrived }]));
      const path = state.history.slice(-PATH).map((entry) => points.get(entry.item_id)).filter(Boolean);
      show(points, path, near.tastes);
      const cards = await api.cards([...path.map(({ id }) => id), ...near.tastes.flatMap((taste) => taste.item_ids)]);
      fill(side, panel("How it is drawn", "Principal components of all vectors of the space that is served: the two directions along which items differ most (numpy, eigenvectors of the covariance), computed again once the catalogue has grown by a fiftieth. A user's vectors are put on the same plane.",
        h("div.chips", { role: "group", "aria-label": "Colour" }, COLOURS.map(([name, label]) => h("button.chip", { type: "button", "aria-pressed": String(name === colour), onclick: () => go({ colour: name }) }, label))),
        colour === "category" ? legend(points) : h("p.scale", {}, h("span", {}, "older"), h("i"), h("span", {}, "newer"))),
      panel(`Where ${user} is`, "The vectors of the user's state; the pictures are the items nearest to each by cosine in the whole space, not on this plane.",
        near.tastes.length ? h("dl.tastes", {}, near.tastes.map((taste) => h("div", {}, h("dt", {}, taste.name.replace("_", " ").replace(":", " "), h("small", {}, taste.label)), h("dd", {}, taste.item_ids.slice(0, 4).map((id) => thumb(cards.get(id), () => go({ why: id }), cards.get(id)?.title ?? id)))))) : h("p.quiet", {}, near.why ?? `Nothing is known of ${user} yet.`)));
    } catch (error) {
      failed(chart, error);
    }
  }

  function legend(points) {
    const hue = huesOf(points);
    const counts = new Map();
    for (const { category } of points.values()) counts.set(category, (counts.get(category) ?? 0) + 1);
    return h("ul.legend.pick", {}, [...counts].sort(([a], [b]) => a.localeCompare(b)).map(([name, n]) => h("li", {}, h("button.chip", { type: "button", "aria-pressed": String(name === only), onclick: () => go({ only: name === only ? "" : name }) }, h("i", { vars: { background: hue(name) } }), `${name || "none"} ${n}`))));
  }

  function show(points, path, tastes) {
    const all = [...points.values()].sort((a, b) => a.arrived - b.arrived);
    const step = Math.ceil(all.length / DRAWN);
    const shown = all.filter((_, index) => (all.length - 1 - index) % step === 0);
    const at = ({ x, y }) => [x * WIDE, -y * HIGH];
    const hue = huesOf(points);
    const svg = h("svg.points", { viewBox: "-156 -106 312 212", role: "img", "aria-label": `Map of ${all.length} items; ${tastes.length} vectors and ${path.length} last items of ${user}` },
      shown.map((point, index) => {
        const [cx, cy] = at(point);
        const fade = only && point.category !== only;
        return h("circle", { cx, cy, r: fade ? 0.9 : 1.7, "data-id": point.id, style: { fill: colour === "category" ? hue(point.category) : `color-mix(in oklab, var(--part-freshness) ${Math.round((100 * index) / shown.length)}%, var(--line))`, opacity: fade ? 0.25 : 0.85 } });
      }),
      path.length > 1 && h("polyline.path", { points: path.map((point) => at(point).join(",")).join(" ") }),
      path.map((point, index) => h("circle.step", { cx: at(point)[0], cy: at(point)[1], r: 2.4, style: { opacity: 0.35 + (0.65 * (index + 1)) / path.length } })),
      tastes.map((taste) => {
        const [x, y] = at(taste);
        return h("g.taste", {}, h("path", { d: `M${x},${y - 5}l4.400,7.600h-8.800z` }), h("text", { x: x + 6, y: y + 2 }, taste.name.replace("_", " ").replace(":", " ")));
      }));
    svg.addEventListener("pointermove", (event) => event.target.dataset.id && tell(points.get(event.target.dataset.id)));
    svg.addEventListener("click", (event) => event.target.dataset.id && go({ why: event.target.dataset.id }));
    fill(chart, svg);
    empty(about, "Point at an item to see it; click to ask why it is, or is not, in the list.");
  }

  async function tell(point) {
    if (about.dataset.id === point.id) return;
    about.dataset.id = point.id;
    const card = (await api.cards([point.id])).get(point.id);
    if (about.dataset.id === point.id) fill(about, h("span.thumb", {}, picture(card)), h("span", {}, h("b", {}, card.title || point.id), h("br"), h("span.quiet", {}, [card.categories.join(" · "), offered(card), `arrived ${ago(point.arrived)}`].filter(Boolean).join(" — "))));
  }
}

/** Return what gives each category a colour of its own: as far apart as so many can be. */
function huesOf(points) {
  const names = [...new Set([...points.values()].map(({ category }) => category))].sort();
  return (name) => {
    const index = names.indexOf(name);
    return `oklch(${index % 2 ? 0.58 : 0.74} 0.14 ${Math.round((360 * index) / names.length)})`;
  };
}

/** Go on without what a key does not allow to see of people. Throws any other failure. */
function unseen(error) {
  if (error.status !== 403) throw error;
  return { value: { history: [], tastes: [], why: `${error.message}.` } };
}
