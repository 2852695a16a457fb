/** Helpers of the unit tests: a page, a clock that stands still, and a seed. */
import { mock as nodeMock } from "node:test";
import { connect } from "../../src/index.js";
import { createMock } from "../../src/transports/mock.js";

// A page in Tauri loads this on demand. No test waits for a file.
import "../../src/transports/tauri-link.js";

let slot = 0;

/** Stops the clock until the end of the test. */
export function stopClock(t, now = Date.UTC(2026, 2, 1, 12)) {
  nodeMock.timers.enable({ apis: ["setTimeout", "Date"], now });
  t.after(() => nodeMock.timers.reset());
}

/** Runs everything that waits for no timer. */
export async function settle() {
  for (let round = 0; round < 8; round++) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets the stopped clock go on, in steps. */
export async function pass(ms, step = 50) {
  await settle();
  for (let left = ms; left > 0; left -= step) {
    nodeMock.timers.tick(Math.min(step, left));
    await settle();
  }
}

/** Returns a random function of a seed, which is printed. */
export function seeded(t, seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))) {
  t.diagnostic(`SEED=${seed}`);
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Connects a client to a scripted runtime. Both end with the test. */
export function connectMock(t, options = {}, more = {}) {
  const mock = createMock(options);
  const client = connect({ mock, id: `test-${++slot}`, random: () => 1, ...more });
  t.after(() => client.close());
  return { mock, client };
}

/** Returns the error of a promise that must reject. */
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the promise did not reject");
}

/** Puts members on the global object until the end of the test. */
export function setGlobals(t, globals) {
  for (const [name, value] of Object.entries(globals)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => {
      if (before) Object.defineProperty(globalThis, name, before);
      else delete globalThis[name];
    });
  }
}

/** Puts a page with events on the global object. Returns it. */
export function fakePage(t) {
  const page = new EventTarget();
  const document = new EventTarget();
  document.visibilityState = "visible";
  setGlobals(t, {
    document,
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
  });
  return {
    document,
    emit: (type, members = {}) => page.dispatchEvent(Object.assign(new Event(type), members)),
    show: (state) => {
      document.visibilityState = state;
      document.dispatchEvent(new Event("visibilitychange"));
    },
  };
}

/** Collects what a listener gets. */
export function collector() {
  const items = [];
  const listener = (item) => void items.push(item);
  return { items, listener };
}

/** Resolves when the state fulfils a condition. */
export function until(client, condition) {
  return new Promise((resolve) => {
    if (condition(client.store.getState())) return resolve();
    const stop = client.store.subscribe(() => {
      if (!condition(client.store.getState())) return;
      stop();
      resolve();
    });
  });
}

/** Makes a clock that moves by hand. `jump` lets time pass at once, so that timers are late. */
export function manualClock(start = Date.UTC(2026, 2, 1, 12)) {
  let now = start;
  let nextId = 1;
  const timers = new Map();
  const runDue = () => {
    const due = [...timers].filter(([, timer]) => timer.at <= now).sort(([, a], [, b]) => a.at - b.at);
    for (const [id, { task }] of due) if (timers.delete(id)) task();
  };
  const clock = {
    now: () => now,
    setTimeout: (task, ms) => (timers.set(nextId, { task, at: now + ms }), nextId++),
    clearTimeout: (id) => void timers.delete(id),
    jump: (ms) => {
      now += ms;
      runDue();
    },
    advance: (ms) => {
      const end = now + ms;
      for (;;) {
        const next = Math.min(...[...timers.values()].map(({ at }) => at));
        if (next > end) break;
        now = Math.max(now, next);
        runDue();
      }
      now = end;
    },
    get size() {
      return timers.size;
    },
  };
  return clock;
}
