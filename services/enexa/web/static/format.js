// Numbers and times as the reader writes them. Times come from the server and are shown in the site's local time.
export const ZONE = 'Europe/Berlin';
export const form = document.documentElement.dataset.form === 'de' ? 'de' : 'en';
const LOCALE = form === 'de' ? 'de-DE' : 'en-GB';
export const NOTHING = '–';

const writers = new Map();
function writer(digits, sign) {
  const key = `${digits}${sign}`;
  if (!writers.has(key)) {
    writers.set(key, new Intl.NumberFormat(LOCALE, { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: sign ? 'exceptZero' : 'negative' }));
  }
  return writers.get(key);
}

export function number(value, digits = 0, sign = false) {
  return value === null || value === undefined ? NOTHING : writer(digits, sign).format(value).replace('-', '−');
}

export function kw(value, sign = false) {
  if (value === null || value === undefined) return NOTHING;
  return `${number(value, Math.abs(value) < 99.95 ? 1 : 0, sign)} kW`;
}

const clockWriter = new Intl.DateTimeFormat(LOCALE, { timeZone: ZONE, hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const minuteWriter = new Intl.DateTimeFormat(LOCALE, { timeZone: ZONE, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const dateWriter = new Intl.DateTimeFormat(LOCALE, form === 'de' ? { timeZone: ZONE, day: '2-digit', month: '2-digit', year: 'numeric' } : { timeZone: ZONE, day: '2-digit', month: 'short', year: 'numeric' });
export const clock = (at) => clockWriter.format(at);
export const minute = (at) => minuteWriter.format(at);
export const date = (at) => dateWriter.format(at);
export const utc = (at) => `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;

export function lasted(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < 1) return `${number(seconds * 1000)} ms`;
  if (seconds < 120) return `${number(seconds, seconds < 10 && seconds % 1 ? 1 : 0)} s`;
  if (seconds < 7200) return `${number(seconds / 60)} min`;
  return `${number(seconds / 3600, 1)} h`;
}

// Local wall time of a UTC second as the text that the chart library reads; offsets are looked up once a quarter hour.
const parts = new Intl.DateTimeFormat('en-GB', { timeZone: ZONE, year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const offsets = new Map();
function offset(second) {
  const quarter = Math.floor(second / 900);
  if (!offsets.has(quarter)) {
    const at = quarter * 900;
    const part = Object.fromEntries(parts.formatToParts(new Date(at * 1000)).map((each) => [each.type, Number(each.value)]));
    offsets.set(quarter, Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) / 1000 - at);
  }
  return offsets.get(quarter);
}
export const local = (second) => new Date((second + offset(second)) * 1000).toISOString().slice(0, 19);
