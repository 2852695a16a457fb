/**
 * The client against a real runtime. Start `mainstay demo`, and set MAINSTAY_URL
 * (`ws://127.0.0.1:PORT/bridge`) and MAINSTAY_TOKEN.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../src/index.js";
import { rejection, until } from "./support.js";

const { MAINSTAY_URL: url, MAINSTAY_TOKEN: token } = process.env;
const skip = url && token ? false : "MAINSTAY_URL and MAINSTAY_TOKEN are not set";
const options = { skip, timeout: 30_000 };

function open(t, more = {}) {
  const client = connect({ url, token, id: t.name, ...more });
  t.after(() => client.close());
  return client;
}

function capabilities(client) {
  return client.hello().then(
    (hello) => hello.capabilities,
    () => [],
  );
}

test("real: the first snapshot makes the state live", options, async (t) => {
  const client = open(t);
  assert.equal(client.store.getState().status, null);
  await until(client, (state) => state.isLive);
  const { status, tree, agents, connection } = client.store.getState();
  assert.ok(status.runtime.boot);
  assert.equal(tree.path, "root");
  assert.equal(agents.planner.id, "planner");
  assert.equal(agents.absent, undefined);
  assert.ok(connection.state);
});

test("real: a request has its response, and an error its reason", options, async (t) => {
  const client = open(t);
  const response = await client.request("GET", "/api/search?q=tides");
  assert.equal(response.status, 200);
  assert.ok(Array.isArray(response.body.hits));
  assert.ok(response.requestId > 0);
  const error = await rejection(client.request("GET", "/no/such/path"));
  assert.equal(error.reason, "not_found");
  assert.equal(error.status, 404);
});

test("real: an agent answers a message", options, async (t) => {
  const client = open(t);
  const accepted = [];
  const reply = await client
    .agent("planner")
    .send({ text: "hello" }, { onAccepted: (id) => accepted.push(id) });
  assert.deepEqual(accepted, [reply.messageId]);
  assert.equal(reply.answer.id, "planner");
});

test("real: events come without gap or double over a lost session", options, async (t) => {
  const sockets = [];
  class Socket extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const { websocketTransport } = await import("../../src/transports/websocket.js");
  const client = open(t, { transport: websocketTransport({ url, token, WebSocket: Socket }) });
  const seen = [];
  let check = () => {};
  client.onEvents(({ events, lagged }) => {
    assert.equal(lagged, null);
    for (const event of events) seen.push(`${event.run}.${event.seq}`);
    check();
  });
  await until(client, (state) => state.isLive);
  const first = client.store.getState().status.runtime.seq;
  const other = open({ name: "other", after: t.after.bind(t) });
  for (let round = 0; round < 5; round++) {
    await other.agent("coder").send({ text: "work" });
    sockets.at(-1).close();
    await other.agent("coder").send({ text: "more work" });
    await until(client, (state) => state.isLive && state.session.attempt >= 1);
  }
  await other.agent("coder").send({ text: "the end" });
  const { runtime } = await client.command({ type: "status" });
  await new Promise((resolve) => {
    check = () => seen.length >= runtime.seq - first && resolve();
    check();
  });
  const run = runtime.run;
  assert.deepEqual(
    seen.slice(0, runtime.seq - first),
    Array.from({ length: runtime.seq - first }, (_, at) => `${run}.${first + 1 + at}`),
  );
  assert.ok(sockets.length > 4);
});

test("real: the backend's socket is opened again on demand", options, async (t) => {
  const client = open(t);
  const report = await client.connection.reconnect();
  assert.equal(report.state, "connected");
  assert.match(report.reconnected, /opened|replaced/);
});

test("real: an unknown agent is an error, and a cancelled request too", options, async (t) => {
  const client = open(t);
  assert.equal((await rejection(client.agent("absent").show())).reason, "agent_unknown");
  const controller = new AbortController();
  const sent = client.request("GET", "/api/search?q=x", { signal: controller.signal });
  controller.abort();
  assert.equal((await rejection(sent)).reason, "cancelled");
});

test("real: a wrong token opens no session", options, async (t) => {
  const client = open(t, { token: "wrong", id: "wrong token" });
  await until(client, (state) => state.session.error !== null);
  assert.equal(client.store.getState().isLive, false);
  assert.match(client.store.getState().session.error.reason, /disconnected|unauthenticated/);
});

test("real: hello names the abilities", options, async (t) => {
  const client = open(t);
  if (!(await capabilities(client)).length) return t.skip("this runtime has no hello yet");
  const hello = await client.hello();
  assert.equal(hello.protocol, 1);
  assert.equal(hello.boot, (await client.command({ type: "status" })).runtime.boot);
});

test("real: fetch streams a response", options, async (t) => {
  const client = open(t);
  if (!(await capabilities(client)).includes("streams")) return t.skip("this runtime has no streams yet");
  const response = await client.fetch("/api/search?q=tides");
  assert.equal(response.status, 200);
  assert.ok(Array.isArray((await response.json()).hits));
  assert.equal((await client.fetch("/no/such/path")).status, 404);
});

test("real: bodies pass in both directions as they are", options, async (t) => {
  const client = open(t);
  if (!(await capabilities(client)).includes("streams")) return t.skip("this runtime has no streams yet");
  const whole = Uint8Array.from({ length: 300_000 }, (_, at) => at % 251);
  const parts = [0, 1, 100_000, 299_999].map((at, index, all) => whole.subarray(at, all[index + 1]));
  const bodies = [whole, new Blob([whole]), ReadableStream.from(parts)];
  for (const body of bodies) {
    const progress = [];
    const response = await client.fetch("/api/echo", {
      method: "POST",
      body,
      duplex: "half",
      headers: { "content-type": "application/octet-stream" },
      onProgress: ({ sent }) => progress.push(sent),
    });
    assert.equal(response.status, 200);
    assert.ok(response.requestId > 0);
    const got = new Uint8Array(await response.arrayBuffer());
    assert.equal(Buffer.compare(got, whole), 0, `${got.length} bytes`);
  }
});

test("real: the cache keeps values, also null", options, async (t) => {
  const client = open(t);
  if (!(await capabilities(client)).includes("cache"))
    return t.skip("this runtime has no cache commands yet");
  await client.cache.put("ui-test:a", null, { ttlMs: 60_000 });
  await client.cache.put("ui-test:b", { deep: [1] });
  assert.deepEqual(await client.cache.get("ui-test:a"), { hit: true, value: null });
  assert.deepEqual(await client.cache.get("ui-test:b"), { hit: true, value: { deep: [1] } });
  assert.equal(await client.cache.invalidate({ prefix: "ui-test:" }), 2);
  assert.deepEqual(await client.cache.get("ui-test:a"), { hit: false });
});

test("real: the answer to a detached message survives the session", options, async (t) => {
  const sockets = [];
  class Socket extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const { websocketTransport } = await import("../../src/transports/websocket.js");
  const client = open(t, { transport: websocketTransport({ url, token, WebSocket: Socket }) });
  if (!(await capabilities(client)).includes("agents")) return t.skip("this runtime has no kept updates yet");
  for (let round = 0; round < 3; round++) {
    const onAccepted = () => sockets.at(-1).close();
    const { answer } = await client
      .agent("reviewer")
      .send({ text: "detached" }, { detached: true, onAccepted });
    assert.equal(answer.id, "reviewer");
  }
  assert.equal(sockets.length, 4);
});

test("real: updates of an agent continue after a number", options, async (t) => {
  const client = open(t);
  if (!(await capabilities(client)).includes("agents")) return t.skip("this runtime has no kept updates yet");
  const { messageId } = await client.agent("planner").send({ text: "kept" }, { detached: true });
  const kinds = await new Promise((resolve) => {
    const kinds = [];
    client.agent("planner").listen(
      (item) => {
        if (!("update" in item) || item.update.message_id !== messageId) return;
        kinds.push(item.update.kind);
        if (item.update.kind === "ended") resolve(kinds);
      },
      { after: 0 },
    );
  });
  assert.equal(kinds[0], "sent");
  assert.equal(kinds.at(-1), "ended");
});

test("real: a place that is still to come is a gap, and such a number counts as 0", options, async (t) => {
  const client = open(t);
  await until(client, ({ isLive }) => isLive);
  const batch = await new Promise((resolve) => client.onEvents(resolve, { after: "999999.1" }));
  assert.equal(batch.lagged.after, "999999.1");
  assert.equal(batch.lagged.before, batch.cursor);
  const agent = client.agent("planner");
  const updates = (after) =>
    new Promise((resolve) => {
      const stop = agent.listen((item) => "update" in item && resolve((stop(), item.update.seq)), { after });
    });
  const first = updates(0);
  await agent.send({ text: "hello" });
  assert.equal(await updates(1_000_000), await first);
});

test("real: the cache keeps bytes as bytes", options, async (t) => {
  const client = open(t);
  const bytes = Uint8Array.of(255, 0, 7);
  await client.cache.put("test:bytes", bytes);
  assert.deepEqual(await client.cache.get("test:bytes"), { hit: true, value: bytes });
});
