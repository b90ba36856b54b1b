// Show one user's list with what led to it, or two users' side by side.

import { h } from "../lib/dom.js";
import { here, go } from "../lib/view.js";
import { PARTS, partClass, partName } from "../lib/words.js";
import { makePulse } from "./pulse.js";
import { makeState } from "./state.js";
import { UserList } from "./user-list.js";
import { makeWay } from "./way.js";

let pulse; // its clicks are kept while the page is

/** Put the view into an element; returns what ends it. */
export function showLists(main, { user, beside }, { writable, promises }) {
  pulse ??= makePulse(promises);
  const why = (itemId) => go({ why: itemId });
  const users = beside ? [user, beside] : [user];
  const lists = users.map((each) => {
    const state = makeState(each, { why });
    const way = makeWay();
    const list = new UserList(each, {
      writable,
      why: (itemId) => (each === here().user ? why(itemId) : go({ why: itemId, of: each })),
      options: { k: Number(here().k) || 12 },
      heard: (value, { tookMs }) => {
        way.show(value);
        if (tookMs !== null) pulse.add(tookMs, value.degraded.length > 0);
        state.load();
      },
    });
    list.load();
    return { list, state, way };
  });
  const legend = h("ul.legend", { "aria-label": "Colours of the parts" }, Object.keys(PARTS).filter((name) => !["words", "visual"].includes(name)).map((name) => h("li", {}, h(`i.${partClass(name)}`), partName(name))));
  if (beside) main.append(h("div.two", {}, lists.map(({ list, state, way }) => h("div", {}, list.element, h("div.pair", {}, state.element, way.element)))), legend);
  else {
    const [{ list, state, way }] = lists;
    main.append(h("div.with-aside", {}, h("div", {}, list.element, legend), h("aside", {}, state.element, way.element, pulse.element)));
  }
  return () => lists.forEach(({ list }) => list.close());
}
