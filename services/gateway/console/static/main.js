// Begin: the header, the view that the address names, and what the whole page has once.

import * as api from "./lib/api.js";
import { fill, h } from "./lib/dom.js";
import { hear, onFigures } from "./lib/figures.js";
import { askForKey, keyInWords } from "./lib/key.js";
import { address, go, here, onChange } from "./lib/view.js";
import { showLab } from "./panels/lab.js";
import { showLists } from "./panels/lists.js";
import { showMap } from "./panels/map.js";
import { showOperations } from "./panels/operations.js";
import { showPlayground } from "./panels/playground.js";
import { showSearch } from "./panels/search.js";
import { makeTour } from "./panels/tour.js";
import { makeWhy } from "./panels/why.js";

const VIEWS = [
  ["lists", "Lists", showLists],
  ["lab", "New item", showLab],
  ["search", "Search", showSearch],
  ["map", "Map", showMap],
  ["playground", "Playground", showPlayground],
  ["operations", "Operations", showOperations],
];

const main = document.getElementById("main");
const nav = document.querySelector("nav");
const who = document.getElementById("who");
const why = makeWhy();
const tour = makeTour();
let about = { writable: false, replays: false, items: 0, promises: {} };
let end = () => {};
let drawn = "";
let locked = null; // why the page cannot be seen

/** Show what the address says; a view is built anew only where more than its sheet changed. */
function show(view) {
  if (locked) return;
  const { why: itemId, of, tour: step, a, b, ...rest } = view; // a, b: the playground keeps its own
  const built = JSON.stringify(rest);
  if (built !== drawn) {
    drawn = built;
    end();
    fill(main);
    const [, title, build] = VIEWS.find(([name]) => name === view.view) ?? VIEWS[0];
    document.title = `${view.view === "lists" ? `For ${view.user}` : title} · Freshet`;
    fill(nav, VIEWS.map(([name, label]) => h("a", { href: address({ view: name, why: "", of: "" }), "aria-current": name === view.view ? "page" : null }, label)), h("a.begin", { href: address({ view: "lists", why: "", of: "", tour: "1" }) }, "Tour"));
    nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    who.user.value = view.user;
    who.beside.value = view.beside;
    end = build(main, view, about) ?? (() => {});
  }
  tour(step);
  if (itemId) why.show(of || view.user, itemId);
  else why.close();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/console']");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  const to = Object.fromEntries(new URL(link.href).searchParams);
  go({ ...Object.fromEntries(Object.keys(here()).map((name) => [name, undefined])), ...to });
});
who.addEventListener("submit", (event) => {
  event.preventDefault();
  go({ user: who.user.value.trim(), beside: who.beside.value.trim(), why: "" });
});
who.beside.addEventListener("change", () => who.requestSubmit());
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, dialog")) return;
  event.preventDefault();
  who.user.select();
});

/** Say in the header what flows, and above the page what does not answer. */
onFigures(({ figures, connected }) => {
  const now = figures.at(-1);
  document.getElementById("live").textContent = now && connected ? `${now.events_per_s < 10 ? now.events_per_s.toFixed(1) : Math.round(now.events_per_s)} events/s` : "";
  const away = connected ? (now?.away ?? []) : figures.length ? ["the gateway"] : [];
  const notice = document.getElementById("notice");
  notice.hidden = !away.length;
  notice.textContent = away.length ? `${away.join(" and ").replace(/^./, (letter) => letter.toUpperCase())} ${away.length > 1 ? "do" : "does"} not answer. What is shown stays; it goes on by itself once ${away.length > 1 ? "they are" : "it is"} back.` : "";
});

/** Ask for a key in place of what is shown. problem: why the one that was shown does not do. */
function lock(problem) {
  locked = problem;
  api.onUnknownKey(() => {});
  const hadKey = api.hasKey();
  api.keepKey("");
  end();
  document.body.classList.add("locked");
  askForKey(main, hadKey && problem);
}

try {
  const { value } = await api.about();
  const may = (scope) => value.writable && value.scopes.includes(scope);
  about = { ...value, writable: may("publish"), replays: may("operate") };
  if (about.key) fill(document.getElementById("key"), keyInWords(about)).hidden = false;
} catch (error) {
  if (error.status === 401 || error.status === 403) locked = error;
}
if (locked) lock(locked);
else {
  api.onUnknownKey(lock);
  onChange(show);
  show(here());
  hear();
}
