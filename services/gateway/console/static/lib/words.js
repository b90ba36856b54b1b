// Say numbers, parts and causes as people do.

/** The parts of a score: their names in words, and which colour each has everywhere. */
export const PARTS = {
  session: ["this visit", "how near it is to the present visit's vector (cosine)"],
  interests: ["interests", "how near it is to the closest of up to three interests (cosine)"],
  long_term: ["long term", "how near it is to everything this user did (cosine)"],
  covisits: ["co-visits", "how often others went on from what this user chose to it"],
  content: ["like it", "how near it is to the closest of the last liked items (cosine)"],
  trending: ["trending", "how often it is chosen now, in all, in its category and its segment"],
  popularity: ["popular", "how often it was chosen at all, on a log scale"],
  freshness: ["new", "one at its arrival, half of it after each half-life"],
  dislike: ["dislikes", "how near it is to what this user disliked; it takes away"],
  tower: ["tower", "what the trained session tower makes of the history (cosine)"],
  visual: ["looks", "how near the picture's own vector is (cosine)"],
  words: ["words", "how well its words fit those that were searched for"],
};

/** Return a part's name in words. */
export const partName = (name) => PARTS[name]?.[0] ?? name.replace(/^rule:/, "rule ");

const REASONS = [["others went on", "covisits"], ["trending", "trending"], ["popular", "popularity"], ["new here", "freshness"], ["because of what you watched", "tower"], ["because you", "session"], ["fits your visit", "session"], ["fits your taste", "interests"], ["looks like", "visual"], ["like ", "content"]];

/** Return the part of the score that a reason speaks of; empty where it speaks of none. */
export const partOfReason = (reason) => REASONS.find(([begin]) => reason.startsWith(begin))?.[1] ?? "";

/** Return a part's formula, in words. */
export const partFormula = (name) => PARTS[name]?.[1] ?? "a rule of this request: its factor less one, of the score";

/** Return the class that gives a part its colour. */
export const partClass = (name) => `part-${PARTS[name] ? name : "rule"}`;

export const ms = (value) =>
  value >= 1000 ? `${(value / 1000).toFixed(2)} s` : value >= 100 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
/** Return a promise in words: how many lie within how much. */
export const promiseInWords = ({ share, within_ms: bound }) => `${share === 0.5 ? "half" : `${100 * share} %`} within ${bound >= 1000 ? `${bound / 1000} s` : `${bound} ms`}`;
export const score = (value) => value.toFixed(2);
export const count = (value) => Math.round(value).toLocaleString("en");

/** Return a price as a shop writes it; empty without one. */
function price(card) {
  if (card?.price === null || card?.price === undefined) return "";
  if (!card.currency) return card.price.toFixed(2);
  return new Intl.NumberFormat("en", { style: "currency", currency: card.currency }).format(card.price);
}

/** Return what an item costs and whether it can be had, in words; empty where neither is said. */
export const offered = (card) => [price(card), card?.in_stock === false ? "out of stock" : ""].filter(Boolean).join(" · ");

/** Return how long ago something was. */
export function ago(at, now = Date.now()) {
  const s = Math.max(0, (now - at) / 1000);
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return s < 86_400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86_400)} d ago`;
}

const FILTERS = {
  in_stock: "it is out of stock",
  window: "it is not on offer now",
  price: "its price is outside the range",
  currency: "its price is in another currency",
  attributes: "an attribute is not the one asked for",
  categories_any: "it is in none of the categories asked for",
  categories_none: "it is in a category left out",
  tags_any: "it has none of the tags asked for",
  hidden: "this user hid or disliked it",
  seen: "this user saw or bought it already",
  exclude: "the request leaves it out",
  deleted: "it was deleted meanwhile",
  unknown: "the catalogue does not know it",
};
const ARRANGED = {
  pins: "pinned items took its place",
  caps: "its category had all the places it may have",
  diversity: "something less alike took its place",
};
const SOURCES = { session: "this visit", long_term: "long term", interests: "interests", content: "like the last ones", filter: "what else is allowed" };

/** Return a source's name in words. */
export const sourceName = (name) => SOURCES[name] ?? PARTS[name]?.[0] ?? name;

/** Return a filter's name in words, for what it took away. */
export const filterName = (name) =>
  ({ in_stock: "out of stock", seen: "seen already", hidden: "hidden or disliked", window: "not on offer now", exclude: "left out by the request", categories_any: "other categories", categories_none: "categories left out", tags_any: "other tags" })[name] ?? name;

/** Return what became of an item, as a sentence. */
export function fateSentence(fate, item) {
  if (!fate.stage) return `Listed at position ${fate.position + 1}.`;
  if (fate.stage === "candidates")
    return fate.cause === "unknown" ? `Not a candidate: ${FILTERS.unknown}.` : "Not a candidate: no source proposed it, and no filter is against it.";
  if (fate.stage === "filter") return `Filtered away: ${FILTERS[fate.cause] ?? fate.cause}.`;
  if (fate.stage === "rank")
    return `Ranked too low: ${fate.rank + 1} of ${fate.ranked}. It scores ${score(item.score)}, and the last one listed ${score(fate.lowest_listed_score)}.`;
  return `Fell when the list was arranged: ${ARRANGED[fate.cause] ?? fate.cause}.`;
}
