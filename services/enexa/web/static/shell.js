// What every page does: server clock, appearance, menu, and logging in again without losing the page.
import { clock, date, utc } from './format.js';

const root = document.documentElement;
const body = document.body;
const speed = Number(body.dataset.speed) || 1;
let anchor = { server: Date.parse(body.dataset.now), here: performance.now() };

export function serverNow() {
  return new Date(anchor.server + (performance.now() - anchor.here) * speed);
}
export function setServerNow(iso) {
  anchor = { server: Date.parse(iso), here: performance.now() };
}

const clockElement = document.getElementById('clock');
function tick() {
  if (!clockElement) return;
  const now = serverNow();
  clockElement.querySelector('.day').textContent = date(now);
  clockElement.querySelector('.hour').textContent = clock(now);
  clockElement.dateTime = now.toISOString();
  clockElement.title = utc(now);
}
setInterval(tick, 500);
tick();

function remember(name, value) {
  document.cookie = `${name}=${value}; Path=/; Max-Age=31536000; SameSite=Strict`;
}
for (const button of document.querySelectorAll('[data-theme-to]')) {
  button.setAttribute('aria-pressed', String(button.dataset.themeTo === root.dataset.theme));
  button.addEventListener('click', () => {
    root.dataset.theme = button.dataset.themeTo;
    remember('enexa_theme', button.dataset.themeTo);
    for (const each of document.querySelectorAll('[data-theme-to]')) each.setAttribute('aria-pressed', String(each === button));
    document.dispatchEvent(new Event('themechange'));
  });
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => document.dispatchEvent(new Event('themechange')));
for (const button of document.querySelectorAll('[data-form-to]')) {
  button.setAttribute('aria-pressed', String(button.dataset.formTo === root.dataset.form));
  button.addEventListener('click', () => { remember('enexa_format', button.dataset.formTo); location.reload(); });
}

const burger = document.querySelector('.burger');
burger?.addEventListener('click', () => {
  const open = document.getElementById('nav').classList.toggle('open');
  burger.setAttribute('aria-expanded', String(open));
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  document.getElementById('nav')?.classList.remove('open');
  burger?.setAttribute('aria-expanded', 'false');
  document.querySelector('details.me')?.removeAttribute('open');
});
document.addEventListener('click', (event) => {
  const me = document.querySelector('details.me[open]');
  if (me && !me.contains(event.target)) me.removeAttribute('open');
});

// A lost session: ask for the password here and go on; resolves when logged in again.
const dialog = document.getElementById('relogin');
let again = null;
export function logInAgain() {
  if (again) return again;
  again = new Promise((resolve) => {
    dialog.showModal();
    const asked = document.getElementById('relogin-form');
    asked.onsubmit = async (event) => {
      event.preventDefault();
      const problem = asked.querySelector('.problem');
      try {
        const answer = await fetch('/login', { method: 'POST', headers: { Accept: 'application/json' }, body: new URLSearchParams(new FormData(asked)) });
        if (answer.ok) {
          asked.elements.password.value = '';
          problem.hidden = true;
          dialog.close();
          again = null;
          const who = await (await fetch('/session', { headers: { Accept: 'application/json' } })).json();
          for (const field of document.querySelectorAll('input[name=csrf]')) field.value = who.csrf;
          resolve();
          return;
        }
        problem.textContent = (await answer.json()).problem ?? 'That did not work.';
      } catch {
        problem.textContent = 'Enexa does not answer.';
      }
      problem.hidden = false;
    };
  });
  return again;
}

// A form is sent only while the session holds: else the password is asked for first, and what was typed stays.
for (const form of document.querySelectorAll('form[method=post]:not(#relogin-form)')) {
  if (!form.elements.csrf) continue;
  form.addEventListener('submit', async (event) => {
    if (form.checked) return;
    event.preventDefault();
    const button = event.submitter;
    try {
      const answer = await fetch('/session', { headers: { Accept: 'application/json' } });
      if (answer.status === 401) await logInAgain();
    } catch {
      showLost(true);
      return;
    }
    form.checked = true;
    if (button) form.requestSubmit(button); else form.requestSubmit();
    form.checked = false;
  });
}

// Whether the server is there, on pages without a live stream of their own.
const WATCH_MS = 5000;
const lost = document.getElementById('lost');
function showLost(isLost) {
  if (lost) lost.hidden = !isLost;
}
async function watch() {
  if (document.hidden) return;
  try {
    const answer = await fetch('/session', { headers: { Accept: 'application/json' } });
    showLost(false);
    if (answer.status === 401) await logInAgain();
  } catch {
    showLost(true);
  }
}
if (lost && !document.getElementById('live')) setInterval(watch, WATCH_MS);

// JSON from the server; asks to log in where the session has ended. Throws where the server does not answer.
export async function ask(url) {
  const answer = await fetch(url, { headers: { Accept: 'application/json' } });
  if (answer.status === 401) {
    await logInAgain();
    return ask(url);
  }
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}
