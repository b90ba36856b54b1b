// Ask for the gateway's key, and say what it allows.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { failed, loading } from "./parts.js";

const ALLOWS = { read: "see lists", publish: "click and add items", people: "see what is kept of people, and why an item is in their lists", operate: "see dead letters and publish them again" };
const words = (scopes) => new Intl.ListFormat("en", { type: scopes.length > 2 ? "unit" : "conjunction" }).format(scopes.map((scope) => `${ALLOWS[scope]} (${scope})`));

/** Ask for a key in place of the view; problem: why the one before, if any, does not do. */
export function askForKey(main, problem) {
  const said = h("div");
  const key = h("input", { type: "password", name: "key", required: true, autocomplete: "off", spellcheck: "false", maxlength: 256, "aria-describedby": "key-hint" });
  fill(main, h("section.panel.sign-in", {},
    h("h1", {}, "Which key?"),
    h("p.quiet", { id: "key-hint" }, "What this gateway knows it shows to whoever has a key of it: ", h("code", {}, "freshet token NAME --scopes read,publish,people,operate"), " makes one. It is kept in this tab alone, and forgotten with it."),
    h("form.fields", { onsubmit: (event) => (event.preventDefault(), tryKey()) }, h("label", {}, "Key", key), h("div.buttons", {}, h("button.button", { type: "submit" }, "Open"))),
    said));
  if (problem) say(problem);
  key.focus();

  async function tryKey() {
    loading(said, "Asking the gateway …");
    api.keepKey(key.value.trim());
    try {
      await api.about();
      location.reload();
    } catch (error) {
      api.keepKey("");
      say(error);
      key.select();
    }
  }

  function say(error) {
    failed(said, error.status === 401 ? new Error("this key is not known here") : error);
  }
}

/** Return whose key is shown, what it does not allow, and a way to sign out. */
export function keyInWords({ key, scopes }) {
  const missing = Object.keys(ALLOWS).filter((scope) => !scopes.includes(scope));
  return [`Signed in as ${key}. `, missing.length ? `The key does not allow to ${words(missing)}. ` : "",
    h("button.link", { type: "button", onclick: () => { api.keepKey(""); location.reload(); } }, "Sign out")];
}
