import assert from "node:assert/strict";
import { test } from "node:test";
import { createQueue } from "../../src/index.js";
import { manualClock, pass, rejection, seeded, setGlobals, settle, stopClock } from "./support.js";

/** Makes a function whose promise the test settles. */
function task() {
  const own = {};
  own.promise = new Promise((resolve, reject) => Object.assign(own, { resolve, reject }));
  own.promise.catch(() => {});
  own.fn = (signal) => ((own.signal = signal), (own.isStarted = true), own.promise);
  return own;
}

test("queue runs no more than its limit, the highest priority first", async () => {
  const queue = createQueue({ concurrency: 2 });
  const order = [];
  const gate = task();
  const first = [queue.add(gate.fn), queue.add(gate.fn)];
  const rest = ["low", "normal", "high", "normal", "high"].map((priority, at) =>
    queue.add(() => void order.push(`${priority}${at}`), { priority }),
  );
  assert.deepEqual([queue.running, queue.size], [2, 5]);
  gate.resolve();
  await Promise.all([...first, ...rest]);
  assert.deepEqual(order, ["high2", "high4", "normal1", "normal3", "low0"]);
  assert.deepEqual([queue.running, queue.size], [0, 0]);
});

test("queue moves a task up that waited long", async () => {
  const clock = manualClock();
  const queue = createQueue({ concurrency: 1, clock, ageAfterMs: 1000 });
  const gate = task();
  queue.add(gate.fn);
  const order = [];
  const low = queue.add(() => void order.push("low"), { priority: "low" });
  clock.advance(2000);
  const high = queue.add(() => void order.push("high"), { priority: "high" });
  gate.resolve();
  await Promise.all([low, high]);
  assert.deepEqual(order, ["low", "high"]);
});

test("req 12: a full queue rejects, and says so", async () => {
  const reported = [];
  const queue = createQueue({ concurrency: 1, limit: 1, onOverflow: (error) => reported.push(error.reason) });
  const gate = task();
  queue.add(gate.fn);
  const waiting = queue.add(() => 2);
  assert.equal((await rejection(queue.add(() => 3))).reason, "queue_full");
  assert.deepEqual(reported, ["queue_full"]);
  gate.resolve();
  assert.equal(await waiting, 2);
});

test("req 12: clear rejects what waits, and keeps what runs", async () => {
  const queue = createQueue({ concurrency: 1 });
  const gate = task();
  const running = queue.add(gate.fn);
  const waiting = [queue.add(() => 1), queue.add(() => 2)].map(rejection);
  queue.clear();
  for (const error of await Promise.all(waiting)) assert.equal(error.reason, "cancelled");
  gate.resolve("done");
  assert.equal(await running, "done");
});

test("req 13: an abort frees the slot at once, also of a task that ignores it", async () => {
  const queue = createQueue({ concurrency: 1 });
  const hanging = task();
  const controller = new AbortController();
  const ended = rejection(queue.add(hanging.fn, { signal: controller.signal }));
  const next = queue.add(() => "next");
  await settle();
  controller.abort();
  assert.equal((await ended).reason, "cancelled");
  assert.equal(hanging.signal.aborted, true);
  assert.equal(await next, "next");
  hanging.reject(new Error("late"));
  await settle();
  assert.deepEqual([queue.running, queue.size], [0, 0]);
});

test("req 12: an abort of a waiting task rejects it, and it never runs", async () => {
  const queue = createQueue({ concurrency: 1 });
  const gate = task();
  queue.add(gate.fn);
  const controller = new AbortController();
  const waiting = task();
  const ended = rejection(queue.add(waiting.fn, { signal: controller.signal }));
  controller.abort();
  assert.equal((await ended).reason, "cancelled");
  assert.equal(queue.size, 0);
  gate.resolve();
  await queue.onIdle();
  assert.equal(waiting.isStarted, undefined);
});

test("req 14: a deadline counts from the arrival", async (t) => {
  stopClock(t);
  const queue = createQueue({ concurrency: 1, deadlineMs: 1000 });
  const running = rejection(queue.add(() => new Promise(() => {})));
  const waiting = rejection(queue.add(() => new Promise(() => {}), { deadlineMs: 500 }));
  await pass(500);
  assert.equal((await waiting).reason, "deadline_exceeded");
  await pass(500);
  assert.equal((await running).reason, "deadline_exceeded");
});

test("queue shares an unfinished task of the same key", async () => {
  const queue = createQueue();
  let calls = 0;
  const work = () => ++calls;
  const both = [queue.add(work, { key: "a" }), queue.add(work, { key: "a" })];
  assert.equal(both[0].id, both[1].id);
  assert.deepEqual(await Promise.all(both), [1, 1]);
  assert.equal(await queue.add(work, { key: "a" }), 2);
});

test("req 13: of callers that share a task each has its own abort and deadline", async (t) => {
  stopClock(t);
  const queue = createQueue({ concurrency: 1 });
  const own = task();
  const [one, two] = [new AbortController(), new AbortController()];
  const first = rejection(queue.add(own.fn, { key: "a", signal: one.signal }));
  const second = rejection(queue.add(own.fn, { key: "a", signal: two.signal, deadlineMs: 1000 }));
  const third = queue.add(own.fn, { key: "a" });
  one.abort();
  assert.equal((await first).reason, "cancelled");
  assert.equal(own.signal.aborted, false);
  await pass(1000);
  assert.equal((await second).reason, "deadline_exceeded");
  assert.deepEqual([own.signal.aborted, queue.running], [false, 1]);
  own.resolve("done");
  assert.equal(await third, "done");
});

test("req 13: a shared task is cancelled when its last caller leaves", async () => {
  const queue = createQueue({ concurrency: 1 });
  const [own, other] = [task(), task()];
  const [one, two] = [new AbortController(), new AbortController()];
  const both = [one, two].map(({ signal }) => rejection(queue.add(own.fn, { key: "a", signal })));
  await settle();
  one.abort();
  two.abort();
  assert.equal(own.signal.aborted, true);
  const later = queue.add(other.fn, { key: "a" });
  other.resolve("again");
  assert.equal(await later, "again");
  for (const error of await Promise.all(both)) assert.equal(error.reason, "cancelled");
});

test("queue gives a shared task the highest priority of its callers", async () => {
  const queue = createQueue({ concurrency: 1 });
  const gate = task();
  const order = [];
  const all = [
    queue.add(gate.fn),
    queue.add(() => void order.push("shared"), { key: "a", priority: "low" }),
    queue.add(() => void order.push("normal")),
    queue.add(() => {}, { key: "a", priority: "high" }),
  ];
  gate.resolve();
  await Promise.all(all);
  assert.deepEqual(order, ["shared", "normal"]);
});

test("queue calls no function whose signal has aborted", async () => {
  const queue = createQueue();
  const signal = AbortSignal.abort();
  const own = task();
  assert.equal((await rejection(queue.add(own.fn, { signal }))).reason, "cancelled");
  const controller = new AbortController();
  const ended = rejection(queue.add(own.fn, { signal: controller.signal }));
  controller.abort();
  assert.equal((await ended).reason, "cancelled");
  await settle();
  assert.equal(own.isStarted, undefined);
});

test("queue: a callback that throws changes no outcome", async (t) => {
  const reported = [];
  setGlobals(t, { reportError: (error) => reported.push(error.message) });
  const fail = (name) => () => {
    throw new Error(name);
  };
  const queue = createQueue({ concurrency: 1, limit: 1, onIdle: fail("idle"), onOverflow: fail("overflow") });
  const gate = task();
  const both = [queue.add(gate.fn), queue.add(() => 2)];
  assert.equal((await rejection(queue.add(() => 3))).reason, "queue_full");
  gate.resolve(1);
  assert.deepEqual(await Promise.all(both), [1, 2]);
  await queue.onIdle();
  assert.deepEqual(reported, ["overflow", "idle"]);
});

test("queue pauses, moves and cancels by id or key", async () => {
  let idle = 0;
  const queue = createQueue({ concurrency: 1, onIdle: () => idle++ });
  queue.pause();
  const order = [];
  const first = queue.add(() => void order.push(1));
  const second = queue.add(() => void order.push(2), { key: "second" });
  const third = rejection(queue.add(() => void order.push(3)));
  await settle();
  assert.deepEqual(order, []);
  assert.equal(queue.setPriority("second", "high"), true);
  assert.equal(queue.cancel(second.id + 1), true);
  assert.equal(queue.cancel(99), false);
  queue.resume();
  await Promise.all([first, second, queue.onIdle()]);
  assert.equal((await third).reason, "cancelled");
  assert.deepEqual(order, [2, 1]);
  assert.equal(queue.setPriority(first.id, "low"), false);
  assert.equal(idle, 1);
});

test("req 12: whatever happens, every promise settles and the counts return to zero", async (t) => {
  const random = seeded(t);
  const queue = createQueue({ concurrency: 3, limit: 20 });
  const all = [];
  const open = [];
  for (let round = 0; round < 2000; round++) {
    const dice = random();
    if (dice < 0.5) {
      const own = task();
      const controller = new AbortController();
      open.push([own, controller]);
      const priority = ["high", "normal", "low"][Math.floor(random() * 3)];
      all.push(
        queue.add(own.fn, { signal: controller.signal, priority }).then(
          () => {},
          () => {},
        ),
      );
    } else if (dice < 0.9 && open.length) {
      const [[own, controller]] = open.splice(Math.floor(random() * open.length), 1);
      if (random() < 0.4) controller.abort();
      else if (random() < 0.5) own.resolve();
      else own.reject(new Error("failed"));
    } else if (dice < 0.93) queue.pause();
    else if (dice < 0.98) queue.resume();
    else queue.clear();
    if (random() < 0.2) await settle();
    assert.ok(queue.running <= 3 && queue.size <= 20);
  }
  queue.resume();
  for (const [own] of open) own.resolve();
  await Promise.all(all);
  await queue.onIdle();
  assert.deepEqual([queue.running, queue.size], [0, 0]);
});
