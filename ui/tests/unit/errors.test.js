import assert from "node:assert/strict";
import { inspect } from "node:util";
import { test } from "node:test";
import { ErrorCodes, handleError, isMainstayError, MainstayError } from "../../src/index.js";

/** @type {import("../../protocol.d.ts").ErrorObject} */
const WIRE = {
  code: "SERVER_ERROR",
  reason: "rate_limited",
  status: 429,
  message: "The backend is receiving too many requests. Wait a moment, then try again.",
  details: "status 429",
  retryable: true,
  retry_after_ms: 2000,
  attempts: 3,
  request_id: 17,
};

test("req 19: an error has the members of the runtime's, and is an Error", () => {
  const error = new MainstayError(WIRE);
  assert.ok(error instanceof Error && error instanceof MainstayError);
  assert.deepEqual(JSON.parse(JSON.stringify(error)), WIRE);
  assert.equal(error.retryAfterMs, 2000);
  assert.equal(error.requestId, 17);
  assert.equal(String(error), `MainstayError: ${WIRE.message}`);
  assert.match(error.stack, /errors\.test\.js/);
  assert.match(inspect(error), /rate_limited/);
});

test("req 19: an error survives structuredClone and JSON", () => {
  const error = new MainstayError(WIRE, { cause: () => {} });
  for (const copy of [structuredClone(error), JSON.parse(JSON.stringify(error))]) {
    assert.ok(isMainstayError(copy));
    const back = handleError(copy);
    assert.ok(back instanceof MainstayError);
    assert.deepEqual(back.toJSON(), error.toJSON());
  }
  assert.equal(MainstayError.from(error), error);
});

test("req 19: other values are no MainstayError", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  for (const value of [
    null,
    undefined,
    1,
    "x",
    {},
    [],
    new Error("x"),
    { code: "TIMEOUT" },
    { ...WIRE, code: "OTHER" },
    { ...WIRE, code: "toString" },
    { ...WIRE, retryable: 1 },
    proxy,
  ]) {
    assert.equal(isMainstayError(value), false);
  }
  assert.deepEqual(Object.keys(ErrorCodes), Object.values(ErrorCodes));
  assert.ok(Object.isFrozen(ErrorCodes));
});

test("req 16: any thrown value becomes an error, and none throws", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const hostile = {
    get message() {
      throw new Error("no");
    },
  };
  const cases = [
    [new DOMException("stop", "AbortError"), "cancelled"],
    [AbortSignal.abort().reason, "cancelled"],
    [new DOMException("late", "TimeoutError"), "timed_out"],
    [new TypeError("Failed to fetch"), "disconnected"],
    [new TypeError("fetch failed"), "disconnected"],
    [new TypeError("NetworkError when attempting to fetch resource."), "disconnected"],
    [new TypeError("Load failed"), "disconnected"],
    [new TypeError("x is not a function"), "internal"],
    [new Error("bug"), "internal"],
    ["text", "internal"],
    [Symbol("s"), "internal"],
    [12n, "internal"],
    [null, "internal"],
    [undefined, "internal"],
    [Object.create(null), "internal"],
    [{ toString: () => ({}) }, "internal"],
    [{ message: 1 }, "internal"],
    [hostile, "internal"],
    [proxy, "internal"],
    [
      new Proxy(
        {},
        {
          get: () => {
            throw new Error("trap");
          },
          getPrototypeOf: () => {
            throw new Error("trap");
          },
        },
      ),
      "internal",
    ],
    [{ ...WIRE }, "rate_limited"],
    [{ ...WIRE, reason: "a_reason_of_tomorrow" }, "a_reason_of_tomorrow"],
  ];
  for (const [thrown, reason] of cases) {
    const error = handleError(thrown);
    assert.ok(error instanceof MainstayError);
    assert.equal(error.reason, reason);
    assert.ok(error.message.endsWith("."), error.message);
  }
  assert.equal(handleError(new Error("x".repeat(5000))).details.length, 1000);
  assert.match(handleError({ name: "toString", message: "odd" }).details, /^toString: odd$/);
  assert.match(handleError(new Error("bug")).details, /^Error: bug$/);
});

test("req 16: an unknown outcome is not retryable", () => {
  const error = handleError({ ...WIRE, reason: "outcome_unknown", retryable: false });
  assert.equal(error.retryable, false);
  assert.equal(handleError({ ...WIRE, retryable: true }).retryable, true);
});
