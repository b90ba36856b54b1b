// Tells Freshet what a visitor sees and clicks, and how long a page is looked at (docs/tracking.md).
(() => {
  const me = document.currentScript, { key, user, signature, item } = me.dataset
  const to = new URL('v1/events', me.src)
  if (key) to.search = new URLSearchParams({ key, signature })
  const id = () => Date.now().toString(36) + Math.random().toString(36).slice(2)
  let session_id = id(), waiting = [], since = Date.now()
  try { session_id = sessionStorage.freshet ||= session_id } catch {}
  const send = () => {
    // A text goes as text/plain: browsers ask the other host for no leave beforehand.
    if (waiting.length) navigator.sendBeacon(to, JSON.stringify(waiting))
    waiting = []
  }
  const track = (type, item_id, more) => {
    if (!user || !item_id) return
    waiting.push({ user_id: user, item_id, type, time_ms: Date.now(), session_id, event_id: id(), ...more })
    if (type != 'view' || waiting.length > 19) send()
  }
  const of = (type, { dataset: d }) =>
    track(type, d.freshetItem, { request_id: d.freshetRequest, position: d.freshetPosition })
  const seen = new IntersectionObserver(all => all.forEach(({ isIntersecting, target }) => {
    if (!isIntersecting) return
    seen.unobserve(target)
    of('view', target)
  }), { threshold: .5 })
  const watch = () => document.querySelectorAll('[data-freshet-view]').forEach(e => seen.observe(e))
  addEventListener('click', ({ target }) => {
    const e = target.closest('[data-freshet-item]')
    if (e) of('click', e)
  }, true)
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) return since = Date.now()
    track('dwell', item, { value: (Date.now() - since) / 1e3 })
    send()
  })
  setInterval(send, 2e3)
  watch()
  track('view', item)
  window.freshet = { track, watch }
})()
