// Make elements. Text becomes text nodes: nothing that a shop wrote is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "circle", "line", "polyline", "text", "g", "rect", "title"]);

/** Return an element: `h("li.card", {onclick, "aria-label": "…"}, child, "text")`; falsy children are left out. */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = DRAWN.has(name)
    ? document.createElementNS(SVG, name)
    : document.createElement(name);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(props)) set(element, key, value);
  element.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

function set(element, key, value) {
  if (value === undefined || value === null || value === false) return;
  if (key === "style") Object.assign(element.style, value);
  else if (key === "vars") for (const [name, given] of Object.entries(value)) element.style.setProperty(name, given);
  else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else element.setAttribute(key, value === true ? "" : value);
}

/** Put children into an element in place of what it has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

/** Say something to whoever does not see the page. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

export const moves = () => !matchMedia("(prefers-reduced-motion: reduce)").matches;
