// Charts: price, plan and actual over one time axis. Gaps are gaps, and shaded; the plan ahead is dashed.
import { form, local, number, utc } from './format.js';

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: 'reset' };

export function whenReady() {
  return new Promise((resolve) => {
    if (window.Plotly) resolve();
    else addEventListener('load', () => resolve(), { once: true });
  });
}

function layout(extra) {
  const axis = { gridcolor: colour('line'), linecolor: colour('line'), zerolinecolor: colour('muted'), zerolinewidth: 1, fixedrange: true, tickfont: { size: 12 }, automargin: true, title: { font: { size: 12 }, standoff: 6 } };
  return {
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: { color: colour('muted'), family: 'system-ui, "DejaVu Sans", sans-serif', size: 12 },
    separators: form === 'de' ? ',.' : '.,', margin: { l: 52, r: 12, t: 8, b: 34 }, hovermode: 'x unified', hoverlabel: { bgcolor: colour('card'), bordercolor: colour('line'), font: { color: colour('ink') } },
    showlegend: true, legend: { orientation: 'h', y: -0.07, yanchor: 'top', x: 0, font: { size: 12 } },
    ...extra(axis),
  };
}

const times = (seconds) => seconds.map(local);
const stamps = (seconds) => seconds.map((second) => utc(new Date(second * 1000)).slice(11, 16));

function line(at, values, name, tone, rest = {}) {
  return { type: 'scatter', mode: 'lines', x: times(at), y: values, customdata: stamps(at), name, connectgaps: false, line: { color: colour(tone), width: 2, ...rest.line }, hovertemplate: `%{y:,.1f} ${rest.unit ?? 'kW'}`, ...rest.trace };
}

// A slot's value holds from its start to its end: a step that ends with the last slot, broken where slots are missing.
function steps(plan, key) {
  const at = [];
  const values = [];
  plan.start_s.forEach((start, index) => {
    if (index > 0 && plan.end_s[index - 1] < start) { at.push(plan.end_s[index - 1] + 1); values.push(null); }
    at.push(start, plan.end_s[index] - 1);
    values.push(plan[key][index], plan[key][index]);
  });
  return { at, values };
}

function bands(data) {
  const shapes = data.measured.gaps.map((gap) => ({ type: 'rect', xref: 'x', yref: 'paper', x0: local(gap.from_s), x1: local(gap.until_s), y0: 0, y1: 1, fillcolor: colour('muted'), opacity: 0.14, line: { width: 0 }, layer: 'below' }));
  if (data.until_s > data.now_s) shapes.push({ type: 'line', xref: 'x', yref: 'paper', x0: local(data.now_s), x1: local(data.now_s), y0: 0, y1: 1, line: { color: colour('ink'), width: 1.5, dash: 'dot' } });
  return shapes;
}

const xaxis = (axis, data) => ({ ...axis, type: 'date', range: [local(data.from_s), local(data.until_s)], tickformat: '%H:%M', showgrid: false, hoverformat: form === 'de' ? '%d.%m. %H:%M' : '%d %b %H:%M' });

export function planChart(target, data) {
  const { measured, planned, ghost } = data;
  const zoneTone = { cheap: 'good', negative: 'good', expensive: 'bad', normal: 'muted' };
  const traces = [
    { type: 'bar', x: planned.start_s.map((start, index) => local((start + planned.end_s[index]) / 2)), y: planned.price_eur_per_mwh, width: planned.start_s.map((start, index) => (planned.end_s[index] - start) * 940), marker: { color: planned.zone.map((zone) => colour(zoneTone[zone] ?? 'muted')), opacity: 0.6, line: { width: 0 } }, name: 'Price', yaxis: 'y3', showlegend: false, hovertemplate: '%{y:,.1f} €/MWh', customdata: planned.reason },
    line(measured.at_s, measured.battery_kw, 'Battery, measured', 'battery', { trace: { yaxis: 'y2', legendgroup: 'm' } }),
    line(measured.at_s, measured.soc_pct, 'State of charge, measured', 'battery', { unit: '%', trace: { yaxis: 'y', showlegend: false } }),
  ];
  const setpoint = steps(planned, 'setpoint_kw');
  traces.push(line(setpoint.at, setpoint.values, 'Planned', 'ink', { line: { dash: '5px,3px', width: 1.6 }, trace: { yaxis: 'y2' } }));
  traces.push(line(planned.end_s, planned.soc_target_pct, 'State of charge, planned', 'ink', { unit: '%', line: { dash: '5px,3px', width: 1.6 }, trace: { yaxis: 'y', showlegend: false } }));
  const reserve = steps(planned, 'reserve_pct');
  traces.push(line(reserve.at, reserve.values, 'Reserve for cars', 'ev', { unit: '%', line: { width: 1.2, dash: 'dot' }, trace: { yaxis: 'y' } }));
  if (ghost) {
    const before = steps(ghost, 'setpoint_kw');
    traces.push(line(before.at, before.values, 'Plan before', 'muted', { line: { width: 1 }, trace: { yaxis: 'y2', opacity: 0.6 } }));
  }
  const figure = layout((axis) => ({
    xaxis: xaxis(axis, data),
    yaxis3: { ...axis, domain: [0.74, 1], title: { ...axis.title, text: '€/MWh' }, nticks: 5 },
    yaxis2: { ...axis, domain: [0.37, 0.69], title: { ...axis.title, text: 'Battery kW' }, nticks: 6 },
    yaxis: { ...axis, domain: [0, 0.32], title: { ...axis.title, text: 'Charge %' }, range: [0, 100], nticks: 5 },
    shapes: bands(data), bargap: 0,
  }));
  window.Plotly.react(target, traces, figure, CONFIG);
}

export function powerChart(target, data) {
  const { measured } = data;
  const has = (name) => measured[name].some((value) => value !== null);
  const traces = [
    line(measured.at_s, measured.grid_kw, 'Grid (import +)', 'grid'),
    line(measured.at_s, measured.ev_kw, 'Cars', 'ev'),
    line(measured.at_s, measured.battery_kw, 'Battery (discharge +)', 'battery'),
    line(measured.at_s, measured.aux_kw, 'Own consumption', 'own', { line: { width: 1.2 } }),
  ];
  if (has('pv_kw')) traces.push(line(measured.at_s, measured.pv_kw, 'Sun', 'pv'));
  const shapes = bands(data);
  if (data.import_limit_kw !== null) shapes.push({ type: 'line', xref: 'paper', x0: 0, x1: 1, y0: data.import_limit_kw, y1: data.import_limit_kw, line: { color: colour('grid'), width: 1, dash: 'dash' } });
  const figure = layout((axis) => ({ xaxis: { ...xaxis(axis, data), range: [local(data.from_s), local(data.now_s)] }, yaxis: { ...axis, title: { ...axis.title, text: 'kW' }, nticks: 6 }, shapes, legend: { orientation: 'h', y: -0.14, yanchor: 'top', x: 0, font: { size: 12 } } }));
  window.Plotly.react(target, traces, figure, CONFIG);
}

export function note(data) {
  const { gaps, completeness_pct: complete } = data.measured;
  const holes = gaps.length === 0 ? 'no gaps' : `${gaps.length} ${gaps.length === 1 ? 'gap' : 'gaps'} (shaded)`;
  return `Measured data cover ${number(complete, 1)} % of the time shown, ${holes}. Times are local; the hover text on times elsewhere gives UTC.`;
}

const CONTROLLERS = { reactive: ['Reactive BMS', 'own', 'dot'], smart: ['SmartEMS', 'battery', 'solid'], perfect: ['Perfect foresight', 'price', '4px,3px'] };

export function comparisonChart(target, data, shown) {
  const begin = Date.parse(data.start) / 1000;
  const starts = data.price_eur_per_mwh.map((_, index) => begin + 900 * index);
  const ends = starts.map((start) => start + 900);
  const middle = starts.map((start) => start + 450);
  const traces = [
    { type: 'bar', x: times(middle), y: data.price_eur_per_mwh, marker: { color: colour('muted'), opacity: 0.55, line: { width: 0 } }, name: 'Price', yaxis: 'y3', showlegend: false, hovertemplate: '%{y:,.1f} €/MWh' },
    line(middle, data.ev_wanted_kw, 'Cars ask for', 'ev', { line: { width: 1, shape: 'hvh' }, trace: { yaxis: 'y2', opacity: 0.7 } }),
  ];
  for (const key of shown) {
    const [name, tone, dash] = CONTROLLERS[key];
    traces.push(line(middle, data[key].battery_kw, name, tone, { line: { dash, shape: 'hvh' }, trace: { yaxis: 'y2', legendgroup: key } }));
    traces.push(line(ends, data[key].soc_pct, name, tone, { unit: '%', line: { dash }, trace: { yaxis: 'y', legendgroup: key, showlegend: false } }));
  }
  const figure = layout((axis) => ({
    xaxis: { ...xaxis(axis, { from_s: begin, until_s: begin + 86400 }) },
    yaxis3: { ...axis, domain: [0.76, 1], title: { ...axis.title, text: '€/MWh' }, nticks: 5 },
    yaxis2: { ...axis, domain: [0.36, 0.71], title: { ...axis.title, text: 'Battery kW' }, nticks: 6 },
    yaxis: { ...axis, domain: [0, 0.31], title: { ...axis.title, text: 'Charge %' }, range: [0, 100], nticks: 5 },
    bargap: 0.05,
  }));
  window.Plotly.react(target, traces, figure, CONFIG);
}
