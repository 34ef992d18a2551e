// The plan's chart: the same as on Site Monitoring, further ahead.
import { ask } from './shell.js';
import { note, planChart, whenReady } from './charts.js';

const site = document.getElementById('plan').dataset.site;
const target = document.getElementById('chart');
const caption = document.getElementById('chart-note');

async function draw() {
  if (!target) return;
  const chosen = document.querySelector('.ranges [aria-pressed=true]');
  try {
    const data = await ask(`/sites/${site}/chart?back_h=${chosen.dataset.back}&ahead_h=${chosen.dataset.ahead}`);
    await whenReady();
    target.querySelector('.placeholder')?.remove();
    planChart(target, data);
    caption.textContent = note(data);
  } catch {
    caption.textContent = 'The chart could not be drawn; Enexa does not answer.';
  }
}
for (const button of document.querySelectorAll('.ranges button')) {
  button.setAttribute('aria-pressed', String(button.getAttribute('aria-pressed') === 'true'));
  button.addEventListener('click', () => {
    for (const each of document.querySelectorAll('.ranges button')) each.setAttribute('aria-pressed', String(each === button));
    draw();
  });
}
document.addEventListener('themechange', draw);
draw();
