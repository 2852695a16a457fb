import assert from "node:assert/strict";
import { test } from "node:test";
import { countdown, secondsUntil } from "../../src/index.js";
import { fakePage, manualClock, seeded } from "./support.js";

test("req 8: seconds are whole, and never negative", () => {
  assert.equal(secondsUntil(4000, 0), 4);
  assert.equal(secondsUntil(4001, 0), 5);
  assert.equal(secondsUntil(1, 0), 1);
  assert.equal(secondsUntil(0, 0), 0);
  assert.equal(secondsUntil(0, 10_000), 0);
});

test("req 8: a countdown changes exactly at whole seconds before its end", () => {
  const clock = manualClock(1000);
  const seen = [];
  countdown(4300, (seconds) => seen.push([clock.now(), seconds]), { clock });
  clock.advance(10_000);
  assert.deepEqual(seen, [
    [1000, 4],
    [1300, 3],
    [2300, 2],
    [3300, 1],
    [4300, 0],
  ]);
  assert.equal(clock.size, 0);
});

test("req 8: all countdowns share one timer, which ends with the last", (t) => {
  const random = seeded(t);
  const clock = manualClock(0);
  const stops = Array.from({ length: 1000 }, () => countdown(random() * 10_000, () => {}, { clock }));
  assert.equal(clock.size, 1);
  clock.advance(3000);
  assert.equal(clock.size, 1);
  for (const stop of stops) stop();
  assert.equal(clock.size, 0);
});

test("req 8: a countdown goes only down, also after a sleep or a clock that was set back", () => {
  const clock = manualClock(100_000);
  const seen = [];
  countdown(130_000, (seconds) => seen.push(seconds), { clock });
  clock.jump(20_000);
  clock.jump(-15_000);
  countdown(106_000, () => {}, { clock });
  clock.advance(1000);
  clock.jump(3_600_000);
  assert.deepEqual(
    seen,
    [...seen].sort((a, b) => b - a),
  );
  assert.equal(seen.at(-1), 0);
});

test("req 8: a countdown stops while the page is hidden, and is right when it shows", (t) => {
  const page = fakePage(t);
  const clock = manualClock(0);
  const seen = [];
  const stop = countdown(60_000, (seconds) => seen.push(seconds), { clock });
  page.document.visibilityState = "hidden";
  clock.advance(1000);
  assert.equal(clock.size, 0);
  clock.advance(30_000);
  page.show("visible");
  assert.deepEqual(seen, [60, 59, 29]);
  stop();
  page.show("visible");
  assert.equal(clock.size, 0);
});

test("req 2: a countdown that was cancelled by another's listener is not called", () => {
  const clock = manualClock(0);
  let calls = 0;
  let stop = () => {};
  countdown(5000, () => stop(), { clock });
  stop = countdown(5000, () => calls++, { clock });
  clock.advance(10_000);
  assert.equal(calls, 1);
});
