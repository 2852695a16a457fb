import assert from "node:assert/strict";
import { test } from "node:test";
import { createMock } from "../../src/transports/mock.js";
import { settle, stopClock } from "./support.js";

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
