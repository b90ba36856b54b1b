// Hear the services' figures: five minutes of them at once, then one a second.

const KEPT = 300;

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

/** Begin to hear; the browser connects anew by itself. */
export function hear() {
  const source = new EventSource("/console/figures");
  source.addEventListener("past", (event) => {
    heard.figures = JSON.parse(event.data);
    heard.connected = true;
    tell();
  });
  source.addEventListener("figures", (event) => {
    heard.figures = [...heard.figures.slice(1 - KEPT), JSON.parse(event.data)];
    tell();
  });
  source.addEventListener("error", () => {
    heard.connected = false;
    tell();
  });
}
