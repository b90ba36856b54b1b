// Keep the whole view in the address: what is shown can be sent to somebody else.

export const DEFAULTS = { view: "lists", user: "ada", beside: "", why: "", words: "", k: "12", colour: "category", only: "", tour: "" };

const listeners = [];

/** Return what the address says, with defaults for what it leaves out. */
export function here() {
  return { ...DEFAULTS, ...Object.fromEntries(new URLSearchParams(location.search)) };
}

/** Return the address of this view with some changes. */
export function address(changes) {
  const next = { ...here(), ...changes };
  const query = new URLSearchParams(
    Object.entries(next).filter(([name, value]) => (value ?? "") !== (DEFAULTS[name] ?? "") && value !== undefined),
  );
  return query.size ? `/console?${query}` : "/console";
}

/** Go there; replace: without a step in the browser's history. */
export function go(changes, { replace = false } = {}) {
  const to = address(changes);
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  for (const listener of listeners) listener(here());
}

/** Call a function with each view that is gone to. */
export function onChange(listener) {
  listeners.push(listener);
}

addEventListener("popstate", () => listeners.forEach((listener) => listener(here())));
