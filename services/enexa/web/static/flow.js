// The power-flow picture: a card for each node, a bus bar between them, and wires as thick as the power they carry.
import { NOTHING, kw, number } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const ICONS = {
  grid: 'M12 2 6 22m6-20 6 20M4.500 8h15M6.500 14h11M8.500 8l7 6m0-6-7 6',
  pv: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-6v3m0 14v3M2 12h3m14 0h3M5 5l2 2m10 10 2 2m0-14-2 2M7 17l-2 2',
  battery: 'M3 8a2 2 0 0 1 2-2h12a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2Zm16 2.500h2v3h-2M11.500 8.500 9 12.500h4l-2.500 4',
  ev: 'M4 16v-3l2-5.500A2 2 0 0 1 8 6h8a2 2 0 0 1 2 1.500L20 13v3a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1Zm0-3h16M7 17v2m10-2v2',
  own: 'M4 11 12 4l8 7v8a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1Zm6 9v-6h4v6',
};
const QUIET_KW = 0.05;
const left = document.getElementById('nodes-left');
const right = document.getElementById('nodes-right');
const wires = document.getElementById('wires');
const cards = new Map();

function element(name, className, parent) {
  const made = document.createElement(name);
  if (className) made.className = className;
  parent?.append(made);
  return made;
}

function svg(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

const kindOf = (node) => (node.startsWith('string') ? 'battery' : node.startsWith('charger') ? 'ev' : node);

function card(node) {
  if (cards.has(node)) return cards.get(node);
  const kind = kindOf(node);
  const box = element('article', 'node', kind === 'ev' || kind === 'own' ? right : left);
  box.dataset.kind = kind;
  box.dataset.node = node;
  const label = element('h3', 'label', box);
  const icon = svg('svg', { viewBox: '0 0 24 24', width: 18, height: 18, 'aria-hidden': 'true', fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' }, label);
  svg('path', { d: ICONS[kind] }, icon);
  const made = { kind, box, name: element('span', '', label), power: element('p', 'kw', box), soc: null, what: null, gauge: null };
  if (kind === 'battery' || kind === 'ev') made.soc = element('p', 'soc', box);
  if (kind === 'battery') {
    made.gauge = element('div', 'gauge', box);
    made.fill = element('i', '', made.gauge);
    made.marks = new Map();
  }
  made.what = element('p', 'what', box);
  made.wire = svg('path', { class: 'wire', 'data-kind': kind }, wires);
  made.pulse = svg('path', { class: 'pulse', 'data-kind': kind }, wires);
  made.arrow = svg('path', { class: 'arrow', 'data-kind': kind }, wires);
  cards.set(node, made);
  return made;
}

function writePower(made, power) {
  const text = power === null ? NOTHING : kw(Math.abs(power));
  made.power.textContent = '';
  made.power.append(text.replace(' kW', ''));
  if (power !== null) { const unit = element('small', '', made.power); unit.textContent = ' kW'; }
  made.box.dataset.rest = String(power !== null && Math.abs(power) < QUIET_KW);
}

function writeSoc(made, soc) {
  made.soc.textContent = soc === null || soc === undefined ? '' : number(soc, made.kind === 'battery' ? 1 : 0);
  if (made.soc.textContent) { const unit = element('small', '', made.soc); unit.textContent = ' %'; }
}

function mark(made, name, pct, title) {
  let line = made.marks.get(name);
  if (!line) { line = element('b', '', made.gauge); made.marks.set(name, line); }
  line.hidden = pct === null || pct === undefined;
  line.style.left = `${pct ?? 0}%`;
  line.title = title;
}

const BATTERY_WORDS = { 1: 'discharging', 0: 'at rest', '-1': 'charging' };

function describe(flow, frame) {
  const { node, power_kw: power, direction } = flow;
  if (node === 'grid') {
    const limit = frame.clearance_kw ?? frame.import_limit_kw;
    const word = power === null ? 'no reading' : direction === 0 ? 'no exchange' : direction > 0 ? 'import' : 'export';
    return limit === null ? word : `${word} · limit ${kw(limit)}`;
  }
  if (node === 'pv') return direction > 0 ? 'from the roof' : 'no sun';
  if (node === 'own') return 'house, cooling, losses';
  if (node.startsWith('string')) {
    const view = frame.strings[Number(node.slice(6)) - 1];
    const heat = view?.temp_max_c == null ? '' : ` · ${number(view.temp_max_c, 0)} °C`;
    return (power === null ? 'no reading' : BATTERY_WORDS[direction]) + heat;
  }
  const view = frame.chargers[Number(node.slice(7)) - 1];
  if (!view) return '';
  const energy = view.plugged && view.session_kwh !== null ? ` · ${number(view.session_kwh, 1)} kWh` : '';
  if (!view.plugged && ['ready_to_charge', 'available'].includes(view.state)) return 'free';
  return `${view.state.replaceAll('_', ' ')}${energy}`;
}

const LABELS = { grid: 'Grid', pv: 'Sun', own: 'Own consumption' };

export function showFlows(frame) {
  for (const flow of frame.flows) {
    const made = card(flow.node);
    made.flow = flow;
    const string = flow.node.startsWith('string') ? frame.strings[Number(flow.node.slice(6)) - 1] : null;
    const charger = flow.node.startsWith('charger') ? frame.chargers[Number(flow.node.slice(7)) - 1] : null;
    made.name.textContent = LABELS[flow.node] ?? string?.label ?? charger?.label ?? 'Battery';
    writePower(made, flow.power_kw);
    made.what.textContent = describe(flow, frame);
    made.box.dataset.suspect = String(Boolean(string?.suspect || charger?.suspect));
    if (made.kind === 'battery') {
      const soc = string ? string.soc_pct : frame.soc_pct;
      writeSoc(made, soc);
      made.fill.style.width = `${soc ?? 0}%`;
      mark(made, 'reserve', frame.plan?.reserve_pct ?? frame.soc_reserve_pct, 'Reserve for cars');
      mark(made, 'max', frame.soc_max_pct, 'Charged no further');
    }
    if (made.kind === 'ev') writeSoc(made, charger?.plugged ? charger.ev_soc_pct : null);
  }
  const shown = new Set(frame.flows.map((flow) => flow.node));
  for (const [node, made] of cards) {
    if (shown.has(node)) continue;
    for (const part of [made.box, made.wire, made.pulse, made.arrow]) part.remove();
    cards.delete(node);
  }
  draw();
}

// Thickness grows with the root of the power: 5 kW is still seen and 300 kW does not cover the picture.
const thickness = (power) => Math.min(14, 2 + Math.sqrt(Math.abs(power)) * 0.9);

function draw() {
  const frame = wires.getBoundingClientRect();
  const bar = document.querySelector('.bus').getBoundingClientRect();
  const busX = bar.left + bar.width / 2 - frame.left;
  for (const made of cards.values()) {
    const box = made.box.getBoundingClientRect();
    const y = box.top + box.height / 2 - frame.top;
    const onLeft = box.right - frame.left < busX;
    const nodeX = onLeft ? box.right - frame.left : box.left - frame.left;
    const power = made.flow?.power_kw ?? 0;
    const direction = made.flow?.direction ?? 0;
    const [fromX, toX] = direction >= 0 ? [nodeX, busX] : [busX, nodeX];
    const path = `M${fromX} ${y}H${toX}`;
    const wide = direction === 0 ? 2 : thickness(power);
    made.wire.setAttribute('d', path);
    made.wire.setAttribute('stroke-width', wide);
    made.wire.classList.toggle('on', direction !== 0);
    made.pulse.setAttribute('d', path);
    made.pulse.setAttribute('stroke-width', Math.max(3, wide * 0.6));
    made.pulse.setAttribute('data-speed', Math.abs(power) > 60 ? 3 : Math.abs(power) > 15 ? 2 : 1);
    made.pulse.style.display = direction === 0 ? 'none' : '';
    const size = Math.max(6, wide * 0.85);
    const points = toX > fromX ? 1 : -1;
    const middle = (fromX + toX) / 2;
    made.arrow.setAttribute('d', direction === 0 ? '' : `M${middle - points * size} ${y - size}L${middle + points * size} ${y}L${middle - points * size} ${y + size}Z`);
  }
}

new ResizeObserver(draw).observe(wires);
