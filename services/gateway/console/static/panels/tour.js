// Lead a newcomer through the page in five steps; which one stands in the address.

import { fill, h } from "../lib/dom.js";
import { go } from "../lib/view.js";

const STEPS = [
  [{ view: "lists", why: "" }, "A list for one person", "These pictures are what this person is offered now. Click one that you like: it is a real event, through Kafka and back, and the list moves. The green figure says after how long."],
  [{ view: "lists", why: "" }, "Why this one?", "Each bar is a score taken apart: a colour is a reason, the same everywhere. Press a bar to see what counts, and ask there about any other item: why is it not in the list? The ♥ and ✕ on a picture say what you like and what you do not."],
  [{ view: "lab", why: "" }, "Something new", "Drop any picture of yours. It is encoded at once, and its nearest neighbours appear. Give it a title and add it: you see whose list it enters, and after how many milliseconds. Then delete it again."],
  [{ view: "search", words: "a warm lamp", why: "" }, "Found by meaning", "Nobody tagged these lamps as warm: words and pictures are compared by what they mean. Try words of your own, or a picture."],
  [{ view: "operations", why: "" }, "Is it true?", "The same figures that an operator watches, once a second, each beside its promise. Go on clicking in another window and watch them move."],
];

/** Return the tour's card; `show(step)` shows a step, from 1; anything else hides it. */
export function makeTour() {
  const card = h("section.tour", { "aria-label": "Tour", hidden: true });
  document.body.append(card);
  const to = (step) => go(step > STEPS.length ? { tour: "" } : { ...STEPS[step - 1][0], tour: String(step) });

  return (shown) => {
    const step = Number(shown);
    card.hidden = !STEPS[step - 1];
    if (card.hidden) return;
    const [, title, text] = STEPS[step - 1];
    const again = card.dataset.step !== shown;
    card.dataset.step = shown;
    if (!again) return;
    const next = h("button.button", { type: "button", onclick: () => to(step + 1) }, step < STEPS.length ? "Next" : "Done");
    fill(card, h("p.small.quiet", {}, `${step} of ${STEPS.length}`), h("h2", { "aria-live": "polite" }, title), h("p", {}, text),
      h("div.buttons", {}, step > 1 && h("button.button.second", { type: "button", onclick: () => to(step - 1) }, "Back"), next, h("button.chip", { type: "button", onclick: () => go({ tour: "" }) }, "End the tour")));
  };
}
