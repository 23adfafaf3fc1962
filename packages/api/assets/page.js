// Keeps the page at / fresh: asks again whether it has changed, and takes over what is new where it stands. Without this
// script the page is complete, and fresh when it is loaded again.
const ASK_AGAIN_MS = 2000;
const content = document.getElementById('content');
const live = document.getElementById('live');
let etag = null;

/** `3 minutes ago` behind each time, which the server cannot know. */
function tellAges() {
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'always' });
  for (const time of content.querySelectorAll('time')) {
    const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
    const [size, unit] = [
      [86400, 'day'],
      [3600, 'hour'],
      [60, 'minute'],
      [1, 'second'],
    ].find(([one]) => Math.abs(seconds) >= one) ?? [1, 'second'];
    time.title = format.format(Math.round(seconds / size), unit);
    time.dataset.age = ` (${time.title})`;
  }
}

/** Takes over the new content; what is open, where the focus is and how far it was scrolled stay as they are. */
function takeOver(page) {
  const fresh = new DOMParser().parseFromString(page, 'text/html').getElementById('content');
  const open = [...content.querySelectorAll('details[open]')].map(({ id }) => id);
  const focusable = 'a, summary, [tabindex]';
  const focused = [...content.querySelectorAll(focusable)].indexOf(document.activeElement);
  const version = content.querySelector('.freshness strong')?.textContent;
  content.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute('open', '');
  if (focused >= 0) content.querySelectorAll(focusable)[focused]?.focus({ preventScroll: true });
  const newest = content.querySelector('.freshness strong')?.textContent;
  if (newest !== version) live.textContent = `The metrics were updated: data version ${newest}.`;
  tellAges();
}

async function askAgain() {
  if (!document.hidden) {
    try {
      const response = await fetch('/', { cache: 'no-store', headers: etag === null ? {} : { 'If-None-Match': etag } });
      if (response.status !== 304) {
        if (!response.ok) throw new Error(`status ${response.status}`);
        etag = response.headers.get('ETag');
        takeOver(await response.text());
      }
      document.body.classList.remove('offline');
    } catch {
      // The server is away or refuses: the page says so until it answers again.
      if (!document.body.classList.contains('offline'))
        live.textContent = 'The server does not answer. What is shown may be old.';
      document.body.classList.add('offline');
    }
  }
  setTimeout(askAgain, ASK_AGAIN_MS);
}

tellAges();
setInterval(tellAges, 10_000);
setTimeout(askAgain, ASK_AGAIN_MS);
