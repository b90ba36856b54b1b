// Hear the services' figures: five minutes of them at once, then one a second.

import { open } from "./api.js";

const KEPT = 300;
const AGAIN_MS = 2000; // after the end of what was heard
const SILENT_MS = 8000; // figures come each second, each third where a service hangs

/** What has been heard, oldest first, and whether the gateway is heard at all. */
export const heard = { figures: [], connected: false };
const listeners = new Set();

/** Call a function at each news; returns what ends that. */
export function onFigures(listener) {
  listeners.add(listener);
  listener(heard);
  return () => listeners.delete(listener);
}

const tell = () => listeners.forEach((listener) => listener(heard));

let silence;

/** Note that the gateway is heard, and that it is not once it says nothing for long. */
function listen() {
  clearTimeout(silence);
  silence = setTimeout(lose, SILENT_MS);
  heard.connected = true;
  tell();
}

function lose() {
  heard.connected = false;
  tell();
}

const HEARD = {
  past(past) {
    // A gateway that began anew knows less of the past than this page.
    heard.figures = [...heard.figures.filter((each) => !past.length || each.at_ms < past[0].at_ms), ...past].slice(-KEPT);
  },
  figures(now) {
    heard.figures = [...heard.figures.slice(1 - KEPT), now];
  },
};

/** Hear, and connect anew, until the gateway does not know the key. An EventSource could show none. */
export async function hear() {
  for (;;) {
    try {
      const { body } = await open("/console/figures");
      await read(body.pipeThrough(new TextDecoderStream()).getReader());
    } catch (error) {
      if (error.status === 401) return;
    }
    lose();
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** Take in server-sent events, until they end. Throws where the connection breaks. */
async function read(reader) {
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, data] = /^event: (.+)\ndata: (.+)$/.exec(event) ?? [];
      if (!name) continue; // a comment: it is still there
      HEARD[name]?.(JSON.parse(data));
      listen();
    }
  }
}
