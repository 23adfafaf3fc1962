// Keeps the page at / fresh: asks again whether it has changed, and takes over what is new where it stands. Without this
// script the page is complete, and fresh when it is loaded again.
const ASK_AGAIN_MS = 2000;
const ANSWER_DEADLINE_MS = 10_000;
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

/** Takes over the new content; what is open and where the focus is stay as they are. */
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

/** Says what is wrong until it is not: above the page, and once to a screen reader. */
function complain(text) {
  if (document.body.dataset.trouble === text) return;
  if (text === undefined) delete document.body.dataset.trouble;
  else document.body.dataset.trouble = text;
  if (text !== undefined) live.textContent = text;
}

async function askAgain() {
  let waitMs = ASK_AGAIN_MS;
  if (!document.hidden) {
    try {
      const response = await fetch('/', {
        cache: 'no-store',
        headers: etag === null ? {} : { 'If-None-Match': etag },
        signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
      });
      if (response.status === 401) {
        complain('Your token is no longer known. Load this page again to give another one.');
        return;
      }
      if (response.status === 429) {
        waitMs = 1000 * Number(response.headers.get('Retry-After') ?? 60);
        complain('This address has asked too often. What is shown may be old; it is asked for again in a while.');
      } else {
        if (response.ok) {
          takeOver(await response.text());
          etag = response.headers.get('ETag');
        } else if (response.status !== 304) {
          throw new Error(`status ${response.status}`);
        }
        complain(undefined);
      }
    } catch {
      complain('The server does not answer. What is shown may be old.'); // until it does
    }
  }
  setTimeout(askAgain, waitMs);
}

tellAges();
setInterval(tellAges, 10_000);
setTimeout(askAgain, ASK_AGAIN_MS);
