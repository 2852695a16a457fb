import assert from "node:assert/strict";
import { test } from "node:test";
import { MainstayError, retry } from "../../src/index.js";
import { retryDelay } from "../../src/retry.js";
import { pass, rejection, seeded, setGlobals, settle, stopClock } from "./support.js";

const failure = (more = {}) =>
  new MainstayError({
    code: "SERVER_ERROR",
    reason: "unavailable",
    message: "Later.",
    retryable: true,
    ...more,
  });

test("req 15: retries are reported, and the error has its attempts", async (t) => {
  stopClock(t);
  const reported = [];
  const starts = [];
  const start = Date.now();
  const run = () => (starts.push(Date.now() - start), Promise.reject(failure()));
  const ended = rejection(
    retry(run, {
      jitter: false,
      onRetry: ({ attempt, delayMs, error }) => reported.push([attempt, delayMs, error.reason]),
    }),
  );
  await pass(10_000);
  assert.deepEqual(reported, [
    [1, 500, "unavailable"],
    [2, 1000, "unavailable"],
    [3, 2000, "unavailable"],
  ]);
  assert.deepEqual(starts, [0, 500, 1500, 3500]);
  assert.equal((await ended).attempts, 4);
});

test("retry: an onRetry that throws changes no outcome", async (t) => {
  const reported = [];
  setGlobals(t, { reportError: (error) => reported.push(error.message) });
  const onRetry = () => {
    throw new Error("listener");
  };
  let calls = 0;
  const run = () => (++calls < 2 ? Promise.reject(failure()) : "done");
  assert.equal(await retry(run, { onRetry, minDelayMs: 0 }), "done");
  assert.deepEqual(reported, ["listener"]);
});

test("req 16: what is not retryable is not repeated", async () => {
  let calls = 0;
  for (const error of [failure({ reason: "outcome_unknown", retryable: false }), new Error("bug"), "text"]) {
    const thrown = await rejection(retry(() => (calls++, Promise.reject(error))));
    assert.equal(thrown.attempts, 1);
  }
  assert.equal(calls, 3);
});

test("retry asks shouldRetry, and ends with success", async (t) => {
  stopClock(t);
  const asked = [];
  const value = retry((signal, attempt) => (attempt < 3 ? Promise.reject(new Error("bug")) : attempt), {
    shouldRetry: (error, attempt) => asked.push([error.reason, attempt]),
  });
  await pass(5000);
  assert.equal(await value, 3);
  assert.deepEqual(asked, [
    ["internal", 1],
    ["internal", 2],
  ]);
});

test("retry waits as long as the other side asks, and random within its own delay", (t) => {
  const random = seeded(t);
  const options = { minDelayMs: 500, maxDelayMs: 30_000, factor: 2, jitter: true, random };
  for (let attempt = 1; attempt < 12; attempt++) {
    const full = Math.min(30_000, 500 * 2 ** (attempt - 1));
    const delay = retryDelay(attempt, failure(), options);
    assert.ok(delay >= full / 2 && delay <= full);
  }
  assert.equal(retryDelay(1, failure({ retryAfterMs: 7000 }), options), 7000);
  assert.equal(retryDelay(1, failure({ retryAfterMs: 1 }), { ...options, jitter: false }), 500);
  assert.equal(retryDelay(1, failure({ retryAfterMs: 1e9 }), options), 60_000);
});

test("req 12: an abort ends a running attempt and a delay at once", async (t) => {
  stopClock(t);
  for (const fn of [() => new Promise(() => {}), () => Promise.reject(failure())]) {
    const controller = new AbortController();
    const ended = rejection(retry(fn, { signal: controller.signal }));
    await settle();
    controller.abort();
    assert.equal((await ended).reason, "cancelled");
  }
  const aborted = rejection(retry(() => assert.fail("called"), { signal: AbortSignal.abort() }));
  assert.equal((await aborted).reason, "cancelled");
});

test("req 14: a deadline ends a hanging attempt, and forbids a retry after it", async (t) => {
  stopClock(t);
  let signal;
  const hanging = rejection(
    retry((given) => ((signal = given), new Promise(() => {})), { deadlineMs: 3000 }),
  );
  const failing = rejection(retry(() => Promise.reject(failure()), { deadlineMs: 1200, jitter: false }));
  await pass(600);
  assert.equal((await failing).reason, "unavailable");
  assert.equal((await failing).attempts, 2);
  await pass(2400);
  assert.equal((await hanging).reason, "deadline_exceeded");
  assert.equal(signal.aborted, true);
});
