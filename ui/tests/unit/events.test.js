import assert from "node:assert/strict";
import { test } from "node:test";
import { compareCursors } from "../../src/index.js";
import { collector, connectMock, fakePage, manualClock, pass, seeded, settle, stopClock } from "./support.js";

const places = (batches) => batches.flatMap(({ events }) => events.map(({ run, seq }) => `${run}.${seq}`));

test("cursors compare as numbers", () => {
  const sorted = ["10.1", "2.10", "2.9", "1.100"].sort(compareCursors);
  assert.deepEqual(sorted, ["1.100", "2.9", "2.10", "10.1"]);
});

test("req 9: no event is lost or doubled over lost sessions and restarts", async (t) => {
  stopClock(t);
  const random = seeded(t);
  const { mock, client } = connectMock(t);
  await settle();
  const all = collector();
  client.onEvents(all.listener);
  const expected = [];
  let stopExtra = () => {};
  for (let round = 0; round < 300; round++) {
    const dice = random();
    if (dice < 0.6) {
      const count = 1 + Math.floor(random() * 30);
      mock.pushEvents(Array.from({ length: count }, () => ({ kind: "actor_ready" })));
    } else if (dice < 0.75) mock.drop({ refuse: Math.floor(random() * 3) });
    else if (dice < 0.8) mock.restartRuntime();
    else if (dice < 0.85) mock.halfOpen();
    else {
      // Another listener that begins earlier makes the session subscribe again.
      stopExtra();
      const { items, listener } = collector();
      const after = mock.events[Math.floor(random() * mock.events.length)];
      const from = after ? `${after.run}.${after.seq}` : "1.0";
      const stop = client.onEvents(listener, { after: from });
      stopExtra = () => {
        stop();
        const got = places(items);
        const known = mock.events
          .map(({ run, seq }) => `${run}.${seq}`)
          .filter((at) => compareCursors(at, from) > 0);
        assert.deepEqual(got, known.slice(0, got.length));
      };
    }
    await pass(Math.floor(random() * 400), 100);
  }
  await pass(60_000, 500);
  for (const { run, seq } of mock.events) expected.push(`${run}.${seq}`);
  assert.deepEqual(places(all.items), expected);
  assert.ok(all.items.every(({ lagged }) => lagged === null));
  stopExtra();
});

test("req 9: a listener that begins earlier gets what was before, the others no more", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const [first, late, later] = [collector(), collector(), collector()];
  client.onEvents(first.listener);
  mock.pushEvents(Array.from({ length: 30 }, () => ({ kind: "actor_ready" })));
  await pass(100);
  client.onEvents(late.listener, { after: "1.10" });
  client.onEvents(later.listener, { after: "1.25" });
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => `1.${from + at}`);
  assert.deepEqual(places(first.items), numbers(1, 31));
  assert.deepEqual(places(late.items), numbers(11, 31));
  assert.deepEqual(places(later.items), numbers(26, 31));
  assert.equal(mock.commands.filter(({ type }) => type === "subscribe").length, 2);
});

test("req 9: a gap is reported to whom it concerns, at its place", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t, { keepEvents: 10 });
  await settle();
  const { items, listener } = collector();
  client.onEvents(listener);
  mock.pushEvents([{ kind: "actor_ready" }]);
  await pass(100);
  mock.drop({ refuse: 1 });
  mock.pushEvents(Array.from({ length: 50 }, () => ({ kind: "actor_ready" })));
  await pass(2000);
  assert.deepEqual(items[0].cursor, "1.1");
  assert.deepEqual(items[1], { events: [], lagged: { after: "1.1", before: "1.42" }, cursor: "1.41" });
  assert.deepEqual(
    places(items.slice(2)),
    Array.from({ length: 10 }, (_, at) => `1.${42 + at}`),
  );
});

test("req 9: another data folder is a gap, and its events follow", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  client.onEvents(listener);
  mock.pushEvents(Array.from({ length: 30 }, () => ({ kind: "actor_ready" })));
  await pass(100);
  assert.equal(items.length, 1);
  for (const after of ["1.30", "1.61"]) {
    mock.restartRuntime({ foreign: true });
    // The old place seems to be one of the new folder.
    mock.pushEvents(Array.from({ length: 60 }, () => ({ kind: "actor_ready" })));
    items.length = 0;
    await pass(5000, 500);
    assert.deepEqual(items[0], { events: [], lagged: { after, before: "1.61" }, cursor: "1.61" });
    assert.equal(items.length, 1);
  }
  mock.pushEvents([{ kind: "agent_outdated" }]);
  await pass(100);
  assert.deepEqual(places(items), ["1.62"]);
});

test("req 9: a place that is ahead of the runtime is a gap, and new events come", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  const { items, listener } = collector();
  client.onEvents(listener, { after: "7.100" });
  await pass(100);
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  assert.deepEqual(items[0].lagged, { after: "7.100", before: "1.0" });
  assert.deepEqual(places(items), ["1.1"]);
});

test("req 9: a place that is ahead is a gap also for a listener of a live session", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  const [first, ahead] = [collector(), collector()];
  client.onEvents(first.listener);
  client.onEvents(ahead.listener, { after: "999.1" });
  await pass(100);
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  assert.deepEqual(ahead.items[0], { events: [], lagged: { after: "999.1", before: "1.1" }, cursor: "1.1" });
  assert.deepEqual(places(ahead.items), ["1.2"]);
  assert.deepEqual(places(first.items), ["1.2"]);
  assert.ok(first.items.every(({ lagged }) => lagged === null));
});

test("req 9: a place of a listener that comes before the first snapshot loses nothing", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  mock.pushEvents(Array.from({ length: 5 }, () => ({ kind: "actor_ready" })));
  mock.slow(100);
  const { items, listener } = collector();
  while (!mock.commands.some(({ type }) => type === "subscribe")) await pass(10, 10);
  assert.equal(client.store.getState().isLive, false);
  client.onEvents(listener, { after: "1.2" });
  await pass(1000);
  assert.deepEqual(places(items), ["1.3", "1.4", "1.5"]);
});

test("req 9: a place that is no cursor breaks no session", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  const { items, listener } = collector();
  client.onEvents(listener, { after: "garbage" });
  await pass(100);
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  assert.equal(client.store.getState().isLive, true);
  assert.deepEqual(places(items), ["1.1"]);
});

test("a page without listeners asks for no old events", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(100);
  mock.drop();
  mock.pushEvents(Array.from({ length: 5000 }, () => ({ kind: "actor_ready" })));
  await pass(2000);
  assert.equal(client.store.getState().isLive, true);
  assert.deepEqual(
    mock.commands.filter(({ type }) => type === "subscribe").map(({ after }) => after),
    [undefined, undefined],
  );
  const { items, listener } = collector();
  client.onEvents(listener);
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  assert.deepEqual(places(items), ["1.5001"]);
});

test("req 9: a listener gets only the kinds that it wants", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  client.onEvents(listener, { kinds: ["gave_up"] });
  mock.pushEvents([{ kind: "actor_ready" }, { kind: "gave_up" }, { kind: "actor_ready" }]);
  await pass(100);
  assert.deepEqual(places(items), ["1.2"]);
});

test("req 2: no listener is called after it was cancelled, also within a frame", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  let calls = 0;
  const stops = [];
  const stopAll = () => {
    calls++;
    for (const stop of stops) stop();
  };
  for (let count = 0; count < 10; count++) stops.push(client.onEvents(stopAll));
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  assert.equal(calls, 1);
  const late = client.onEvents(() => calls++);
  mock.pushEvent({ kind: "actor_ready" });
  await settle();
  late();
  late();
  await pass(100);
  assert.equal(calls, 1);
});

test("a listener that throws keeps no other from its call", async (t) => {
  stopClock(t);
  const reported = t.mock.method(console, "error", () => {});
  const { mock, client } = connectMock(t);
  await settle();
  client.onEvents(() => {
    throw new Error("broken");
  });
  const { items, listener } = collector();
  client.onEvents(listener);
  mock.pushEvent({ kind: "actor_ready" });
  await pass(100);
  assert.equal(items.length, 1);
  assert.equal(reported.mock.callCount(), 1);
});

test("req 9: 10,000 events a second make at most one call a frame, and ask for little", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  client.onEvents(listener);
  let renders = 0;
  client.store.subscribe(() => renders++);
  mock.commands.length = 0;
  for (let batch = 0; batch < 200; batch++) {
    mock.pushEvents(Array.from({ length: 500 }, () => ({ kind: "request_done", actor: "root/queue" })));
    await pass(50);
  }
  assert.equal(places(items).length, 100_000);
  assert.ok(items.length <= 10_000 / 16, `${items.length} calls`);
  assert.ok(renders <= 4 * 10 + 2, `${renders} renders`);
  const asked = mock.commands.filter(({ type }) => type === "status").length;
  assert.ok(asked >= 30 && asked <= 41, `${asked} refreshes in 10 s`);
});

test("req 9: a page without frames gets its events at once when they are many", async (t) => {
  const clock = manualClock();
  fakePage(t).document.visibilityState = "hidden";
  const { mock, client } = connectMock(t, { clock }, { clock });
  await settle();
  const { items, listener } = collector();
  client.onEvents(listener);
  for (let batch = 0; batch < 12; batch++) {
    mock.pushEvents(Array.from({ length: 500 }, () => ({ kind: "actor_ready" })));
    await settle();
  }
  assert.equal(places(items).length, 5000);
});
