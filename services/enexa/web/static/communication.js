// The state of each link, live.
import { lasted, number } from './format.js';
import { setServerNow } from './shell.js';
import { follow } from './stream.js';

const page = document.getElementById('communication');

function show(frame, connected = true) {
  setServerNow(frame.at);
  for (const link of frame.links) {
    const target = page.querySelector(`[data-link=${link.name}]`);
    target.textContent = '';
    const dot = document.createElement('span');
    dot.className = 'tag';
    const state = connected ? link.state : 'unknown';
    dot.dataset.tone = { up: 'good', degraded: 'notice', down: 'bad', unknown: '' }[state];
    dot.textContent = `${link.label}: ${state}`;
    target.append(dot);
    if (link.age_s !== null && state !== 'up') target.append(` ${lasted(link.age_s)}`);
  }
  document.getElementById('mode').textContent = (frame.mode ?? 'unknown').replaceAll('_', ' ');
  document.getElementById('buffered').textContent = number(frame.buffer.samples);
  document.getElementById('station').textContent = frame.station_state ?? 'state unknown';
}

let frame = JSON.parse(document.getElementById('first-frame').textContent);
show(frame);
follow(`/sites/${page.dataset.site}/live`, { frame: (text) => { frame = JSON.parse(text); show(frame); } }, (state) => { if (state === 'lost') show(frame, false); });
