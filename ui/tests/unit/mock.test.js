import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { connect } from "../../src/client.js";
import { createMock } from "../../src/transports/mock.js";
import { connectMock, pass, rejection, settle, stopClock } from "./support.js";

/** Opens a link to the scripted runtime, as the client does. */
async function open(mock) {
  const got = [];
  const link = mock.open({
    onOpen: () => got.push("open"),
    onMessage: (text) => got.push(JSON.parse(text)),
    onClose: ({ reason }) => got.push(reason),
  });
  await settle();
  const ask = async (command) => {
    const { length } = got;
    link.send(JSON.stringify(command));
    await settle();
    return got.slice(length);
  };
  return { got, link, ask };
}

test("req 20: the scripted runtime speaks the protocol", async (t) => {
  stopClock(t);
  const mock = createMock();
  const { got, ask } = await open(mock);
  assert.deepEqual(got, ["open"]);
  const [hello] = await ask({ id: 1, type: "hello" });
  assert.deepEqual(Object.keys(hello.ok), ["protocol", "version", "run", "boot", "now", "capabilities"]);
  const [reply, { snapshot, cursor }] = await ask({ id: 2, type: "subscribe" });
  assert.deepEqual([reply, cursor, snapshot.tree.path], [{ id: 2, ok: null }, "1.0", "root"]);
  const [unknown] = await ask({ id: 3, type: "nothing" });
  assert.equal(unknown.error.reason, "invalid_request");
  const [accepted, answer] = await ask({ id: 4, type: "agent", agent: "planner", action: "send", body: 1 });
  assert.deepEqual(accepted, { agent: "planner", accepted: { id: 4, message_id: 1 } });
  assert.equal(answer.ok.message_id, 1);
});

test("req 20: every command of the bridge has an answer", async () => {
  const protocol = await readFile(new URL("../../protocol.d.ts", import.meta.url), "utf8");
  const [commands] = /^export type BridgeCommand =[^]*?;\n\n/m.exec(protocol);
  const types = [...commands.matchAll(/"type": "(\w+)"/g)].map(([, type]) => type);
  assert.ok(types.length >= 19, types.join());
  for (const type of types) {
    const { ask } = await open(createMock());
    const answers = await ask({ id: 1, type });
    const { error } = answers.find((answer) => answer.id === 1) ?? {};
    assert.ok(answers.length && !/is not known here/.test(error?.details ?? ""), `${type}: ${JSON.stringify(answers)}`);
  }
});

test("agents can be added and removed, credentials read again, files and logs found", async (t) => {
  stopClock(t);
  const mock = createMock();
  const client = connect({ mock, id: t.name });
  t.after(() => client.close());
  await settle();
  const agent = client.agent("writer");
  assert.equal((await rejection(agent.remove())).reason, "agent_unknown");
  const { id, driver } = await agent.add({ driver: "acp" });
  assert.deepEqual([id, driver], ["writer", "acp"]);
  await settle();
  assert.equal(client.store.getState().agents.writer.driver, "acp");
  assert.equal((await rejection(agent.add())).reason, "conflict");
  const items = [];
  agent.listen((item) => items.push(item));
  await settle();
  assert.equal(await agent.remove(), null);
  assert.deepEqual(items, [{ ended: true }]);
  await settle();
  assert.equal(client.store.getState().agents.writer, undefined);
  assert.equal(await client.credentials.reload(), false);
  mock.on("credentials", () => ({ changed: true }));
  assert.equal(await client.credentials.reload(), true);
  for (const path of ["/p/b.md", "/p/a.md", "/p/c.txt", "/p/deep/d.md", "/q/e.md"]) mock.files.set(path, "");
  const find = async (query) => (await client.cache.search("/p", query)).paths;
  assert.deepEqual(await find("*.md"), ["/p/a.md", "/p/b.md"]);
  assert.deepEqual(await find("**/*.md"), ["/p/a.md", "/p/b.md", "/p/deep/d.md"]);
  assert.equal((await client.cache.search("/p", "*")).isPartial, false);
  mock.pushLog("planner", ["started"]);
  mock.pushLog("backend", ["listening"]);
  assert.deepEqual(await client.logs.list(), ["backend", "planner"]);
});

test("req 20: a slow runtime uses the clock, and a half-open one is silent", async (t) => {
  stopClock(t);
  const mock = createMock();
  const { got, ask } = await open(mock);
  mock.slow(1000);
  assert.deepEqual(await ask({ id: 1, type: "tree" }), []);
  const {
    mock: { timers },
  } = await import("node:test");
  timers.tick(1000);
  await settle();
  timers.tick(1000);
  await settle();
  assert.equal(got.at(-1).id, 1);
  mock.slow(0);
  mock.halfOpen();
  assert.deepEqual(await ask({ id: 2, type: "tree" }), []);
  assert.equal(mock.sessions, 1, "it seems open");
  mock.drop();
  assert.equal(got.at(-1), "disconnected");
});

test("req 20: a question is a part of the agent's view until it is answered", async () => {
  const mock = createMock();
  const { got, ask } = await open(mock);
  await ask({ id: 1, type: "agent", agent: "planner", action: "listen" });
  mock.agentUpdate("planner", { kind: "ask", ask: "a1", body: { text: "May I?" } });
  assert.equal(mock.status.agents[0].questions[0].ask, "a1");
  await ask({ id: 2, type: "agent", agent: "planner", action: "answer", ask: "a1", body: "yes" });
  assert.deepEqual(mock.status.agents[0].questions, []);
  assert.deepEqual(
    got.filter((item) => item.update).map(({ update }) => update.kind),
    ["ask", "settled"],
  );
  assert.deepEqual(
    mock.events.map(({ kind }) => kind),
    ["agent_question", "agent_question_settled"],
  );
  assert.equal(mock.events.at(-1)?.outcome, "answered");
});

test("req 20: a handler replaces any reply, and its undoing gives the usual one back", async () => {
  const mock = createMock();
  const { ask } = await open(mock);
  const undo = mock.on("hello", () => "other");
  assert.deepEqual(await ask({ id: 1, type: "hello" }), [{ id: 1, ok: "other" }]);
  undo();
  assert.equal((await ask({ id: 2, type: "hello" }))[0].ok.protocol, 1);
});

test("req 20: the cache keeps JSON and bytes", async () => {
  const { ask } = await open(createMock());
  const cache = async (members) => (await ask({ id: 1, type: "cache", ...members }))[0].ok;
  await cache({ action: "put", key: "n:json", value: null });
  await cache({ action: "put", key: "n:bytes", base64: "AQI=" });
  assert.deepEqual(await cache({ action: "get", key: "n:json" }), { hit: true, value: null });
  assert.deepEqual(await cache({ action: "get", key: "n:bytes" }), { hit: true, base64: "AQI=" });
  assert.deepEqual(await cache({ action: "get", key: "n:none" }), { hit: false });
});

test("req 20: the history has each state of an agent, its marks, and the verdict of then", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  const history = (action, times) => client.command({ type: "history", action, ...times });
  const planner = ({ children }) => children.find(({ name }) => name === "agents").children[0];
  await pass(1000);
  mock.crash("planner", { restartInMs: 5000, message: "no answer" });
  mock.setStatus({ verdict: { level: "warning", text: "planner restarts in 5 s (attempt 1 of 5)" } });
  await pass(5000);
  mock.recover("planner");
  mock.setStatus({ verdict: { level: "ok", text: "All is well" } });
  await pass(1000);
  mock.setAgent("planner", { status: "degraded" });
  const { lanes, runs } = await history("lanes");
  const { spans, marks } = lanes.find(({ actor }) => actor === "root/agents/planner");
  const at = (ms) => new Date(Date.UTC(2026, 2, 1, 12) + ms).toISOString();
  assert.deepEqual(spans.filter(({ from, to }) => from !== to), [
    { from: at(0), to: at(1000), state: "up" },
    { from: at(1000), to: at(6000), state: "restarting" },
    { from: at(6000), to: at(7000), state: "up" },
    { from: at(7000), to: null, state: "degraded" },
  ]);
  assert.deepEqual(marks.map(({ summary }) => summary), [
    "ended with an error: no answer",
    "decided: restart in 5 s, attempt 1 (1 of 5 restarts used)",
  ]);
  assert.deepEqual(runs, [{ run: 1, from: at(0), to: null }]);
  const then = await history("at", { at: at(3000) });
  const { state, restart_at, attempt, last_error } = planner(then.tree);
  assert.deepEqual(
    [then.verdict.level, state, restart_at, attempt, last_error],
    ["warning", "restarting", at(6000), { number: 1, max: 5 }, "ended with an error: no answer"],
  );
  const later = await history("at", { at: at(6500) });
  assert.deepEqual([later.verdict.level, planner(later.tree).state], ["ok", "up"]);
  assert.deepEqual([then.tree.path, then.tree.children.map(({ name }) => name)], ["root", ["agents", "cache", "connection", "queue"]]);
  assert.deepEqual(await history("at", { at: at(-1) }), { at: at(-1), cursor: null, verdict: null, tree: null });
  assert.equal((await rejection(history("at", { at: "noon" }))).reason, "invalid_request");
});

test("req 20: the history goes over a restart of the runtime, and knows who was given up", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(1000);
  mock.setAgent("planner", { status: "failed", gave_up: true, restarts: 5, last_error: "exit code 1" });
  mock.setStatus({ connection: { state: "reconnecting" } });
  await pass(1000);
  mock.restartRuntime();
  await pass(1000);
  const { lanes, runs } = await client.command({ type: "history", action: "lanes" });
  const statesOf = (name) => lanes.find(({ actor }) => actor === name).spans.map(({ state }) => state);
  assert.deepEqual(runs.map(({ run, to }) => [run, to === null]), [[1, false], [2, true]]);
  assert.deepEqual(statesOf("root/agents/planner"), ["up", "degraded", "given_up", "up"]);
  assert.deepEqual(statesOf("root/connection"), ["up", "degraded", "up"]);
  mock.restartRuntime({ foreign: true });
  await pass(1000);
  const other = await client.command({ type: "history", action: "lanes" });
  assert.deepEqual(other.runs.map(({ run }) => run), [1]);
});
