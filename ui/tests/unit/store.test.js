import assert from "node:assert/strict";
import { test } from "node:test";
import { INITIAL_STATE } from "../../src/index.js";
import { share } from "../../src/share.js";
import { connectMock, fakePage, manualClock, pass, seeded, settle, stopClock, until } from "./support.js";

test("req 10: equal parts keep their reference", () => {
  const before = { a: { b: [1, { c: 2 }] }, d: { e: null }, f: [] };
  assert.equal(share(before, structuredClone(before)), before);
  const after = share(before, { ...structuredClone(before), d: { e: 1 } });
  assert.notEqual(after, before);
  assert.equal(after.a, before.a);
  assert.equal(after.f, before.f);
  assert.deepEqual(after.d, { e: 1 });
  assert.deepEqual(share({ a: 1 }, [1]), [1]);
  assert.deepEqual(share({ a: 1, b: 2 }, { a: 1 }), { a: 1 });
  assert.deepEqual(share({ a: undefined }, { b: undefined }), { b: undefined });
  assert.deepEqual(share([1, 2, 3], [1, 2]), [1, 2]);
  assert.ok(Number.isNaN(share({ a: NaN }, { a: NaN }).a));
  const error = new Error("x");
  assert.equal(share({ error: new Error("x") }, { error }).error, error);
});

/** Names that objects have by their prototype. */
const INHERITED = ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"];

test("store: an unknown agent is undefined, also by an inherited name", async (t) => {
  const { mock, client } = connectMock(t, { agents: [{ id: "planner" }] });
  const { getState } = client.store;
  for (const name of INHERITED) assert.equal(getState().agents[name], undefined, name);
  await until(client, ({ isLive }) => isLive);
  for (const name of INHERITED) assert.equal(getState().agents[name], undefined, name);
  const { planner } = getState().agents;
  for (const name of INHERITED) {
    await client.agent(name).add();
    await until(client, ({ agents }) => agents[name]?.id === name);
  }
  assert.equal(getState().agents.planner, planner);
  assert.deepEqual(Object.keys(getState().agents), ["planner", ...INHERITED]);
  mock.setAgent("constructor", { restarts: 3 });
  await until(client, ({ agents }) => agents.constructor?.restarts === 3);
  assert.equal(getState().agents.planner, planner);
  assert.equal(getState().agents.length, undefined);
});

test("req 10: sharing takes inherited names for members only if they are", () => {
  const parse = (/** @type {object[]} */ all) => all.map((value) => JSON.parse(JSON.stringify(value)));
  for (const name of INHERITED) {
    const [before, same] = parse([1, 2].map(() => Object.fromEntries([[name, { a: 1 }], ["b", {}]])));
    assert.equal(share(before, same), before, name);
    const empty = JSON.parse(`{"${name}":{}}`);
    const shared = share({ b: 1 }, empty);
    assert.ok(Object.hasOwn(shared, name));
    assert.notEqual(shared[name], Object.prototype);
    const next = JSON.parse(`{"${name}":{"a":1},"b":{"c":1}}`);
    const mixed = share(before, next);
    assert.deepEqual(JSON.stringify(mixed), JSON.stringify(next));
    assert.equal(Object.getOwnPropertyDescriptor(mixed, name)?.value, Object.getOwnPropertyDescriptor(before, name)?.value);
  }
});

test("req 10: sharing changes no value, and is the identity for equal ones", (t) => {
  const random = seeded(t);
  const make = (depth) => {
    const dice = random();
    if (depth === 0 || dice < 0.3) return [null, true, 1, "x", 2.5][Math.floor(random() * 5)];
    const count = Math.floor(random() * 4);
    if (dice < 0.6) return Array.from({ length: count }, () => make(depth - 1));
    return Object.fromEntries(
      Array.from({ length: count }, () => ["abcdef"[Math.floor(random() * 6)], make(depth - 1)]),
    );
  };
  for (let round = 0; round < 2000; round++) {
    const before = make(4);
    const after = make(4);
    const text = JSON.stringify(after);
    const shared = share(before, after);
    assert.equal(JSON.stringify(shared), text);
    assert.equal(share(shared, JSON.parse(text)), shared);
  }
});

test("req 20: before the first snapshot nothing is known, and nothing is healthy", async (t) => {
  const { client } = connectMock(t);
  const state = client.store.getState();
  assert.deepEqual(
    [state.isLive, state.status, state.tree, state.connection, state.queue, state.cache, state.backend],
    [false, null, null, null, null, null, null],
  );
  assert.equal(state.session.state, "connecting");
  assert.equal(state.agents.planner, undefined);
  await until(client, ({ isLive }) => isLive);
  assert.equal(client.store.getState().agents.planner.status, "healthy");
  assert.equal(client.store.getState().agents.absent, undefined);
});

test("req 10: the state for a server's rendering is one frozen object", () => {
  assert.ok(Object.isFrozen(INITIAL_STATE));
  assert.equal(INITIAL_STATE.session.state, "connecting");
  assert.equal(INITIAL_STATE.status, null);
});

test("req 20: an old snapshot is never shown as live", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t, {}, { random: () => 0 });
  await settle();
  mock.slow(100);
  const wrong = [];
  client.store.subscribe(() => {
    const { isLive, status, session } = client.store.getState();
    assert.equal(isLive, session.state === "open");
    if (isLive && status.runtime.boot !== mock.status.runtime.boot) wrong.push(status.runtime.boot);
  });
  for (let round = 0; round < 5; round++) {
    mock.restartRuntime();
    assert.equal(client.store.getState().isLive, false, "at once, not in the next frame");
    await pass(3000);
    assert.equal(client.store.getState().isLive, true);
  }
  assert.deepEqual(wrong, []);
});

test("req 10: the state stays the same object while nothing changes but time", async (t) => {
  stopClock(t);
  const connection = { state: "reconnecting", attempt: 2, next_attempt_in_ms: 3_600_000 };
  const { client } = connectMock(t, { status: { connection } });
  await pass(100);
  const before = client.store.getState();
  assert.equal(before.connection.nextAttemptAt, Date.now() - 100 + 3_600_000);
  let notified = 0;
  client.store.subscribe(() => notified++);
  await pass(60_000, 500);
  assert.equal(client.store.getState(), before);
  assert.equal(notified, 0);
});

test("req 8: the planned time of the runtime is on the page's clock, and exact", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.setStatus({ connection: { state: "reconnecting", attempt: 2, max: 5, next_attempt_in_ms: 4000 } });
  const due = Date.now() + 4000;
  await pass(1000);
  const { nextAttemptAt, attempt, max } = client.store.getState().connection;
  assert.deepEqual([nextAttemptAt, attempt, max], [due, 2, 5]);
  await pass(2000);
  assert.equal(client.store.getState().connection.nextAttemptAt, due);
  mock.setStatus({ connection: { attempt: 3, next_attempt_in_ms: 8000 } });
  await pass(500);
  assert.equal(client.store.getState().connection.nextAttemptAt, due - 1000 + 8000);
});

test("req 8: a runtime whose clock is ahead has its restarts on the page's clock", async (t) => {
  stopClock(t);
  const ahead = 3_600_000;
  const { mock, client } = connectMock(t, {
    clock: {
      now: () => Date.now() + ahead,
      setTimeout: (task, ms) => setTimeout(task, ms),
      clearTimeout: (timer) => clearTimeout(timer),
    },
  });
  await pass(100);
  mock.crash("planner", { restartInMs: 5000 });
  await pass(500);
  assert.equal(client.store.getState().agents.planner.restartAtMs, Date.now() - 500 + 5000);
});

test("req 8: the next probe of the queue is on the page's clock", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const start = Date.now();
  const probe = { next_probe_at: new Date(start + 3_600_000 + 9000).toISOString() };
  const problem = { code: "NETWORK_ERROR", reason: "disconnected", message: "" };
  const held = { since: probe.next_probe_at, failures: 1, ...problem };
  const set = (left) => mock.setStatus({ queue: { held: { ...held, ...probe, next_probe_in_ms: left } } });
  assert.equal(client.store.getState().queue.nextProbeAt, null);
  set(9000);
  await pass(300);
  const before = client.store.getState().queue;
  assert.ok(Math.abs(before.nextProbeAt - (start + 9000)) <= 300, `${before.nextProbeAt - start}`);
  set(7100);
  await pass(2000);
  assert.equal(client.store.getState().queue, before, "the same probe keeps its time");
  mock.setStatus({ queue: { held: null } });
  await pass(300);
  assert.equal(client.store.getState().queue.nextProbeAt, null);
});

test("req 9: the end of the client is reported at once, and nothing after it", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(100);
  const seen = [];
  client.store.subscribe(() => seen.push(client.store.getState().session.state));
  client.store.select(
    ({ isLive }) => isLive,
    (isLive) => seen.push(isLive),
  );
  client.close();
  assert.deepEqual(seen, ["closed", false]);
  mock.setStatus({ queue: { waiting: 5 } });
  await pass(10_000, 500);
  assert.equal(seen.length, 2);
});

test("req 9: only those are called who selected what changed", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t, { agents: [{ id: "planner" }, { id: "coder" }] });
  await pass(100);
  const calls = { planner: 0, coder: 0, connection: 0, count: 0, all: 0 };
  client.store.select(
    (state) => state.agents.planner,
    () => calls.planner++,
  );
  client.store.select(
    (state) => state.agents.coder,
    () => calls.coder++,
  );
  client.store.select(
    (state) => state.connection,
    () => calls.connection++,
  );
  client.store.select(
    (state) => Object.keys(state.agents),
    () => calls.count++,
    (a, b) => a.length === b.length,
  );
  client.store.subscribe(() => calls.all++);
  for (let round = 0; round < 20; round++) {
    mock.setAgent("planner", { messages_in_flight: round + 1 });
    await pass(500);
  }
  assert.deepEqual({ ...calls, all: 0 }, { planner: 20, coder: 0, connection: 0, count: 0, all: 0 });
  assert.equal(calls.all, 20);
});

test("req 9: a selection is given with the one before it", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(100);
  const seen = [];
  client.store.select(
    (state) => state.agents.planner?.status,
    (now, before) => seen.push([before, now]),
  );
  mock.setAgent("planner", { status: "degraded" });
  await pass(500);
  mock.setAgent("planner", { status: "failed" });
  await pass(500);
  assert.deepEqual(seen, [
    ["healthy", "degraded"],
    ["degraded", "failed"],
  ]);
});

test("req 9: any number of changes in a frame are one notification", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(1000);
  let notified = 0;
  const stop = client.store.subscribe(() => notified++);
  mock.drop();
  mock.drop();
  client.retryNow();
  await settle();
  assert.equal(notified, 0);
  await pass(16, 16);
  assert.equal(notified, 1);
  mock.drop();
  stop();
  await pass(100);
  assert.equal(notified, 1, "not after the cancellation, also if a frame was planned");
});

test("req 20: a change during a slow refresh shows after it", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(100);
  let replies = [];
  const hold = mock.on(
    "status",
    () => new Promise((resolve) => replies.push(() => resolve(structuredClone(mock.status)))),
  );
  mock.setAgent("planner", { misses: 1 });
  await pass(400);
  const [first] = replies;
  first();
  replies = [];
  mock.setAgent("planner", { misses: 2 });
  await settle();
  hold();
  await pass(600);
  assert.equal(client.store.getState().agents.planner.misses, 2);
});

test("req 8: a planned time keeps its place, although its delay comes late", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t, {
    status: { connection: { state: "reconnecting", next_attempt_in_ms: 60_000 } },
  });
  await pass(100);
  const before = client.store.getState().connection;
  mock.on("status", () => {
    const { connection } = mock.status;
    const next_attempt_in_ms = Date.parse(connection.next_attempt_at) - Date.now() + 37;
    return { ...mock.status, connection: { ...connection, next_attempt_in_ms } };
  });
  await pass(20_000, 500);
  assert.equal(client.store.getState().connection, before);
});

test("a hidden page asks for nothing by itself, and at once when it shows", async (t) => {
  stopClock(t);
  const page = fakePage(t);
  const { mock } = connectMock(t);
  await pass(100);
  page.show("hidden");
  mock.commands.length = 0;
  await pass(14_000, 500);
  assert.deepEqual(mock.commands, []);
  page.show("visible");
  await settle();
  assert.ok(mock.commands.some(({ type }) => type === "status"));
});

test("store: a wall clock that is set delays no reading", async (t) => {
  const clock = manualClock();
  let ahead = 0;
  const own = { ...clock, now: () => clock.now() + ahead };
  const { mock, client } = connectMock(t, {}, { clock: own });
  await settle();
  assert.equal(client.store.getState().isLive, true);
  let readings = 0;
  let change = 0;
  mock.on("status", () => {
    readings++;
    ahead += change;
    return structuredClone(mock.status);
  });
  const read = async () => {
    mock.pushEvent({ kind: "x" });
    await settle();
    clock.advance(600);
    await settle();
    return readings;
  };
  assert.equal(await read(), 1);
  change = 3_600_000;
  assert.equal(await read(), 2, "set forward while it is read");
  change = 0;
  assert.equal(await read(), 3);
  ahead = 0;
  assert.equal(await read(), 4, "set back");
});
