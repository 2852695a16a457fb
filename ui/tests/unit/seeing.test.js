/** Tests of what tree, timeline, incidents, events and the dashboard compute. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Durations, quantile } from "../../dashboard/durations.js";
import { iconOf } from "../../dashboard/favicon.js";
import { verdictWords } from "../../dashboard/verdict-words.js";
import { firstOf } from "../../src/elements/agents.js";
import { headlineOf, textOf } from "../../src/elements/incidents.js";
import { sentenceOf } from "../../src/elements/sentences.js";
import { keepWithin, placeOf, spanText, ticksOf, zoom } from "../../src/elements/time-axis.js";
import { thinMarks } from "../../src/elements/timeline.js";
import { fromHistory, meterOf, restartedIn, rowsOf } from "../../src/elements/tree-rows.js";
import { rowsInSight, scrollTo } from "../../src/elements/windowed.js";

const EXAMPLES = new URL("../../../crates/app/src/events/examples.jsonl", import.meta.url);

/** @param {string} path @param {object[]} [children] */
const node = (path, children = []) =>
  /** @type {import("../../src/elements/tree-rows.js").ActorNode} */ (
    /** @type {unknown} */ ({ path, generation: 1, children })
  );

test("dashboard passes tsc --strict", () => {
  const tsc = fileURLToPath(new URL("../../node_modules/.bin/tsc", import.meta.url));
  const config = fileURLToPath(new URL("../../dashboard/tsconfig.json", import.meta.url));
  const { status, stdout } = spawnSync(tsc, ["-p", config], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("sentenceOf: each kind of event has a sentence that shows no raw field", async () => {
  const lines = (await readFile(EXAMPLES, "utf8")).split("\n").filter((line) => line.startsWith("{"));
  assert.ok(lines.length > 60);
  for (const line of lines) {
    const event = JSON.parse(line);
    const words = sentenceOf(event);
    assert.ok(words, event.kind);
    assert.doesNotMatch(words, /undefined|null|NaN|\[object|\{\w+\}/, `${event.kind}: ${words}`);
  }
  assert.equal(sentenceOf({ kind: "of_the_future" }), null);
});

test("sentenceOf: a full queue evicts or refuses, and slow attempts are counted", () => {
  const request = { request_id: 7, method: "GET", path: "/a", queue_max: 5, attempt: 2, waited_ms: 340 };
  const words = (/** @type {object} */ more) => sentenceOf(/** @type {never} */ ({ ...request, ...more }));
  const full = "because the queue is full with 5";
  assert.equal(words({ kind: "queue_overflow", reason: "queue_full" }), `request 7 (GET /a) is refused, ${full}`);
  assert.equal(
    words({ kind: "queue_overflow", reason: "evicted", dropped_attempt: 2 }),
    `request 7 (GET /a) is evicted, ${full}; attempt 2 is not made`,
  );
  const sent = "request 7 (GET /a) is sent, attempt 2, after 340 ms";
  assert.equal(words({ kind: "request_started", slow: 0 }), sent);
  assert.equal(words({ kind: "request_started", slow: 1 }), `${sent}, beside 1 slow attempt at one path`);
  assert.equal(words({ kind: "request_started", slow: 3 }), `${sent}, beside 3 slow attempts at one path`);
});

test("rowsOf: lists open nodes with their places and the lines that go on", () => {
  const root = node("root", [node("root/a", [node("root/a/x"), node("root/a/y")]), node("root/b")]);
  const rows = rowsOf(root, new Set());
  assert.deepEqual(rows.map(({ name }) => name), ["root", "a", "x", "y", "b"]);
  assert.deepEqual(rows[2].rails, [true]);
  assert.deepEqual([rows[3].place, rows[3].siblings, rows[3].level, rows[3].parent], [2, 2, 3, "root/a"]);
  assert.deepEqual(rowsOf(root, new Set(["root/a"])).map(({ name }) => name), ["root", "a", "b"]);
  assert.deepEqual(rowsOf(null, new Set()), []);
});

test("restartedIn: finds new incarnations, and no actor that is new", () => {
  const rows = rowsOf(node("root", [{ ...node("root/a"), generation: 2 }, node("root/b")]), new Set());
  assert.deepEqual(restartedIn(new Map([["root", 1], ["root/a", 1]]), rows), ["root/a"]);
  assert.deepEqual(restartedIn(new Map(), rows), []);
});

test("meterOf: takes the whole budget, or what is known of it", () => {
  assert.equal(meterOf({ budget_left: null }, null), null);
  assert.deepEqual(meterOf({ budget_left: 3, attempts: 2 }, { max: 5 }), { left: 3, max: 5 });
  assert.deepEqual(meterOf({ budget_left: 8, attempts: 2 }, null), { left: 8, max: 10 });
});

test("fromHistory: gives statuses, budgets and the order of now", () => {
  /** @param {string} name @param {object} more @returns {import("../../src/elements/tree-rows.js").HistoryNode} */
  const then = (name, more) =>
    /** @type {never} */ ({ path: name, name, since: "", generation: 1, restarts: 0, restart_at: null, last_error: null, children: [], ...more });
  const tree = then("root", { state: "up", attempt: null, children: [then("b", { state: "given_up", attempt: { number: 5, max: 5 } }), then("a", { state: "degraded", attempt: null })] });
  const root = fromHistory(tree, new Map([["a", 0], ["b", 1]]));
  assert.deepEqual([root.status, root.budget_left], ["running", null]);
  assert.deepEqual(root.children.map(({ path, status, budget_left: left }) => [path, status, left]), [["a", "degraded", null], ["b", "failed", 0]]);
});

test("rowsInSight: is bounded by the list, and scrollTo moves only as far as needed", () => {
  assert.deepEqual(rowsInSight({ top: 0, height: 100, count: 3, rowPx: 10 }), { first: 0, end: 3 });
  const { first, end } = rowsInSight({ top: 50_000, height: 300, count: 10_000, rowPx: 10 });
  assert.ok(first > 4980 && end < 5050);
  assert.equal(scrollTo({ top: 100, height: 100, rowPx: 10 }, 15), 100);
  assert.equal(scrollTo({ top: 100, height: 100, rowPx: 10 }, 5), 50);
  assert.equal(scrollTo({ top: 100, height: 100, rowPx: 10 }, 30), 210);
});

test("axis: zoom keeps a time in its place, and ranges stay within the journal", () => {
  const range = { from: 1000_000, to: 1100_000 };
  const near = zoom(range, 0.5, 1025_000, 1e9);
  assert.equal(placeOf(near, 1025_000), placeOf(range, 1025_000));
  assert.equal(near.to - near.from, 50_000);
  assert.equal(zoom(range, 1e-9, 1050_000, 1e9).to - zoom(range, 1e-9, 1050_000, 1e9).from, 2000);
  assert.deepEqual(keepWithin({ from: 0, to: 50 }, { from: 1000, to: 9000 }).from, 1000);
  const wide = keepWithin({ from: -1e6, to: 1e6 }, { from: 1000, to: 9000 });
  assert.deepEqual(wide, { from: 1000, to: 9000 });
  const { ticks, step } = ticksOf(range, 5);
  assert.equal(step, 30_000);
  assert.ok(ticks.length <= 5 && ticks.every((tick) => tick >= range.from && tick <= range.to && tick % step === 0));
});

test("spanText: says times in short words", () => {
  assert.deepEqual([340, 12_000, 119_000, 240_000, 7_500_000, 190_000_000].map(spanText), ["340 ms", "12 s", "119 s", "4 min", "2 h 5 min", "2 d 4 h"]);
});

test("thinMarks: keeps one mark for each place, the gravest", () => {
  const at = (/** @type {number} */ ms) => new Date(ms).toISOString();
  /** @param {number} ms @param {string} kind */
  const mark = (ms, kind) => ({ at: at(ms), cursor: `1.${ms}`, kind, summary: "" });
  const marks = [mark(1000, "actor_exited"), mark(1001, "decision"), mark(1002, "gave_up"), mark(90_000, "decision"), mark(-5, "decision")];
  assert.deepEqual(thinMarks(marks, { from: 0, to: 100_000 }).map(({ kind }) => kind), ["gave_up", "decision"]);
});

test("incident: headline leaves out actor and end, and the text has story, events and output", () => {
  const incident = /** @type {never} */ ({
    id: "1.2",
    title: "coder: ended with an error (over after 5 s)",
    actor: "root/agents/coder",
    story: ["one", "two"],
    events: [{ at: "T", cursor: "1.2", actor: "root/agents/coder", summary: "ended" }],
    output: ["boom"],
  });
  assert.equal(headlineOf(incident), "ended with an error");
  assert.equal(textOf(incident), "Incident 1.2\n\none\ntwo\n\nT  1.2  root/agents/coder  ended\n\nboom\n");
});

test("firstOf: shows first the agents that need a look, in the order of all", () => {
  const agents = /** @type {never[]} */ (["a", "b", "c", "d"].map((id) => ({ id, status: id === "d" ? "failed" : "healthy", questions: [] })));
  assert.deepEqual(firstOf(agents, 2).map(({ id }) => id), ["a", "d"]);
  assert.equal(firstOf(agents, 9), agents);
});

test("durations: pairs messages with answers, and quantiles are of the nearest rank", () => {
  const durations = new Durations();
  const event = (/** @type {object} */ members) => /** @type {never} */ ({ run: 1, actor: "root/agents/a", at: "2026-01-01T00:00:00Z", ...members });
  durations.add([
    event({ kind: "message_sent", message_id: 1, mono_ms: 100 }),
    event({ kind: "message_sent", message_id: 2, mono_ms: 100 }),
    event({ kind: "message_answered", message_id: 1, mono_ms: 350 }),
    event({ kind: "message_failed", message_id: 2, mono_ms: 900 }),
    event({ kind: "message_answered", message_id: 3, mono_ms: 950 }),
    event({ kind: "agent_health", to: "healthy", mono_ms: 1 }),
  ]);
  assert.deepEqual(durations.answers.get("a"), [250]);
  assert.equal(durations.states.get("a")?.[0].state, "healthy");
  assert.deepEqual([quantile([], 0.5), quantile([3, 1, 2], 0.5), quantile([1, 2, 3, 4], 0.95)], [null, 2, 4]);
});

test("verdictWords: counts down on the page's clock", () => {
  const at = "2026-01-01T00:00:10.000Z";
  const verdict = /** @type {never} */ ({ finding: { type: "restarting", name: "planner", at, attempt: { number: 2, max: 5 }, more: 0 }, requests_waiting: 1 });
  const skewMs = 3000;
  const toPage = (/** @type {string} */ each) => Date.parse(each) - skewMs;
  const now = Date.parse(at) - skewMs - 3500;
  assert.deepEqual(verdictWords(verdict, { now, toPage }), { words: "planner restarts in 4 s (attempt 2 of 5); 1 request waits", until: now + 3500 });
  assert.match(verdictWords(verdict, { now: now + 4000, toPage }).words, /^planner restarts now/);
});

test("iconOf: each level has a picture of its own", () => {
  const icons = ["ok", "notice", "warning", "error", "lost"].map(iconOf);
  assert.equal(new Set(icons).size, 5);
  assert.equal(iconOf("unknown kind"), iconOf("lost"));
});
