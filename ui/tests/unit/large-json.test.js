/** Tests of what the worker of the dashboard does with a large text: only what is new in its lists is parsed and sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createReader, createWriter } from "../../dashboard/large-json.js";
import { seeded } from "./support.js";

/** @param {number} count @param {(index: number) => object} [more] */
const agents = (count, more = () => ({})) =>
  Array.from({ length: count }, (_, index) => ({ id: `agent-${index}`, error: 'a "quoted" \\ {[', budget: { max: 5 }, ...more(index) }));

/** Makes a channel: returns what the page gets of a text, and how many elements were sent. */
function createChannel() {
  const read = createReader();
  const writer = createWriter();
  return (/** @type {string} */ text) => {
    const { value, lists } = structuredClone(read(text));
    for (const list of lists) writer.change(list);
    return { whole: writer.complete(value, lists), sent: lists.reduce((sum, { changed }) => sum + changed.length, 0) };
  };
}

test("large text: only changed elements are sent, and the others keep their reference", () => {
  const send = createChannel();
  const text = (/** @type {object[]} */ list) => JSON.stringify({ id: 1, ok: { verdict: "ok", agents: list } });
  const first = /** @type {any} */ (send(text(agents(2000))));
  assert.equal(first.sent, 2000);
  const list = agents(2000, (index) => (index === 7 ? { status: "failed" } : {}));
  const second = /** @type {any} */ (send(text(list)));
  assert.equal(second.sent, 1);
  assert.deepEqual(second.whole, JSON.parse(text(list)));
  assert.equal(second.whole.ok.agents[6], first.whole.ok.agents[6]);
  assert.notEqual(second.whole.ok.agents[7], first.whole.ok.agents[7]);
});

test("large text: a snapshot and the replies after it have the same lists", () => {
  const send = createChannel();
  const tree = (/** @type {object[]} */ list) => ({ path: "root", children: [{ path: "root/queue", children: [] }, { path: "root/agents", children: list }] });
  assert.equal(send(JSON.stringify({ snapshot: { status: { agents: agents(500) }, tree: tree(agents(800)) }, cursor: "1.2" })).sent, 1300);
  assert.equal(send(JSON.stringify({ id: 1, ok: { agents: agents(500) } })).sent, 0);
  const shorter = JSON.stringify({ id: 2, ok: tree(agents(700)) });
  const { whole, sent } = send(shorter);
  assert.deepEqual([whole, sent], [JSON.parse(shorter), 0]);
});

test("large text: whatever JSON it is, the page gets the same value", () => {
  const long = "x".repeat(20_000);
  const values = [
    [1, { a: long }],
    Array.from({ length: 20_000 }, (_, index) => index),
    { 'a"b': { c: long }, "\\": { d: long }, "e,": [{ f: long }] },
    { a: [[1], 2, agents(500)], b: {} },
    [[], [agents(500)], {}],
    long,
    agents(500),
  ];
  for (const value of values) {
    assert.deepEqual(createChannel()(JSON.stringify(value)).whole, value);
    assert.deepEqual(createChannel()(` ${JSON.stringify(value, null, 2)}\n`).whole, value);
  }
});

test("large text: what is no JSON fails as JSON.parse does", () => {
  const long = "x".repeat(20_000);
  for (const text of [`[${"[1,".repeat(9000)}`, `{"a":"${long}"}}`, `[{"a":1} {"b":"${long}"}]`, `{"a":[{"b":"${long}"},]}`, `"${long}`])
    assert.throws(() => createChannel()(text), SyntaxError);
});

/** Makes lists by name, each of which is large. @param {number} count @param {(index: number) => string} name */
const manyLists = (count, name) => Object.fromEntries(Array.from({ length: count }, (_, at) => [name(at), agents(260, () => ({ at }))]));

test("large text: nine lists or two hundred come whole", () => {
  for (const count of [9, 200]) {
    const values = [
      { id: 1, ok: { incidents: Object.values(manyLists(count, String)).map((story) => ({ story })) } },
      { id: 2, ok: { lanes: manyLists(count, (at) => `agents/${at}`) } },
      { id: 3, ok: { children: Object.values(manyLists(count, String)).map((children) => ({ children })) } },
    ];
    const send = createChannel();
    for (const value of [...values, ...values]) assert.deepEqual(send(JSON.stringify(value)).whole, value);
  }
});

test("large text: lists whose places look alike stay apart", () => {
  const [one, two, three] = [1, 2, 3].map((at) => agents(300, () => ({ at })));
  const values = [
    { "a.b": one, a: { b: two } },
    { ok: { "children.0.children": one, children: [{ children: two }] } },
    { ok: { 'children","0","children': one, children: [{ children: two }] } },
    { snapshot: { status: { agents: one, children: three }, tree: { agents: two, children: one } }, ok: { agents: three } },
    { ok: { agents: one, children: two }, snapshot: { status: { agents: two }, tree: { children: three } } },
  ];
  const send = createChannel();
  for (const value of [...values, ...values]) assert.deepEqual(send(JSON.stringify(value)).whole, value);
});

test("large text: of a name that stands twice the last value counts", () => {
  const list = JSON.stringify(agents(300));
  const send = createChannel();
  const [agentsOf, children] = [`{"agents":${list}}`, `{"children":${list}}`];
  for (const text of [`{"ok":${agentsOf},"ok":1}`, `{"ok":${agentsOf},"ok":${children}}`, `{"ok":{"agents":${list},"agents":[]}}`])
    assert.deepEqual(send(text).whole, JSON.parse(text));
});

test("large text: a text that fails changes nothing of the next one", () => {
  const send = createChannel();
  const text = (/** @type {number} */ at) => JSON.stringify({ ok: { agents: agents(300, () => ({ at })) } });
  send(text(1));
  assert.throws(() => send(text(2).replace(/}]}}$/, ",}]}}")), SyntaxError);
  assert.deepEqual(send(text(2)).whole, JSON.parse(text(2)));
});

test("large text: random values in a row come as JSON.parse has them", (t) => {
  const random = seeded(t);
  const pick = (/** @type {any[]} */ all) => all[Math.floor(random() * all.length)];
  const names = ["ok", "snapshot", "status", "tree", "agents", "children", "a", "a.b", "agents.0", 'x"', "__proto__", "constructor"];
  /** @param {number} depth @returns {unknown} */
  const any = (depth) => {
    const dice = random();
    if (depth === 0 || dice < 0.1) return pick([1, null, "", "]", "x".repeat(17_000), [], {}]);
    if (dice < 0.4) return agents(pick([1, 230, 300, 400]), (index) => ({ is: index % 50 ? 0 : random() }));
    const count = Math.floor(random() * 4);
    if (dice < 0.6) return Array.from({ length: count }, () => any(depth - 1));
    return Object.fromEntries(Array.from({ length: count }, () => [pick(names), any(depth - 1)]));
  };
  const send = createChannel();
  let sent = 0;
  for (let round = 0; round < 300; round++) {
    const report = () => ({ agents: any(2), children: any(4) });
    const snapshot = () => ({ snapshot: { status: report(), tree: report() } });
    const value = pick([any, () => ({ id: round, ok: any(4) }), () => ({ ok: report() }), snapshot])(5);
    const text = JSON.stringify(value);
    const got = send(text);
    assert.equal(JSON.stringify(got.whole), text);
    sent += got.sent;
  }
  assert.ok(sent > 1000, `${sent} elements were sent apart`);
});
