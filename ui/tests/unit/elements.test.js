/** Tests of what the elements compute, and that their modules load where there is no page. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { choicesOf, wordsOf } from "../../src/elements/agent-conversation.js";
import { actionsOf, stepOf } from "../../src/elements/agents.js";
import * as all from "../../src/elements/all.js";
import { lifeOf } from "../../src/elements/error-toast.js";
import * as index from "../../src/elements/index.js";
import { Requests } from "../../src/elements/requests.js";
import { addText, messageOf, onText, setText, text } from "../../src/elements/text.js";
import { MainstayError } from "../../src/errors.js";
import { setGlobals } from "./support.js";

test("req 10: the modules of the elements load on a server", () => {
  assert.equal(typeof all.toast, "function");
  assert.equal(typeof index.loadElements, "function");
});

test("text: fills in values, chooses the form, and calls functions", () => {
  assert.equal(text("attemptOf", { n: 2, max: 5 }), "Attempt 2 of 5");
  assert.equal(text("restarts", { n: 1 }), "1 restart");
  assert.equal(text("restarts", { n: 0 }), "0 restarts");
  assert.equal(text("no such text"), "no such text");
  for (const name of ["constructor", "toString", "__proto__"]) assert.equal(text(name), name);
  let calls = 0;
  const stop = onText(() => calls++);
  setText({ restarts: ({ n }) => `redémarrages : ${n}`, "reason.timed_out": "Trop lent." });
  assert.equal(text("restarts", { n: 3 }), "redémarrages : 3");
  assert.equal(messageOf({ reason: "timed_out", message: "Too slow." }), "Trop lent.");
  assert.equal(messageOf({ reason: "other", message: "Else." }), "Else.");
  assert.equal(messageOf(null), "");
  addText({ restarts: "a later default", newText: "new" });
  assert.equal(text("restarts", { n: 3 }), "redémarrages : 3");
  assert.equal(text("newText"), "new");
  stop();
  setText({ restarts: "{n} restart|{n} restarts" });
  assert.equal(calls, 1);
});

test("req 18: life of a notice by code, reason and length", () => {
  const error = (/** @type {ConstructorParameters<typeof MainstayError>[0]} */ members) =>
    new MainstayError(members);
  const slow = error({ code: "TIMEOUT", reason: "timed_out" });
  assert.equal(lifeOf(slow, "Short."), 5000);
  assert.equal(lifeOf(slow, "x".repeat(100)), 6000);
  assert.equal(lifeOf(slow, "Short.", 9000), 9000);
  for (const reason of ["outcome_unknown", "crashed", "no_answer"]) {
    assert.equal(lifeOf(error({ code: "NETWORK_ERROR", reason }), "Short."), Infinity);
  }
  for (const code of /** @type {const} */ (["PERMISSION_DENIED", "INVALID_INPUT"])) {
    assert.equal(lifeOf(error({ code, reason: "other" }), "Short."), Infinity);
  }
});

test("wordsOf: reads texts of messages, questions and tool calls", () => {
  for (const [body, words] of /** @type {const} */ ([
    ["plain", "plain"],
    [null, ""],
    [7, "7"],
    [{ text: "a text" }, "a text"],
    [{ id: "planner", count: 1, reply: "has received 1" }, "has received 1"],
    [{ toolCall: { toolCallId: "t1", title: "Delete?" }, options: [] }, "Delete?"],
    [{ content: { type: "text", text: "inner" } }, "inner"],
    [{ percent: 40 }, '{"percent":40}'],
  ])) {
    assert.equal(wordsOf(body), words);
  }
});

test("choicesOf: reads options of ACP, texts and labels", () => {
  assert.deepEqual(choicesOf({ question: "Free?" }), []);
  assert.deepEqual(choicesOf({ options: [{ optionId: "allow", name: "Allow", kind: "allow_once" }] }), [
    { value: "allow", label: "Allow" },
  ]);
  assert.deepEqual(choicesOf({ choices: ["red", { value: "b", label: "Blue" }] }), [
    { value: "red", label: "red" },
    { value: "b", label: "Blue" },
  ]);
});

test("req 20: each status of an agent has a step and actions, and no unknown one is healthy", () => {
  const agent = { misses: 0, fail_after: 3, restartAtMs: 5, questions: [], gave_up: false };
  const of = (/** @type {object} */ members) =>
    /** @type {Parameters<typeof stepOf>[0]} */ (/** @type {unknown} */ ({ ...agent, ...members }));
  const when = (/** @type {number | null} */ at) => (at ? "in 5 s" : "now");
  assert.equal(stepOf(of({ status: "restarting" }), when), "Restarts in 5 s");
  assert.equal(stepOf(of({ status: "degraded", misses: 2 }), when), "2 checks missed, restarts after 1 more");
  assert.equal(
    stepOf(of({ status: "failed", gave_up: true }), when),
    "Given up, reset gives its restarts back",
  );
  assert.equal(stepOf(of({ status: "healthy", questions: [{}] }), when), "Waits for an answer");
  for (const status of ["starting", "healthy", "degraded", "failed", "restarting", "stopped", "unknown"]) {
    assert.ok(!stepOf(of({ status }), when).startsWith("step-"), status);
    assert.ok(actionsOf(of({ status })).length > 0);
    assert.equal(text(status) === "Healthy", status === "healthy");
  }
  assert.deepEqual(actionsOf(of({ status: "failed", gave_up: true })), ["reset"]);
  assert.deepEqual(actionsOf(of({ status: "stopped" })), ["start"]);
});

test("req 8: requests: the next try counts on the page's clock", (t) => {
  setGlobals(t, {
    CSSStyleSheet: class {
      replaceSync() {}
    },
    document: { hidden: false },
  });
  const times = [];
  const held = { reason: "disconnected", message: "", next_probe_at: "2001-01-01T00:00:00Z" };
  const nextProbeAt = Date.now() + 60_000;
  class Shown extends Requests {
    attachShadow() {
      return {};
    }
    get state() {
      return { isLive: false, queue: { running: 0, waiting: 1, held, nextProbeAt } };
    }
    when(at) {
      times.push(at);
      return "";
    }
  }
  new Shown().view();
  assert.deepEqual(times, [nextProbeAt]);
});
