// Marks the gate that decides now, live.
import { follow } from './stream.js';

const page = document.getElementById('gates');
const rows = [...page.querySelectorAll('tbody tr, table tr')];

function show(gate, detail) {
  document.getElementById('gate').textContent = gate || 'none yet';
  document.getElementById('gate-detail').textContent = detail;
  for (const row of rows) {
    const mine = row.firstElementChild?.textContent === gate;
    row.classList.toggle('fired', mine);
    if (mine) row.setAttribute('aria-current', 'true');
    else row.removeAttribute('aria-current');
  }
}
show(page.dataset.gate, document.getElementById('gate-detail').textContent);
follow(`/sites/${page.dataset.site}/live`, { frame: (text) => { const { intent } = JSON.parse(text); show(intent?.gate ?? '', intent?.detail ?? ''); } }, () => {});
