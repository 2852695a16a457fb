/**
 * The client against a real runtime. Start `mainstay demo`, and set MAINSTAY_URL
 * (`ws://127.0.0.1:PORT/bridge`) and MAINSTAY_TOKEN. MAINSTAY_BIN is the
 * binary, for the test with a configuration of its own.
 */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "../../src/index.js";
import { HistoryFold } from "../../src/transports/mock-history.js";
import { createMock } from "../../src/transports/mock.js";
import { BINARY, Runtime, startBackend } from "../browser/runtime.js";
import { rejection, until } from "./support.js";

const { MAINSTAY_URL: url, MAINSTAY_TOKEN: token } = process.env;
const skip = url && token ? false : "MAINSTAY_URL and MAINSTAY_TOKEN are not set";
const options = { skip, timeout: 30_000 };
const ofBinary = { skip: BINARY ? false : "MAINSTAY_BIN is not set", timeout: 30_000 };

function open(t, more = {}) {
  const client = connect({ url, token, id: t.name, ...more });
  t.after(() => client.close());
  return client;
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
  const hello = await client.hello();
  assert.equal(hello.protocol, 1);
  assert.equal(hello.boot, (await client.command({ type: "status" })).runtime.boot);
  const mock = connect({ mock: createMock(), id: "hello of the mock" });
  t.after(() => mock.close());
  assert.deepEqual((await mock.hello()).capabilities, hello.capabilities);
});

test("real: fetch streams a response", options, async (t) => {
  const client = open(t);
  const response = await client.fetch("/api/search?q=tides");
  assert.equal(response.status, 200);
  assert.ok(Array.isArray((await response.json()).hits));
  assert.equal((await client.fetch("/no/such/path")).status, 404);
});

test("real: bodies pass in both directions as they are", options, async (t) => {
  const client = open(t);
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

test("real: a listener without an update comes back with the number of the reply", options, async (t) => {
  const sockets = [];
  class Socket extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const { websocketTransport } = await import("../../src/transports/websocket.js");
  const client = open(t, { transport: websocketTransport({ url, token, WebSocket: Socket }) });
  const other = open({ name: "other", after: t.after.bind(t) });
  const agent = other.agent("reviewer");
  await until(client, ({ isLive }) => isLive);
  await agent.send({ text: "before" });
  const { seq } = await client.command({ type: "agent", agent: "reviewer", action: "listen" });
  assert.ok(seq > 0);
  const first = new Promise((resolve) =>
    client.agent("reviewer").listen((item) => "update" in item && resolve(item.update.seq)),
  );
  // The reply to this comes after that to the listener.
  await client.command({ type: "agents" });
  const lost = new Promise((resolve) => sockets[0].addEventListener("close", resolve));
  sockets[0].close();
  await lost;
  await agent.send({ text: "meanwhile" });
  assert.equal(await first, seq + 1);
});

test("real: a runtime that has started is ready", options, async (t) => {
  const client = open(t);
  await until(client, ({ agents }) => agents.planner?.status === "healthy");
  assert.deepEqual(await client.ready(), { isReady: true });
});

test("real: the history of the mock is folded as the runtime folds it", ofBinary, async (t) => {
  const backend = await startBackend();
  t.after(() => backend.program.end());
  const runtime = await Runtime.create(backend.url);
  t.after(() => runtime.remove());
  const isHealthy = ({ agents }, generation) =>
    agents.streamer?.status === "healthy" && agents.streamer.generation === generation;
  const use = async (id) => {
    await runtime.start();
    const client = open(t, { url: `ws://127.0.0.1:${runtime.control.port}/bridge`, token: runtime.control.token, id });
    await until(client, (state) => isHealthy(state, 1));
    return { client, agent: client.agent("streamer") };
  };
  const { client: first, agent } = await use("history 1");
  await agent.restart();
  await agent.stop();
  await agent.start();
  await until(first, (state) => isHealthy(state, 3));
  process.kill(first.store.getState().agents.streamer.process.pid, "SIGKILL");
  await until(first, ({ agents }) => agents.streamer?.status === "restarting");
  await backend.program.end("SIGKILL");
  await until(first, ({ connection }) => connection?.state === "reconnecting");
  await runtime.stop("SIGKILL");
  first.close();
  const { client } = await use("history 2");
  const fold = new HistoryFold();
  const times = [];
  let last = "";
  client.onEvents(({ events }) => {
    for (const event of events) {
      fold.apply(event);
      times.push(Date.parse(event.at));
      last = `${event.run}.${event.seq}`;
    }
  }, { after: "0.0" });
  const iso = (at) => new Date(at).toISOString();
  const lanes = (from, to) => client.command({ type: "history", action: "lanes", from, to });
  const kinds = (await lanes()).lanes.flatMap(({ marks }) => marks.map(({ kind }) => kind));
  assert.ok(kinds.includes("actor_exited") && kinds.includes("decision"), kinds.join());
  // Without another event meanwhile, both have folded the same.
  for (;;) {
    const [theirs, own, seen] = [await lanes(), fold.lanes(), last];
    const { runtime: now } = await client.command({ type: "status" });
    if (seen !== `${now.run}.${now.seq}` || last !== seen) continue;
    assert.deepEqual(own, theirs);
    break;
  }
  const end = times.at(-1);
  for (const at of new Set(times)) {
    const { cursor, tree } = await client.command({ type: "history", action: "at", at: iso(at) });
    if (at < end) assert.deepEqual(fold.at(at), { cursor, tree });
    const to = Math.min(at + 500, end - 1);
    if (at < to) assert.deepEqual(fold.lanes(at, to), await lanes(iso(at), iso(to)));
  }
});

test("real: logs have their names, and a watched folder its files", ofBinary, async (t) => {
  const backend = await startBackend();
  t.after(() => backend.program.end());
  const watched = await realpath(await mkdtemp(join(tmpdir(), "mainstay-ui-")));
  t.after(() => rm(watched, { recursive: true }));
  await mkdir(join(watched, "deep"));
  for (const name of ["a.md", "deep/b.md", "c.txt"]) await writeFile(join(watched, name), "");
  const runtime = await Runtime.create(backend.url, `[cache]\nwatch = [${JSON.stringify(watched)}]\n`);
  t.after(() => runtime.remove());
  await runtime.start();
  const { port, token } = runtime.control;
  const client = open(t, { url: `ws://127.0.0.1:${port}/bridge`, token });
  await until(client, ({ agents }) => agents.streamer?.status === "healthy");
  assert.deepEqual(await client.logs.list(), ["streamer"]);
  assert.deepEqual(await client.cache.search(watched, "**/*.md"), {
    paths: [join(watched, "a.md"), join(watched, "deep/b.md")],
    isPartial: false,
  });
  assert.equal((await rejection(client.cache.search(tmpdir(), "*"))).reason, "forbidden");
});

test("real: an agent is added and removed, and credentials are read again", options, async (t) => {
  const client = open(t);
  await until(client, ({ isLive }) => isLive);
  const agent = client.agent("added");
  const { id, driver } = await agent.add({ driver: "http" });
  assert.deepEqual([id, driver], ["added", "http"]);
  await until(client, ({ agents }) => agents.added);
  assert.equal((await rejection(agent.add({ driver: "http" }))).reason, "conflict");
  assert.equal((await rejection(client.agent("other").add({ colour: "red" }))).reason, "invalid_config");
  await agent.remove();
  await until(client, ({ agents }) => !agents.added);
  assert.equal((await rejection(agent.remove())).reason, "agent_unknown");
  // The demo has no token.
  assert.equal((await rejection(client.credentials.reload())).reason, "invalid_config");
});

test("real: the cache keeps bytes as bytes", options, async (t) => {
  const client = open(t);
  const bytes = Uint8Array.of(255, 0, 7);
  await client.cache.put("test:bytes", bytes);
  assert.deepEqual(await client.cache.get("test:bytes"), { hit: true, value: bytes });
});
