// The day of a comparison: price, battery power and state of charge of each controller.
import { comparisonChart, whenReady } from './charts.js';

const data = JSON.parse(document.getElementById('comparison').textContent);
const target = document.getElementById('chart');
const shown = { reactive: ['reactive'], smartems: ['smart'], results: ['reactive', 'smart', 'perfect'] }[document.getElementById('simulation').dataset.show];

async function draw() {
  await whenReady();
  target.querySelector('.placeholder')?.remove();
  comparisonChart(target, data, shown);
}
document.addEventListener('themechange', draw);
draw();
