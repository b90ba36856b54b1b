// Hear the services' figures: five minutes of them at once, then one a second.

const KEPT = 300;
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

/** Begin to hear; the browser connects anew by itself. */
export function hear() {
  const source = new EventSource("/console/figures");
  source.addEventListener("past", (event) => {
    const past = JSON.parse(event.data);
    // A gateway that began anew knows less of the past than this page.
    heard.figures = [...heard.figures.filter((each) => !past.length || each.at_ms < past[0].at_ms), ...past].slice(-KEPT);
    listen();
  });
  source.addEventListener("figures", (event) => {
    heard.figures = [...heard.figures.slice(1 - KEPT), JSON.parse(event.data)];
    listen();
  });
  source.addEventListener("error", lose);
}
