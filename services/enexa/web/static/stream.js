// A live stream that comes back by itself: after a cut, after a restart of the server, after a lost session.
import { logInAgain } from './shell.js';

const SILENT_MS = 4000;
const PAUSES_MS = [500, 1000, 2000, 4000, 8000];

export function follow(url, handlers, onState) {
  let source = null;
  let heard = performance.now();
  let failures = 0;
  let waiting = false;

  function open() {
    waiting = false;
    heard = performance.now();
    source = new EventSource(url);
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        heard = performance.now();
        if (failures !== 0 || onState.last !== 'live') { failures = 0; onState.last = 'live'; onState('live'); }
        handle(event.data);
      });
    }
    source.onerror = () => lost();
  }

  async function lost() {
    if (waiting) return;
    waiting = true;
    source?.close();
    const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)];
    failures += 1;
    onState.last = 'lost';
    onState('lost', pause);
    await new Promise((resolve) => { setTimeout(resolve, pause); });
    try {
      const answer = await fetch('/session', { headers: { Accept: 'application/json' } });
      if (answer.status === 401) await logInAgain();
      else if (!answer.ok) throw new Error('not ready');
      open();
    } catch {
      waiting = false;
      lost();
    }
  }

  setInterval(() => { if (!waiting && performance.now() - heard > SILENT_MS) lost(); }, 1000);
  addEventListener('pagehide', () => source?.close());
  open();
}
