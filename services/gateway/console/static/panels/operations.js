// Plot how fresh, how fast and how whole everything is now, each beside its promise.

import * as api from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { onFigures } from "../lib/figures.js";
import { loading, panel } from "../lib/parts.js";
import { line } from "../lib/plot.js";
import { ago, count, ms, partClass, promiseInWords, sourceName } from "../lib/words.js";
import { makeLetters } from "./letters.js";

const NONE = "–"; // nothing happened
const STAGES = ["state", "candidates", "filter", "rank", "arrange", "answer"];
const SOURCE_PART = { nearest: "interests", new: "freshness", filter: "rule" };
const percentiles = (name) => [(each) => each[name].p50, (each) => each[name].p99];

/** Plots: title, where it comes from, what is drawn, how a value is said, and by which name its promise goes. */
const PLOTS = [
  ["Click → in effect", "freshet_event_to_state_seconds, of sessions: from the log's time of an event to its effect in Redis, half and 99 % within, over the last five seconds.", percentiles("event_to_state"), ms, "event_to_state"],
  ["Item → vector", "freshet_item_to_vector_seconds, of embedding: from the log's time of an item to its vector's publication, half and 99 % within.", percentiles("item_to_vector"), ms, "item_to_vector"],
  ["A list", "freshet_request_milliseconds of Recommend, of ranking: half and 99 % within.", percentiles("list_ms"), ms, "list_ms"],
  ["Events", "freshet_events_folded_total, of sessions: events whose effect is in Redis, a second.", [(each) => each.events_per_s], (value) => `${count(value)} /s`],
  ["Lists", "freshet_requests_total of Recommend, of ranking, a second.", [(each) => each.lists_per_s], (value) => `${count(value)} /s`],
  ["New items", "freshet_items_encoded_total, of embedding: items whose picture or text went through a model, a second.", [(each) => each.items_per_s], (value) => `${count(value)} /s`],
  ["Lag", "freshet_*_lag_records: records of all partitions that are not applied yet.", [(each) => Object.values(each.lag).reduce((sum, one) => sum + one, 0)], count, "lag"],
  ["Degraded lists", "freshet_degraded_total by freshet_requests_total: the share of lists that had to leave something out.", [(each) => each.degraded], (value) => `${(100 * value).toFixed(1)} %`, "degraded"],
];

/** Return promises by name, in words and as a bound: those of the server, and that what goes wrong ends. */
const promised = (promises) => ({
  lag: ["back to 0", 0],
  degraded: ["none", 0],
  ...Object.fromEntries(Object.entries(promises).map(([name, promise]) => [name, [promiseInWords(promise), promise.within_ms]])),
});

/** Put the view into an element; returns what ends it. */
export function showOperations(main, { user }, { replays, promises }) {
  const kept = promised(promises);
  const plots = PLOTS.map(([title, source]) => {
    const body = h("div");
    return { body, element: panel(title, source, body) };
  });
  const stages = h("div");
  const mix = h("div");
  const standing = h("div");
  const letters = makeLetters({ writable: replays });
  let versions = null; // of what makes lists
  main.append(h("h1", {}, "Operations"), h("p.quiet.said", {}, "The last five minutes, a figure a second. Dashed: the promise."),
    h("div.plots", {}, plots.map(({ element }) => element)),
    h("div.plots.three", {},
      panel("A list, by stage", "freshet_stage_milliseconds, of ranking: the mean of each stage over the last five seconds.", stages),
      panel("Where candidates come from", "freshet_candidates_total, of ranking: the share of each source over the last five seconds.", mix),
      panel("What is served", "freshet_catalogue_items, freshet_snapshot_created_timestamp_seconds, the lags, and what answers.", standing)),
    letters.element);
  api.recommend({ user_id: user, k: 1 }).then(({ value }) => (versions = value.versions), () => {});

  const unheard = onFigures(({ figures }) => {
    const now = figures.at(-1);
    if (!now) {
      for (const { body } of [...plots, { body: stages }, { body: mix }, { body: standing }]) if (!body.firstChild) loading(body, "Listening …");
      return;
    }
    for (const [index, { body }] of plots.entries()) {
      const [title, , series, words, name] = PLOTS[index];
      const [promise, bound] = kept[name] ?? [];
      const drawn = series.map((of) => figures.map(of));
      const last = (of) => figures.map(of).findLast((value) => value !== null);
      const said = series.map((of) => last(of)).map((value) => (value === undefined ? NONE : words(value)));
      fill(body, h("dl.figures", {}, said.map((value, at) => h("div", {}, h("dd", {}, value), h("dt", {}, said.length > 1 ? ["half within", "99 % within"][at] : "now")))),
        line(drawn, { label: `${title}: ${said.join(", ")}`, promise: bound }), h("p.quiet.small", {}, promise ? `promise: ${promise}` : "\u00a0"));
    }
    const times = STAGES.filter((stage) => now.stages[stage] !== undefined);
    const longest = Math.max(...times.map((stage) => now.stages[stage]), 0.01);
    fill(stages, times.length ? bars(times.map((stage) => [stage, now.stages[stage] / longest, ms(now.stages[stage]), `stage-${stage}`])) : h("p.quiet", {}, "No list was asked for in the last five seconds."));
    const sources = Object.entries(now.sources).sort(([, a], [, b]) => b - a);
    fill(mix, sources.length ? bars(sources.map(([name, share]) => [sourceName(name), share / sources[0][1], `${Math.round(100 * share)} %`, partClass(SOURCE_PART[name] ?? name)])) : h("p.quiet", {}, "No list was asked for in the last five seconds."));
    const behind = Object.entries(now.lag).filter(([, records]) => records);
    fill(standing, h("dl.facts", {}, [
      ["items", count(now.items)],
      ["space", versions?.space || NONE],
      ["ranker", versions?.ranker || NONE],
      ["snapshot", now.snapshot_age_s === null ? "none yet" : ago(now.at_ms - now.snapshot_age_s * 1000, now.at_ms)],
      ["behind", behind.length ? behind.map(([name, records]) => `${name}: ${count(records)}`).join(", ") : "nothing"],
      ["answer", now.away.length ? `not ${now.away.join(", ")}` : "all services"],
      ["dead letters", Object.entries(now.dead_letters).map(([name, n]) => `${name} ${count(n)}`).join(", ") || "none since the start"],
    ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  });
  return () => {
    unheard();
    letters.end();
  };
}

const bars = (rows) => h("ul.sources", {}, rows.map(([name, share, value, colour]) => h("li", {}, h(`i.${colour}`, { style: { width: `${100 * share}%` } }), h("span", {}, name), h("b", {}, value))));
