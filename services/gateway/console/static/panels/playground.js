// Try what a request may ask for: one user, list A beside list B, and how to ask the same from elsewhere.

import * as api from "../lib/api.js";
import { h, fill, say } from "../lib/dom.js";
import { go } from "../lib/view.js";
import { UserList } from "./user-list.js";

const K = 9;
const AFTER_MS = 250; // of the last change of a control
const SEEN = [["", "leave out what was seen or bought"], ["exclude_purchases", "leave out what was bought"], ["include", "leave out nothing"]];
const OPEN = { diversity: "", seen: "", boost: "", factor: "2", cap: "", none: "", any: "", min: "", max: "" };

/** Return the question that controls make: only what they change. */
export function questionOf(user, set) {
  const list = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);
  const question = { user_id: user, k: K };
  if (set.diversity !== "") question.diversity = Number(set.diversity);
  if (set.seen) question.seen = set.seen;
  const filters = {};
  if (set.any) filters.categories_any = list(set.any);
  if (set.none) filters.categories_none = list(set.none);
  if (set.min !== "" || set.max !== "") filters.price = { ...(set.min !== "" && { min: Number(set.min) }), ...(set.max !== "" && { max: Number(set.max) }) };
  if (Object.keys(filters).length) question.filters = filters;
  const rules = {};
  if (set.boost) rules.boosts = [{ match: { categories_any: list(set.boost) }, factor: Number(set.factor), name: "playground" }];
  if (set.cap) rules.caps = [{ at_most: Number(set.cap) }];
  if (Object.keys(rules).length) question.rules = rules;
  return question;
}

/** Ways to ask the same from elsewhere, by name; each returns text to paste. */
const COPIES = {
  grpcurl: (question, { ranking }) => {
    const message = question.seen ? { ...question, seen: `SEEN_POLICY_${question.seen.toUpperCase()}` } : question;
    return `grpcurl -plaintext -d ${quoted(JSON.stringify(message))} ${ranking} freshet.v1.Recommender/Recommend`;
  },
  Python: ({ user_id: user, k, diversity, seen, filters, rules }, { ranking }) => {
    const given = [JSON.stringify(user), `k=${k}`];
    if (diversity !== undefined) given.push(`diversity=${diversity}`);
    if (seen) given.push(`seen=freshet.Seen.${seen.toUpperCase()}`);
    if (filters) given.push(`filters=${pythonFilters(filters)}`);
    if (rules) given.push(`rules=freshet.Rules(${pythonRules(rules)})`);
    return `import freshet\nfrom freshet.sync import Client\n\nwith Client(${JSON.stringify(ranking)}) as client:\n    for item in client.recommend(${given.join(", ")}):\n        print(item.title, item.score)`;
  },
  curl: (question, { key }) => `curl ${location.origin}/v1/recommendations${key ? ' -H "Authorization: Bearer $FRESHET_TOKEN"' : ""} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(question))}`,
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const tuple = (texts) => `(${texts.map((text) => JSON.stringify(text)).join(", ")}${texts.length === 1 ? "," : ""})`;
const fields = (values) => Object.entries(values).map(([name, value]) => `${name}=${value}`).join(", ");

function pythonFilters({ categories_any: any, categories_none: none, price }) {
  return `freshet.Filters(${fields({ ...(any && { categories_any: tuple(any) }), ...(none && { categories_none: tuple(none) }), ...(price && { price: `freshet.Range(${fields(price)})` }) })})`;
}

function pythonRules({ boosts = [], caps = [] }) {
  const boosted = boosts.map(({ match, factor, name }) => `freshet.Boost(${pythonFilters(match)}, factor=${factor}, name=${JSON.stringify(name)})`);
  const capped = caps.map(({ at_most: most }) => `freshet.Cap(at_most=${most})`);
  return fields({ ...(boosted.length && { boosts: `(${boosted.join(", ")},)` }), ...(capped.length && { caps: `(${capped.join(", ")},)` }) });
}

/** Put the view into an element; returns what ends it. */
export function showPlayground(main, view, about) {
  const sides = ["a", "b"].map((name) => makeSide(name, view, about));
  main.append(h("h1", {}, `Playground for ${view.user}`), h("p.quiet.said", {}, "One user, two requests: change what each asks for. Weights of the parts are settings of ranking (FRESHET_BLEND_…), not of a request."),
    h("div.two", {}, sides.map(({ element }) => element)));
  return () => sides.forEach(({ close }) => close());
}

function makeSide(name, view, about) {
  const set = { ...OPEN, ...read(view[name]) };
  const list = new UserList(view.user, { writable: false, why: (id) => go({ why: id }), options: questionOf(view.user, set), title: `List ${name.toUpperCase()}` });
  list.how.textContent = "";
  const copied = h("pre.copied", { tabindex: 0, hidden: true });
  let waiting = 0;

  function change(field, value) {
    set[field] = value;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const changed = Object.fromEntries(Object.entries(set).filter(([key, given]) => given !== OPEN[key]));
      go({ [name]: Object.keys(changed).length ? new URLSearchParams(changed).toString() : "" }, { replace: true });
      list.options = { k: K, ...questionOf(view.user, set) };
      list.load();
    }, AFTER_MS);
  }

  const control = (label, field, kind) => h("label", {}, label, Object.assign(h("input", { ...kind, "data-field": field, oninput: (event) => change(field, event.target.value) }), { value: set[field] }));
  const diversity = h("output", {}, set.diversity || "0.2");
  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.05, "data-field": "diversity", "aria-label": `Diversity of list ${name.toUpperCase()}`, oninput: (event) => {
    diversity.textContent = event.target.value;
    change("diversity", event.target.value);
  } });
  slider.value = set.diversity || 0.2;
  const seen = h("select", { "data-field": "seen", onchange: (event) => change("seen", event.target.value) }, SEEN.map(([value, label]) => h("option", { value }, label)));
  seen.value = set.seen;

  async function copy(how) {
    const text = COPIES[how](questionOf(view.user, set), about);
    fill(copied, text).hidden = false;
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    say(done ? `Copied as ${how}` : `Shown as ${how}`);
  }

  list.load();
  const element = h("div", {},
    h("form.controls", { onsubmit: (event) => event.preventDefault(), "aria-label": `What list ${name.toUpperCase()} asks for` },
      h("label", {}, h("span", {}, "Diversity ", diversity), slider),
      h("label", {}, "Seen before", seen),
      control("Only in categories", "any", { placeholder: "Kitchen, Living" }),
      control("Not in categories", "none", { placeholder: "Outdoor" }),
      control("Price from", "min", { type: "number", min: 0, placeholder: "0" }),
      control("Price to", "max", { type: "number", min: 0, placeholder: "any" }),
      control("Boost a category", "boost", { placeholder: "Lamp" }),
      control("by the factor", "factor", { type: "number", min: 0, max: 100, step: 0.1 }),
      control("At most of a category", "cap", { type: "number", min: 1, max: K, placeholder: "any" }),
      h("div.buttons", {}, h("span.quiet", {}, "Copy as"), Object.keys(COPIES).map((how) => h("button.chip", { type: "button", onclick: () => copy(how) }, how)))),
    copied, list.element);
  return { element, close: () => (clearTimeout(waiting), list.close()) };
}

const read = (text) => Object.fromEntries([...new URLSearchParams(text ?? "")].filter(([name]) => name in OPEN));
