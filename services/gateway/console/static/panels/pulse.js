// Plot how long this page's own clicks took to show.

import { fill, h } from "../lib/dom.js";
import { empty, panel } from "../lib/parts.js";
import { line } from "../lib/plot.js";
import { ms, promiseInWords } from "../lib/words.js";

const KEPT = 60; // clicks

/** Return the panel; `add(ms, degraded)` notes a click. */
export function makePulse({ event_to_state: promise }) {
  const times = [];
  let degraded = 0;
  const body = h("div");
  const element = panel("Click → list", `Measured here by performance.now(): from the press to the reply that holds the event, the whole way through gateway, Kafka, sessions, Redis and ranking.${promise ? ` The promise: ${promiseInWords(promise)}.` : ""}`, body);
  empty(body, "Click a picture: its time stands here.");

  function add(tookMs, wasDegraded) {
    times.push(tookMs);
    times.splice(0, times.length - KEPT);
    degraded += wasDegraded ? 1 : 0;
    const sorted = [...times].sort((a, b) => a - b);
    const within = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    fill(body, line([times], { label: "Milliseconds of the last clicks" }),
      h("dl.figures", {}, [[ms(within(0.5)), "half within"], [ms(within(0.99)), "99 % within"], [String(degraded), "degraded"]].map(([value, name]) => h("div", {}, h("dd", {}, value), h("dt", {}, name)))));
  }
  return { element, add };
}
