// Draw small line plots as SVG.

import { h } from "./dom.js";

const WIDTH = 300;

/** Return a plot of series of numbers (null: a gap), oldest first, from zero to the largest. */
export function line(series, { label, height = 54, most, classes = ["a", "b", "c", "d", "e", "f"], promise } = {}) {
  const values = series.flat().filter((value) => value !== null);
  const top = most ?? Math.max(...values, promise ?? 0, 1e-9) * 1.15;
  const length = Math.max(...series.map((each) => each.length), 2);
  const x = (index) => (index * WIDTH) / (length - 1);
  const y = (value) => height - 2 - (Math.min(value, top) / top) * (height - 6);
  const path = (points) => points.map((value, index) => (value === null ? "" : `${index && points[index - 1] !== null ? "L" : "M"}${x(index).toFixed(1)},${y(value).toFixed(1)}`)).join("");
  return h("svg.plot", { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    promise !== undefined && h("line.promise", { x1: 0, x2: WIDTH, y1: y(promise), y2: y(promise) }),
    series.map((points, index) => h(`path.line-${classes[index]}`, { d: points.length === 1 ? `M0,${y(points[0])}L${WIDTH},${y(points[0])}` : path(points) })));
}
