// Parts of a page that renew themselves: what an element with data-refresh shows is fetched again and
// again until it says that it is done.
import { logInAgain } from './shell.js';

async function renew(part) {
  let answer;
  try {
    answer = await fetch(part.dataset.refresh, { headers: { Accept: '*/*' } });
  } catch {
    part.dataset.stale = 'true';
    return;
  }
  if (answer.status === 401) { await logInAgain(); return; }
  if (!answer.ok) { part.dataset.stale = 'true'; return; }
  delete part.dataset.stale;
  const html = await answer.text();
  if (html !== part.shown) { part.innerHTML = html; part.shown = html; }
}

async function follow(part) {
  if (part.querySelector('[data-done]')) return;
  for (;;) {
    await new Promise((resolve) => { setTimeout(resolve, Number(part.dataset.everyMs) || 2000); });
    if (!document.hidden) await renew(part);
    if (part.querySelector('[data-done]')) return;
  }
}
for (const part of document.querySelectorAll('[data-refresh]')) follow(part);
