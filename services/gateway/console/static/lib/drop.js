// Take a picture: dropped, pasted or chosen.

import { fill, h } from "./dom.js";

const BYTES_AT_MOST = 4 * 1024 * 1024; // what the API takes

/** Return a zone that takes a picture; taken: called with the file, refused: with why it is none. */
export function dropZone({ taken, refused, label }) {
  const input = h("input", { type: "file", accept: "image/*", "aria-label": label, onchange: () => take(input.files[0]) });
  const shown = h("span.shown", {}, h("b", {}, "Drop a picture here"), h("span.quiet", {}, "or choose one; pasting works, too"));
  const zone = h("label.drop", { ondragover: (event) => (event.preventDefault(), zone.classList.add("over")), ondragleave: () => zone.classList.remove("over"), ondrop: dropped }, shown, input);
  const paste = (event) => event.clipboardData?.files.length && take(event.clipboardData.files[0]);
  addEventListener("paste", paste);
  let url = "";

  function dropped(event) {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files[0]);
  }

  function take(file) {
    if (!file) return;
    if (!file.type.startsWith("image/")) return refused(new Error(`${file.name} is no picture`));
    if (file.size > BYTES_AT_MOST) return refused(new Error(`${file.name} is larger than 4 MiB`));
    URL.revokeObjectURL(url);
    url = URL.createObjectURL(file);
    fill(shown, h("img", { src: url, alt: `Your picture, ${file.name}` }));
    taken(file);
  }

  function close() {
    removeEventListener("paste", paste);
    URL.revokeObjectURL(url);
  }
  return { element: zone, close };
}

/** Return a file as base64. */
export async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32_768) text += String.fromCharCode(...bytes.subarray(at, at + 32_768));
  return btoa(text);
}
