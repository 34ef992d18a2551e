// Site Monitoring: writes each frame into the page and says plainly when there is none.
import { clock, kw, lasted, minute, number, utc, NOTHING } from './format.js';
import { ask, serverNow, setServerNow } from './shell.js';
import { follow } from './stream.js';
import { showFlows } from './flow.js';
import { note, planChart, powerChart, whenReady } from './charts.js';

const id = (name) => document.getElementById(name);
const live = id('live');
const site = live.dataset.site;
let frame = null;
let planVersion = null;

function write(name, text, title) {
  const target = id(name);
  if (target.textContent !== text) target.textContent = text;
  if (title !== undefined) target.title = title;
}

const REASONS = { cheap_slot: 'energy is cheap', expensive_slot: 'energy is expensive', peak_shaving: 'the peak is held down', pv_absorb: 'the sun is stored', ev_assist: 'a car needs more than the grid gives', reserve_protect: 'the reserve is kept for cars', near_full: 'the battery is nearly full', grid_limit: 'the grid limit holds', negative_price: 'the price is negative', safe_fallback: 'safe limits are in force', operator: 'an operator asked for it', idle: 'nothing is to be gained now' };
const why = (code) => REASONS[code] ?? code.replaceAll('_', ' ');
const battery = (value) => (value === null || value === undefined ? NOTHING : Math.abs(value) < 0.05 ? '0 kW' : `${value > 0 ? 'give' : 'take'} ${kw(Math.abs(value))}`);

function showPills() {
  const mode = id('mode');
  write('mode', (frame.mode ?? 'mode unknown').replaceAll('_', ' '), frame.mode_text);
  mode.dataset.tone = frame.mode_tone;
  const pill = id('control-pill');
  pill.hidden = frame.external_control !== false;
  if (!pill.hidden) { pill.textContent = 'device acts alone'; pill.dataset.tone = 'notice'; }
  const alerts = id('alerts-pill');
  alerts.hidden = frame.alerts_open_count === 0;
  alerts.textContent = `${frame.alerts_open_count} open ${frame.alerts_open_count === 1 ? 'alert' : 'alerts'}`;
}

function showAge() {
  const age = frame.sample_at ? Math.max(0, (serverNow() - Date.parse(frame.sample_at)) / 1000) : null;
  const words = { live: 'Live', stale: 'Stale', lost: 'Lost', none: 'No data yet' };
  const tones = { live: 'good', stale: 'notice', lost: 'bad', none: 'neutral' };
  const cut = live.dataset.connection === 'lost';
  const shown = cut && frame.freshness === 'live' ? 'stale' : frame.freshness;
  const pill = id('age');
  pill.dataset.tone = tones[shown];
  write('age', age === null ? words.none : `${words[shown]} · ${lasted(Math.max(1, Math.round(age)))}`, frame.sample_at ? `Newest sample: ${clock(new Date(frame.sample_at))} (${utc(new Date(frame.sample_at))})` : '');
}

function showBanner() {
  const banner = id('banner');
  let text = '';
  let bad = false;
  if (live.dataset.connection === 'lost') { text = 'Enexa does not answer. What you see is the last known state; the page goes on by itself when it is back.'; bad = true; }
  else if (frame.freshness === 'lost') { text = 'No sample for over a minute. What you see is the last known state.'; bad = true; }
  else if (frame.freshness === 'stale') text = 'The newest sample is late.';
  else if (frame.freshness === 'none') text = 'No data has arrived from this site yet. The page fills itself as soon as the middleware sends its first sample.';
  else if (frame.mode && frame.mode !== 'online') text = frame.mode_text;
  banner.hidden = text === '';
  banner.classList.toggle('bad', bad);
  if (banner.textContent !== text) banner.textContent = text;
}

function showPrice() {
  const { plan, price_eur_per_mwh: price } = frame;
  write('price', number(price, 1));
  const sub = id('price-sub');
  sub.textContent = '';
  if (!plan) { sub.textContent = price === null ? 'No price is known for now.' : 'No plan is in force.'; return; }
  const zone = document.createElement('span');
  zone.className = 'zone';
  zone.dataset.zone = plan.zone;
  zone.textContent = plan.zone;
  sub.append(zone, ` until ${minute(new Date(plan.slot_end))}`);
  if (plan.next_price_eur_per_mwh !== null) sub.append(`, then ${number(plan.next_price_eur_per_mwh, 1)}`);
  sub.append(`. A stored kWh is worth ${number(plan.marginal_eur_per_kwh * 100, 1)} ct.`);
}

function showPlan() {
  const { plan, control, intent } = frame;
  write('plan-kw', plan ? battery(plan.setpoint_kw) : 'no plan in force');
  write('wish-kw', battery(intent ? intent.setpoint_kw : control.wish_kw));
  write('actual-kw', battery(control.measured_kw));
  write('plan-soc', plan ? `${number(plan.soc_target_pct, 1)} %` : NOTHING);
  const parts = [];
  if (intent) parts.push(`Now: ${why(intent.reason)}.`);
  else if (plan) parts.push(`Planned because ${why(plan.reason)}.`);
  if (control.limited_by.length) parts.push(`Held by ${control.limited_by.map((each) => each.replaceAll('_', ' ')).join(', ')}.`);
  if (plan) parts.push(`Plan ${plan.version}${plan.made_at ? ` of ${minute(new Date(plan.made_at))}` : ''}, reserve ${number(plan.reserve_pct)} %, import up to ${kw(plan.import_gate_kw)}.`);
  write('plan-why', parts.join(' '));
}

function showWatchdog() {
  const { watchdog_s: left, watchdog_limit_s: limit, external_control: external } = frame;
  write('watchdog', number(left, left !== null && left < 10 ? 1 : 0));
  const bar = id('watchdog-bar');
  bar.max = limit ?? 60;
  bar.value = left ?? 0;
  bar.dataset.tone = left !== null && limit !== null && left < limit * 0.25 ? 'bad' : 'good';
  write('watchdog-sub', external === false ? 'External control is off.' : left === null ? 'Not told.' : `of ${number(limit)} s; at 0 the device acts alone.`);
}

function showBuffer() {
  const { samples, events, oldest_age_s: oldest, capacity_used_pct: used } = frame.buffer;
  write('buffer', number(samples));
  const parts = [];
  if (events) parts.push(`${number(events)} events`);
  if (samples && oldest !== null) parts.push(`oldest ${lasted(oldest)}`);
  if (used !== null) parts.push(`${number(used, 1)} % of the 24 h used`);
  write('buffer-sub', parts.join(' · ') || (samples === null ? 'Not told.' : ''));
}

function showLinks() {
  const list = id('links');
  list.textContent = '';
  for (const link of frame.links) {
    const item = document.createElement('li');
    const dot = document.createElement('span');
    dot.className = 'dot';
    dot.dataset.state = link.state;
    const name = document.createElement('span');
    name.textContent = link.label;
    const state = document.createElement('small');
    state.textContent = link.state;
    const detail = document.createElement('small');
    detail.className = 'detail';
    detail.textContent = link.detail + (link.age_s === null || link.state === 'up' ? '' : `, ${lasted(link.age_s)} ago`);
    item.append(dot, name, state, detail);
    list.append(item);
  }
}

function showAlerts() {
  const notes = [
    ...frame.errors.map((text) => ({ tone: 'bad', text: `Station error: ${text.replaceAll('_', ' ')}` })),
    ...(frame.balance_alarm ? [{ tone: 'bad', text: frame.balance_alarm }] : []),
    ...frame.warnings.map((text) => ({ tone: 'notice', text: `Station warning: ${text.replaceAll('_', ' ')}` })),
    ...frame.alerts.map((alert) => ({ tone: alert.severity === 'critical' ? 'bad' : 'notice', text: alert.text, at: alert.raised_at })),
  ];
  id('alerts').hidden = notes.length === 0;
  const list = id('alert-list');
  const key = JSON.stringify(notes);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.textContent = '';
  for (const each of notes) {
    const item = document.createElement('li');
    const pill = document.createElement('span');
    pill.className = `pill ${each.tone}`;
    pill.textContent = each.tone === 'bad' ? 'act' : 'note';
    item.append(pill, each.text);
    if (each.at) { const since = document.createElement('small'); since.textContent = `since ${clock(new Date(each.at))}`; since.title = utc(new Date(each.at)); item.append(since); }
    list.append(item);
  }
}

function showBalance() {
  const target = id('balance');
  const { closure, imbalance_kw: off, missing } = frame.balance;
  target.dataset.closure = closure;
  const texts = { closed: 'The energy balance closes', open: 'The energy balance does not close', unknown: `The energy balance cannot be checked without ${missing.join(', ')}` };
  write('balance', closure === 'unknown' ? `${texts.unknown}.` : `${texts[closure]} (off by ${kw(Math.abs(off))}).`);
}

function show(next) {
  frame = next;
  setServerNow(frame.at);
  live.dataset.freshness = frame.freshness;
  write('headline', frame.headline);
  showPills(); showAge(); showBanner(); showFlows(frame); showPrice(); showPlan(); showWatchdog(); showBuffer(); showLinks(); showAlerts(); showBalance();
  if (planVersion !== (frame.plan?.version ?? null)) { planVersion = frame.plan?.version ?? null; drawCharts(); }
}

// ---- charts: fetched when the plan changes and every 20 seconds while the page is seen ----
const CHART_PERIOD_MS = 20000;
let drawing = false;
async function drawCharts() {
  if (drawing || document.hidden) return;
  drawing = true;
  try {
    const chosen = document.querySelector('.ranges [aria-pressed=true]');
    const data = await ask(`/sites/${site}/chart?back_h=${chosen.dataset.back}&ahead_h=${chosen.dataset.ahead}`);
    await whenReady();
    for (const name of ['chart', 'power-chart']) id(name).querySelector('.placeholder')?.remove();
    planChart(id('chart'), data);
    powerChart(id('power-chart'), data);
    write('chart-note', note(data));
  } catch {
    write('chart-note', 'The chart could not be renewed; Enexa does not answer.');
  } finally {
    drawing = false;
  }
}
setInterval(drawCharts, CHART_PERIOD_MS);
document.addEventListener('visibilitychange', drawCharts);
document.addEventListener('themechange', drawCharts);
for (const button of document.querySelectorAll('.ranges button')) {
  button.setAttribute('aria-pressed', String(button.getAttribute('aria-pressed') === 'true'));
  button.addEventListener('click', () => {
    for (const each of document.querySelectorAll('.ranges button')) each.setAttribute('aria-pressed', String(each === button));
    drawCharts();
  });
}

show(JSON.parse(id('first-frame').textContent));
setInterval(() => { showAge(); showBanner(); }, 1000);
follow(
  `/sites/${site}/live`,
  {
    frame: (text) => show(JSON.parse(text)),
    log: (html) => { id('log').innerHTML = html; },
  },
  (state) => { live.dataset.connection = state; showBanner(); showAge(); },
);
