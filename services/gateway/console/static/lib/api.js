// Ask the gateway: its API, as any shop does, and the few things beside it that only this page needs.

const KEY = "freshet-key"; // of this tab's memory, which ends with it and stands in no address

/** Keep the key that each call shows; empty: none. */
export const keepKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

let unknown = () => {};

/** Call a function with the problem when the gateway does not know the key, or misses one. */
export const onUnknownKey = (listener) => (unknown = listener);

/** What the gateway refused or could not do, in its own words. */
export class Problem extends Error {
  constructor(status, detail, field = "") {
    super(detail);
    this.status = status;
    this.field = field;
  }
  /** Say whether asking again may help. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Call the gateway. Returns {value, timings}; timings: ms by stage, of Server-Timing. Throws Problem. */
export async function call(method, path, body, { signal, type } = {}) {
  const sent = { method, signal, headers: {} };
  if (body !== undefined) {
    sent.headers["Content-Type"] = type ?? "application/json";
    sent.body = type ? body : JSON.stringify(body);
  }
  const reply = await open(path, sent);
  return { value: await reply.json().catch(() => ({})), timings: timingsOf(reply.headers.get("server-timing") ?? "") };
}

/** Fetch with the key, as all that is no file of the page is. A header, not a cookie: no browser adds it by itself to what another page sends. Returns the reply. Throws Problem. */
export async function open(path, { headers = {}, ...sent } = {}) {
  const key = sessionStorage.getItem(KEY);
  let reply;
  try {
    reply = await fetch(path, { ...sent, headers: key ? { ...headers, Authorization: `Bearer ${key}` } : headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "the gateway does not answer");
  }
  if (reply.ok) return reply;
  const value = await reply.json().catch(() => ({}));
  const problem = new Problem(reply.status, value.detail ?? `status ${reply.status}`, value.field);
  if (problem.status === 401) unknown(problem);
  throw problem;
}

function timingsOf(header) {
  const pairs = header.split(",").map((part) => part.trim().split(";dur="));
  return Object.fromEntries(pairs.filter(([, ms]) => ms).map(([stage, ms]) => [stage, Number(ms)]));
}

const PATIENCE_MS = 2000; // of a page, where a shop would show something else sooner

const path = (id) => id.split("/").map(encodeURIComponent).join("/");

export const recommend = (question, options) => call("POST", `/v1/recommendations?timeout_ms=${PATIENCE_MS}`, question, options);
export const explain = (question, options) => call("POST", "/v1/explain", question, options);
export const search = (question, options) => call("POST", "/v1/search", question, options);
export const similar = (question, options) => call("POST", "/v1/similar", question, options);
export const state = (user, options) => call("GET", `/v1/users/${path(user)}`, undefined, options);
export const forget = (user) => call("DELETE", `/v1/users/${path(user)}`);
export const putItem = (id, item) => call("PUT", `/v1/items/${path(id)}`, item);
export const deleteItem = (id) => call("DELETE", `/v1/items/${path(id)}`);
export const about = () => call("GET", "/console/ask/about");

/** Publish one event; returns its position, which a list asked for `after` it holds. */
export async function publish(event) {
  const { value, timings } = await call("POST", "/v1/events", event);
  return { position: value.positions[0], timings };
}

const KNOWN_MS = 3000; // offers change what a card says
const known = new Map(); // by item id: its card, and when it came

/** Return a map of cards by item id: what items look like. */
export async function cards(ids) {
  const missing = [...new Set(ids)].filter((id) => !(known.get(id)?.card.title && performance.now() - known.get(id).at < KNOWN_MS));
  if (missing.length) {
    const query = new URLSearchParams(missing.map((id) => ["id", id]));
    const { value } = await call("GET", `/console/ask/cards?${query}`);
    for (const card of value.cards) known.set(card.item_id, { card, at: performance.now() });
  }
  return new Map(ids.map((id) => [id, known.get(id)?.card]));
}

/** Forget what an item looked like: it was published anew. */
export const forgetCard = (id) => known.delete(id);

/** Return a picture's address; empty where none is kept. */
export const pictureOf = (card) =>
  card?.picture ? `/console/picture/${path(card.item_id)}?is=${card.picture}` : "";

/** Let an image show a picture; with a key it is fetched, as an image's own request shows none. */
export async function showPicture(image, source) {
  if (!hasKey()) return (image.src = source);
  const url = URL.createObjectURL(await (await open(source)).blob());
  image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
  image.src = url;
}
