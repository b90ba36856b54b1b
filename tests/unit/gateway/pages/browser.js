// As much of a browser as the tracking snippet needs; `sent` is what sendBeacon was given.
const sent = [], ticks = [], listeners = {}, elements = []
const element = dataset => {
  const made = { dataset, closest: () => ('freshetItem' in dataset ? made : null) }
  elements.push(made)
  return made
}
let observed = new Set(), notice
globalThis.IntersectionObserver = class {
  constructor(callback) { notice = callback }
  observe(target) { observed.add(target) }
  unobserve(target) { observed.delete(target) }
}
globalThis.URL = class {
  constructor(path, base) { this.href = base.replace(/[^/]*$/, '') + path }
  set search(query) { this.href += '?' + query }
  toString() { return this.href }
}
globalThis.URLSearchParams = class {
  constructor(pairs) { this.pairs = pairs }
  toString() { return Object.entries(this.pairs).map(pair => pair.join('=')).join('&') }
}
let clock = 1700000000000
Date.now = () => clock
globalThis.window = globalThis
globalThis.sessionStorage = {}
globalThis.addEventListener = (name, listener) => { listeners[name] = listener }
globalThis.setInterval = tick => ticks.push(tick)
globalThis.navigator = { sendBeacon: (to, body) => sent.push([String(to), JSON.parse(body)]) }
globalThis.document = {
  hidden: false,
  currentScript: { src: 'https://freshet.example/freshet.js', dataset: {} },
  querySelectorAll: () => elements.filter(({ dataset }) => 'freshetView' in dataset),
  addEventListener: globalThis.addEventListener,
}
const see = (target, isIntersecting = true) => observed.has(target) && notice([{ target, isIntersecting }])
const leave = () => { document.hidden = true; listeners.visibilitychange() }
