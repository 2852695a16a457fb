import assert from "node:assert/strict";
import { test } from "node:test";
import { currentClient, hold, pageClient } from "../../src/client.js";
import { connect, findClient } from "../../src/index.js";
import { countFailures, nextDelay } from "../../src/reconnect.js";
import { createMock } from "../../src/transports/mock.js";
import {
  collector,
  connectMock,
  fakePage,
  manualClock,
  pass,
  rejection,
  seeded,
  settle,
  setGlobals,
  stopClock,
} from "./support.js";

test("req 1: any number of uses share one session, which ends 1 s after the last", async (t) => {
  stopClock(t);
  const mock = createMock();
  const clients = Array.from({ length: 1000 }, () => connect({ mock, id: "shared" }));
  await settle();
  assert.equal(new Set(clients).size, 1);
  assert.equal(mock.opened, 1);
  assert.equal(findClient("shared"), clients[0]);
  for (const client of clients) client.release();
  await pass(900);
  assert.equal(mock.sessions, 1, "StrictMode unmounts and mounts at once");
  assert.equal(connect({ mock, id: "shared" }), clients[0]);
  await pass(5000);
  assert.equal(mock.sessions, 1);
  clients[0].release();
  await pass(1000);
  assert.equal(mock.sessions, 0);
  assert.equal(clients[0].closed, true);
  assert.equal(findClient("shared"), null);
  assert.equal(mock.opened, 1);
});

test("req 1: a use that is given back twice ends no other use", async (t) => {
  stopClock(t);
  const mock = createMock();
  const client = connect({ mock, id: t.name });
  t.after(() => client.close());
  await settle();
  const [first, second] = [client.hold(), client.hold()];
  first();
  first();
  client.release();
  client.release();
  await pass(2000, 500);
  assert.equal(mock.sessions, 1);
  assert.throws(() => connect({ id: t.name, mock: createMock() }), { reason: "invalid_config" });
  second();
  await pass(500);
  const last = client.hold();
  second();
  await pass(2000, 500);
  assert.equal(mock.sessions, 1);
  last();
  await pass(1000);
  assert.equal(client.closed, true);
  last();
});

test("req 1: a reloaded module finds the session of the page", async (t) => {
  const { client } = connectMock(t, {}, { id: "hot" });
  const reloaded = await import("../../src/client.js?reloaded");
  assert.equal(reloaded.connect({ id: "hot" }), client);
});

test("req 1: options of another runtime are refused while the client is in use", async (t) => {
  stopClock(t);
  const WebSocket = class {
    close() {}
  };
  setGlobals(t, { WebSocket });
  const id = t.name;
  const options = { url: "ws://127.0.0.1:1/bridge", token: "a", id };
  const client = connect(options);
  t.after(() => findClient(id)?.close());
  for (const same of [{ id }, { id, url: options.url }, { id, token: "a" }, options])
    assert.equal(connect(same), client);
  const mock = createMock();
  for (const other of [{ url: "ws://127.0.0.1:2/bridge" }, { token: "b" }, { mock }, { transport: mock }])
    assert.throws(() => connect({ id, ...other }), { name: "MainstayError", reason: "invalid_config" });
  for (let uses = 0; uses < 5; uses++) client.release();
  const next = connect({ id, mock });
  assert.notEqual(next, client);
  assert.equal(client.closed, true);
  await pass(2000, 500);
  assert.equal(findClient(id), next);
  assert.equal(next.store.getState().isLive, true);
});

test("req 3: a link that ends twice is dialled once, and speaks no more", async (t) => {
  stopClock(t);
  const links = [];
  const transport = { open: (events) => (links.push(events), { send() {}, close() {} }) };
  const client = connect({ transport, id: t.name, random: () => 1 });
  t.after(() => client.close());
  for (let round = 0; round < 5; round++) {
    const old = links.at(-1);
    old.onClose();
    old.onClose();
    old.onOpen();
    old.onMessage('{"snapshot":{}}');
    await pass(20_000, 500);
    assert.equal(client.store.getState().isLive, false);
  }
  // Each dial times out after 10 s, and the next one comes at most 10 s later.
  assert.ok(links.length <= 1 + 5 * 3, `${links.length} dials`);
});

test("req 4: reconnect works in every state, also long after the last attempt", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.drop({ refuse: 8 });
  await pass(60_000, 500);
  assert.equal(client.store.getState().session.state, "open");
  mock.drop({ refuse: 20 });
  await pass(30_000, 500);
  assert.equal(client.store.getState().session.state, "waiting");
  mock.drop({ refuse: 0 });
  client.retryNow();
  client.retryNow();
  await settle();
  assert.equal(client.store.getState().session.state, "open");
  assert.equal(mock.sessions, 1);
  client.close();
  client.retryNow();
  assert.equal(client.store.getState().session.state, "closed");
});

test("req 4: the backend's reconnect is a command in every state of its connection", async (t) => {
  const { mock, client } = connectMock(t);
  for (const state of ["failed", "disconnected", "reconnecting", "connected"]) {
    mock.setStatus({ connection: { state } });
    const report = await client.connection.reconnect();
    assert.equal(report.reconnected, state === "connected" ? "replaced" : "opened");
  }
});

test("req 5: delays double to 10 s, and are random", (t) => {
  const random = seeded(t);
  assert.equal(nextDelay(0, random), 0);
  const most = Array.from({ length: 9 }, (_, failures) => nextDelay(failures, () => 1));
  assert.deepEqual(most, [0, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
  const delays = Array.from({ length: 1000 }, () => nextDelay(6, random));
  assert.ok(Math.min(...delays) < 1000 && Math.max(...delays) > 9000);
  assert.equal(
    nextDelay(1e9, () => 1),
    10_000,
  );
});

test("req 5: failures are forgotten after 10 s of a stable session, and not before", async (t) => {
  assert.equal(countFailures(3, null, 0), 4);
  assert.equal(countFailures(3, 0, 9999), 4);
  assert.equal(countFailures(3, 0, 10_000), 0);
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  for (let round = 1; round <= 3; round++) {
    mock.drop();
    assert.equal(
      client.store.getState().session.attempt,
      round + 1,
      "an unstable session counts as a failure",
    );
    await pass(nextDelay(round, () => 1));
  }
  await pass(10_000);
  mock.drop();
  const { session } = client.store.getState();
  assert.equal(session.attempt, 1);
  assert.equal(session.nextAttemptAt, Date.now(), "the first attempt is at once");
});

for (const [title, wake] of [
  ["the network is up", (page) => page.emit("online")],
  ["the window shows", (page) => page.show("visible")],
  ["the page comes back", (page) => page.emit("pageshow", { persisted: true })],
]) {
  test(`req 6: an attempt is made at once when ${title}`, async (t) => {
    stopClock(t);
    const page = fakePage(t);
    const { mock, client } = connectMock(t);
    await settle();
    mock.drop({ refuse: 12 });
    await pass(60_000, 500);
    mock.drop({ refuse: 0 });
    await pass(100);
    assert.notEqual(client.store.getState().session.state, "open");
    page.document.visibilityState = "visible";
    wake(page);
    await settle();
    assert.equal(client.store.getState().session.state, "open");
  });
}

test("req 6: an open but silent link is checked when the window shows", async (t) => {
  stopClock(t);
  const page = fakePage(t);
  const { mock, client } = connectMock(t);
  await pass(2000);
  mock.halfOpen();
  page.show("visible");
  await pass(6500);
  assert.equal(mock.opened, 2);
  assert.equal(client.store.getState().session.state, "open");
});

test("req 6: a page in the back/forward cache has no session, and one when it returns", async (t) => {
  stopClock(t);
  const page = fakePage(t);
  const { mock, client } = connectMock(t);
  await settle();
  page.emit("pagehide", { persisted: true });
  assert.equal(mock.sessions, 0);
  assert.equal(client.store.getState().isLive, false);
  await pass(60_000, 500);
  assert.equal(mock.opened, 1);
  page.emit("pageshow", { persisted: true });
  await settle();
  assert.equal(client.store.getState().isLive, true);
});

test("req 11: attempts go on while the browser says that it is offline", async (t) => {
  stopClock(t);
  setGlobals(t, { navigator: { onLine: false } });
  const { mock, client } = connectMock(t);
  await settle();
  assert.equal(client.store.getState().session.state, "open");
  mock.drop({ refuse: 2 });
  await pass(5000);
  assert.equal(client.store.getState().session.state, "open");
});

test("req 12: every promise settles when the client closes", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", () => new Promise(() => {}));
  mock.on("agent.send", () => new Promise(() => {}));
  await settle();
  const sent = [
    client.request("GET", "/a"),
    client.agent("planner").send("b", { detached: true }),
    client.fetch("/c"),
  ];
  await settle();
  mock.drop({ refuse: 1e9 });
  const late = [
    client.hello(),
    client.request("GET", "/d"),
    client.logs.read("planner"),
    client.sendFrame("x"),
  ];
  const outcomes = Promise.allSettled([...sent, ...late]);
  client.close();
  const reasons = (await outcomes).map(
    ({ status, reason }) => (assert.equal(status, "rejected"), reason.reason),
  );
  assert.deepEqual(reasons.slice(3), ["cancelled", "cancelled", "cancelled", "cancelled"]);
  assert.equal((await rejection(client.hello())).reason, "cancelled");
  assert.equal((await rejection(client.fetch("/x"))).reason, "cancelled");
});

test("req 12: a command that waits for a session ends with its signal, or after its wait", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.drop({ refuse: 1e9 });
  const controller = new AbortController();
  const aborted = rejection(client.command({ type: "status" }, { signal: controller.signal }));
  const late = rejection(client.request("GET", "/x", { waitTimeoutMs: 3000 }));
  const usual = rejection(client.request("GET", "/y"));
  const due = rejection(client.request("GET", "/z", { deadlineMs: 1000 }));
  controller.abort(new Error("gone"));
  assert.equal((await aborted).reason, "cancelled");
  assert.equal((await aborted).cause.message, "gone");
  await pass(1000);
  assert.equal((await due).reason, "disconnected");
  await pass(2000);
  assert.equal((await late).retryable, true);
  await pass(57_000, 500);
  assert.equal((await usual).reason, "disconnected");
});

test("req 12: a command of any kind waits a minute for a session, and does not act later", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.drop({ refuse: 1e9 });
  const all = Promise.all(
    [
      client.agent("planner").restart(),
      client.connection.reconnect(),
      client.backend.stop(),
      client.requests.cancel(7),
      client.command({ type: "credentials", action: "reload" }),
    ].map(rejection),
  );
  mock.commands.length = 0;
  await pass(60_000, 500);
  for (const error of await all) assert.equal(error.reason, "disconnected");
  mock.drop();
  await pass(30_000, 500);
  assert.equal(client.store.getState().isLive, true);
  assert.ok(mock.commands.every(({ type }) => ["subscribe", "hello", "status", "tree"].includes(type)));
});

test("req 2: a callback that throws is reported, and disturbs no session", async (t) => {
  const reported = [];
  setGlobals(t, { reportError: (error) => reported.push(error.message) });
  const { mock, client } = connectMock(t);
  mock.on("request", (_, { push }) => {
    push({ progress: { sent: 5, received: 0 } });
    return { status: 200, body: "ok" };
  });
  mock.on("agent.send", (_, { update }) => {
    update({ kind: "message", body: "x" });
    return { text: "done" };
  });
  await settle();
  const fail = (name) => () => {
    throw new Error(name);
  };
  const request = { onAccepted: fail("accepted"), onProgress: fail("progress") };
  assert.equal((await client.request("GET", "/x", request)).status, 200);
  const sent = await client
    .agent("planner")
    .send("hi", { onAccepted: fail("message accepted"), onUpdate: fail("update") });
  assert.deepEqual(sent.answer, { text: "done" });
  assert.equal(mock.opened, 1);
  for (const name of ["accepted", "progress", "message accepted", "update"])
    assert.ok(reported.includes(name), `${name}: ${reported}`);
});

test("req 12: commands that were not sent go over the next session, in order", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.drop({ refuse: 1 });
  mock.commands.length = 0;
  const replies = Promise.all(["/1", "/2", "/3"].map((path) => client.request("POST", path, { body: {} })));
  await pass(2000);
  assert.deepEqual(
    (await replies).map(({ body }) => body.path),
    ["/1", "/2", "/3"],
  );
  assert.equal(mock.commands[0].type, "subscribe");
});

test("req 12: no more than 1024 commands wait for a session", async (t) => {
  const { mock, client } = connectMock(t);
  mock.drop({ refuse: 1e9 });
  const all = Array.from({ length: 1030 }, () =>
    client.command({ type: "status" }).catch((error) => error.reason),
  );
  client.close();
  const reasons = await Promise.all(all);
  assert.equal(reasons.filter((reason) => reason === "queue_full").length, 6);
});

test("req 12: a command that cannot be written rejects", async (t) => {
  const { client } = connectMock(t);
  const loop = {};
  loop.loop = loop;
  assert.equal((await rejection(client.request("POST", "/x", { body: loop }))).reason, "invalid_request");
});

test("req 13: an aborted request reaches the runtime, and rejects at once", async (t) => {
  const { mock, client } = connectMock(t);
  let signal;
  mock.on("request", (_, exchange) => ((signal = exchange.signal), new Promise(() => {})));
  const controller = new AbortController();
  const sent = client.request("GET", "/slow", { signal: controller.signal });
  await settle();
  controller.abort();
  assert.equal((await rejection(sent)).reason, "cancelled");
  await settle();
  assert.equal(signal.aborted, true);
  const request = mock.commands.find(({ type }) => type === "request");
  assert.deepEqual(mock.commands.at(-1), {
    id: mock.commands.at(-1).id,
    type: "cancel",
    request: request.id,
  });
});

test("req 13: a message that is aborted before its acceptance is cancelled after it", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.slow(100);
  let signal;
  mock.on("agent.send", (_, exchange) => ((signal = exchange.signal), new Promise(() => {})));
  const controller = new AbortController();
  const sent = client.agent("planner").send("x", { signal: controller.signal });
  await settle();
  controller.abort();
  assert.equal((await rejection(sent)).reason, "cancelled");
  await pass(400);
  assert.equal(signal.aborted, true);
});

test("req 14: idle limit and deadline of requests and messages go to the runtime", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await client.request("GET", "/x", { timeoutMs: 1, waitTimeoutMs: 2000, deadlineMs: 3000, retries: 4 });
  await client.agent("planner").send("x", { timeoutMs: 5, waitTimeoutMs: 6000, deadlineMs: 7000 });
  const [request, message] = mock.commands.filter(
    ({ type, action }) => type === "request" || action === "send",
  );
  assert.deepEqual(
    [request.timeout_ms, request.wait_timeout_ms, request.deadline_ms, request.retries],
    [1, 2000, 3000, 4],
  );
  assert.deepEqual([message.timeout_ms, message.wait_timeout_ms, message.deadline_ms], [5, 6000, 7000]);
});

test("req 15: retries of the runtime are events, with attempt, delay and reason", async (t) => {
  const { mock, client } = connectMock(t);
  await settle();
  const seen = new Promise((resolve) =>
    client.onEvents(({ events }) => resolve(events), { kinds: ["request_retry"] }),
  );
  const accepted = [];
  mock.on("request", async () => {
    const fields = {
      request_id: 1,
      method: "GET",
      path: "/x",
      attempt: 2,
      delay_ms: 100,
      reason: "unavailable",
    };
    mock.pushEvent({ kind: "request_retry", actor: "root/queue", fields });
    return { status: 200, attempts: 2 };
  });
  const response = await client.request("GET", "/x", { onAccepted: (id) => accepted.push(id) });
  assert.equal(response.attempts, 2);
  const retries = await seen;
  assert.deepEqual(
    retries.map(({ attempt, delay_ms, reason }) => [attempt, delay_ms, reason]),
    [[2, 100, "unavailable"]],
  );
  assert.deepEqual(accepted, [retries[0].request_id]);
});

test("req 16: a broken session leaves each command with its known outcome", async (t) => {
  const { mock, client } = connectMock(t);
  for (const type of ["request", "agent.send", "agent.restart", "agent.show", "connection.send"]) {
    mock.on(type, () => new Promise(() => {}));
  }
  await settle();
  const agent = client.agent("planner");
  const outcomes = [
    [client.request("GET", "/x"), "disconnected"],
    [client.request("put", "/x"), "disconnected"],
    [client.request("POST", "/x"), "outcome_unknown"],
    [client.request("POST", "/x", { idempotencyKey: "k" }), "disconnected"],
    [agent.send("x"), "outcome_unknown"],
    [agent.send("x", { mayRepeat: true }), "disconnected"],
    [agent.restart(), "outcome_unknown"],
    [agent.show(), "disconnected"],
    [client.sendFrame("x"), "outcome_unknown"],
  ].map(async ([promise, reason]) => [await rejection(promise), reason]);
  await settle();
  mock.drop();
  for (const outcome of outcomes) {
    const [error, reason] = await outcome;
    assert.equal(error.reason, reason);
    assert.equal(error.retryable, reason === "disconnected");
  }
});

test("req 20: a half-open link is replaced within 20 s, and nothing on it counts", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await pass(3000);
  mock.halfOpen();
  const lost = rejection(client.request("POST", "/x"));
  await pass(14_000);
  assert.equal(mock.opened, 1);
  await pass(6500);
  assert.equal((await lost).reason, "outcome_unknown");
  assert.equal(mock.opened, 2);
  assert.equal(client.store.getState().isLive, true);
});

test("req 20: a link with traffic, or a slow one, is not replaced", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  mock.slow(2000);
  await pass(120_000, 500);
  assert.equal(mock.opened, 1);
  assert.equal(client.store.getState().isLive, true);
});

test("req 20: a page that stood still reads what came before it judges", async (t) => {
  fakePage(t).document.visibilityState = "hidden";
  const clock = manualClock();
  const { mock, client } = connectMock(t, { clock }, { clock });
  await settle();
  mock.slow(500);
  // The check asks for a sign of life, and the page is frozen before the reply is there.
  clock.advance(15_000);
  assert.equal(mock.commands.filter(({ type }) => type === "hello").length, 1);
  clock.jump(30 * 60_000);
  await settle();
  clock.advance(500);
  await settle();
  assert.equal(mock.commands.filter(({ type }) => type === "hello").length, 2);
  clock.advance(14_000);
  assert.deepEqual([mock.opened, client.store.getState().session.state], [1, "open"]);
  mock.halfOpen();
  clock.jump(30 * 60_000);
  clock.advance(4999);
  assert.equal(mock.opened, 1);
  clock.advance(1);
  assert.equal(mock.opened, 2);
});

test("req 3: a link that never opens is given up after 10 s", async (t) => {
  stopClock(t);
  const links = [];
  const transport = {
    open: (events) => (links.push(events), { send() {}, close: () => void (links.at(-1).isClosed = true) }),
  };
  const client = connect({ transport, id: t.name, random: () => 0 });
  t.after(() => client.close());
  await pass(9900);
  assert.deepEqual([links.length, client.store.getState().session.state], [1, "connecting"]);
  await pass(200);
  assert.deepEqual([links.length, links[0].isClosed], [2, true]);
});

test("req 2: nothing stays on a signal after its command has ended", async (t) => {
  const { mock, client } = connectMock(t);
  mock.fail("tree", { code: "SERVER_ERROR", reason: "internal" });
  const { signal } = new AbortController();
  const listening = new Set();
  signal.addEventListener = (_, listener) => void listening.add(listener);
  signal.removeEventListener = (_, listener) => void listening.delete(listener);
  await Promise.allSettled([
    client.request("GET", "/x", { signal }),
    client.command({ type: "tree" }, { signal }),
    client.fetch("/x", { signal }).then((response) => response.text()),
    client.agent("planner").send("x", { signal, detached: true }),
  ]);
  assert.equal(listening.size, 0);
});

test("req 20: a crash of an agent shows at once, with its restart on the page's clock", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.crash("planner", { restartInMs: 4000 });
  await pass(600);
  const agent = client.store.getState().agents.planner;
  assert.equal(agent.status, "restarting");
  assert.equal(agent.restartAtMs, Date.now() + 3400);
  mock.recover("planner");
  await pass(600);
  assert.equal(client.store.getState().agents.planner.status, "healthy");
});

test("req 20: a 503 and a scripted failure are errors with their status", async (t) => {
  const { mock, client } = connectMock(t);
  mock.respond503(1);
  const error = await rejection(client.request("GET", "/x"));
  assert.deepEqual([error.status, error.reason, error.retryable], [503, "unavailable", true]);
  assert.equal((await client.request("GET", "/x")).status, 200);
  mock.fail("agent.restart", { code: "NOT_FOUND", reason: "agent_unknown" });
  assert.equal((await rejection(client.agent("planner").restart())).reason, "agent_unknown");
  mock.fail("agent.restart", null);
  assert.equal((await client.agent("planner").restart()).id, "planner");
});

test("client without an address says so, and rejects every command", async (t) => {
  stopClock(t);
  const client = connect({ id: t.name });
  t.after(() => client.close());
  const early = rejection(client.hello());
  assert.equal(client.store.getState().session.state, "connecting");
  await pass(1000);
  const { session, isLive } = client.store.getState();
  assert.equal(session.state, "closed");
  assert.equal(session.error.reason, "invalid_config");
  assert.equal(isLive, false);
  assert.equal((await early).reason, "invalid_config");
  assert.equal((await rejection(client.hello())).reason, "invalid_config");
});

test("req 1: an address that comes later is taken by the client that is in use", async (t) => {
  stopClock(t);
  for (const lateMs of [0, 500, 5000]) {
    const id = `${t.name} ${lateMs}`;
    const client = connect({ id });
    t.after(() => client.close());
    const states = [];
    client.store.select(({ isLive }) => isLive, (isLive) => states.push(isLive));
    const { items, listener } = collector();
    client.onEvents(listener);
    const early = client.hello().catch((error) => error);
    await pass(lateMs, 500);
    const mock = createMock();
    assert.equal(connect({ id, mock }), client);
    await pass(100);
    mock.pushEvent({ kind: "actor_started", actor: "root/agents" });
    await pass(100);
    assert.deepEqual(states, [true]);
    assert.deepEqual(items.map(({ events }) => events.length), [1]);
    // Within a second no command has failed for want of an address.
    assert.equal((await early).reason, lateMs > 1000 ? "invalid_config" : undefined);
    assert.equal(client.store.getState().session.error, null);
    assert.throws(() => connect({ id, mock: createMock() }), { reason: "invalid_config" });
  }
});

test("req 1: uses of a closed client go on with the next one of the page", async (t) => {
  stopClock(t);
  const before = createMock();
  const client = connect({ mock: before });
  t.after(() => findClient()?.close());
  const seen = [];
  const end = hold(null, (used) => {
    seen.push(used);
    return used.store.subscribe(() => {});
  });
  client.close();
  assert.equal(findClient(), null);
  assert.equal(pageClient(), client, "what is mounted later opens no session of its own");
  const next = connect({ mock: createMock() });
  assert.deepEqual(seen, [client, next]);
  next.release();
  await pass(5000, 500);
  assert.equal(next.closed, false, "it is in use");
  end();
  await pass(1000);
  assert.equal(next.closed, true);
  assert.equal(currentClient(), null);
  assert.equal(before.sessions, 0);
});

test("req 1: a use that another one ends in the hand-over is not begun again", async (t) => {
  stopClock(t);
  connect({ mock: createMock() });
  t.after(() => findClient()?.close());
  const begun = [];
  let endSecond = () => {};
  const endFirst = hold(null, () => {
    begun.push("first");
    return () => endSecond();
  });
  endSecond = hold(null, () => {
    begun.push("second");
    return () => {};
  });
  findClient().close();
  const next = connect({ mock: createMock() });
  assert.deepEqual(begun, ["first", "second", "first"]);
  next.release();
  endFirst();
  await pass(1000);
  assert.equal(next.closed, true);
});

test("req 1: a use that fails at once holds no client", async (t) => {
  stopClock(t);
  const client = connect({ mock: createMock() });
  t.after(() => client.close());
  const fails = () => {
    throw new Error("no");
  };
  assert.throws(() => hold(null, fails), /no/);
  client.release();
  await pass(1000);
  assert.equal(client.closed, true);
});

test("req 1: uses begin again with an address that comes when the client has failed without one", async (t) => {
  stopClock(t);
  const outcomes = [];
  const end = hold(null, (client) => {
    client.hello().then(
      ({ type }) => outcomes.push(type),
      ({ reason }) => outcomes.push(reason),
    );
    return () => {};
  });
  t.after(() => findClient()?.close());
  t.after(end);
  await pass(1000);
  assert.deepEqual(outcomes, ["invalid_config"]);
  connect({ mock: createMock() });
  await settle();
  assert.equal(outcomes.length, 2);
  assert.notEqual(outcomes[1], "invalid_config");
});

test("req 14: a deadline ends a request on a dead link, and not in a standstill", async (t) => {
  const clock = manualClock();
  const { mock, client } = connectMock(t, { clock }, { clock });
  await settle();
  mock.on("request", () => new Promise(() => {}));
  const outcomes = [];
  const note = (error) => outcomes.push(error.reason);
  client.request("GET", "/a", { deadlineMs: 4000 }).catch(note);
  client.request("POST", "/a", { deadlineMs: 4000 }).catch(note);
  await settle();
  clock.jump(60 * 60_000);
  await settle();
  assert.deepEqual(outcomes, [], "the runtime stood still as well");
  mock.halfOpen();
  clock.advance(4000);
  await settle();
  assert.deepEqual(outcomes, []);
  clock.advance(1000);
  await settle();
  assert.deepEqual(outcomes, ["timed_out", "outcome_unknown"]);
});

test("req 14: a deadline beyond the reach of timers ends nothing early", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  mock.slow(100);
  mock.on("request", () => ({ status: 200, headers: {}, body: "here" }));
  const bodies = [Infinity, 2 ** 31, 2 ** 31 - 500, 30 * 24 * 3600 * 1000].map(
    async (deadlineMs) => (await client.request("POST", "/a", { deadlineMs })).body,
  );
  await pass(2000);
  assert.deepEqual(await Promise.all(bodies), ["here", "here", "here", "here"]);
});

test("req 14: a deadline and a dead link are seen also in a hidden page, whose timers fire once a minute", async (t) => {
  const clock = manualClock();
  const { setTimeout } = clock;
  const isThrottled = { now: false };
  clock.setTimeout = (task, ms) => {
    const due = clock.now() + ms;
    return setTimeout(task, isThrottled.now ? Math.ceil(due / 60_000) * 60_000 - clock.now() : ms);
  };
  const { mock, client } = connectMock(t, { clock }, { clock });
  await settle();
  isThrottled.now = true;
  mock.on("request", () => new Promise(() => {}));
  mock.halfOpen();
  let reason;
  client.request("GET", "/a", { deadlineMs: 4000 }).catch((error) => (reason = error.reason));
  for (let minute = 0; minute < 6; minute++) {
    clock.advance(60_000);
    await settle();
  }
  assert.equal(reason, "timed_out");
  assert.ok(mock.opened >= 2, `${mock.opened} links`);
});

test("req 20: a dead link is found although the wall clock was set back", async (t) => {
  const clock = manualClock();
  const { mock, client } = connectMock(t, { clock }, { clock });
  await settle();
  mock.halfOpen();
  let shift = 0;
  const { now } = clock;
  clock.now = () => now() - shift;
  shift = 60 * 60_000;
  for (let second = 0; second < 40; second++) {
    clock.advance(1000);
    await settle();
  }
  assert.equal(mock.opened, 2);
  assert.equal(client.store.getState().isLive, true);
});

test("req 6: reconnects one after the other do not put the end of a dead link off", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.halfOpen();
  await pass(2000, 500);
  for (let round = 0; round < 12 && mock.opened < 2; round++) {
    client.retryNow();
    await pass(500);
  }
  await pass(500);
  assert.equal(mock.opened, 2);
});

test("req 14: the wait for a session is part of the deadline", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.on("request", () => ({ status: 200, headers: {}, body: null }));
  mock.on("agent.send", () => "done");
  mock.drop({ refuse: 2 });
  const sent = [
    client.request("GET", "/a", { deadlineMs: 60_000 }),
    client.agent("planner").send("hello", { deadlineMs: 50_000 }),
    client.request("GET", "/b"),
    client.fetch("/c", { deadlineMs: 40_000 }),
    client.request("GET", "/d", { waitTimeoutMs: 30_000 }),
  ];
  const askedAt = Date.now();
  await pass(20_000, 500);
  await Promise.all(sent);
  const left = mock.commands.filter(({ type }) => type === "request" || type === "agent");
  const waited = 60_000 - left[0].deadline_ms;
  assert.ok(waited >= 500 && waited <= Date.now() - askedAt, `${waited} ms`);
  const deadlines = Object.fromEntries(left.map(({ path, agent, deadline_ms }) => [path ?? agent, deadline_ms]));
  assert.deepEqual(deadlines, {
    "/a": 60_000 - waited,
    planner: 50_000 - waited,
    "/b": undefined,
    "/c": 40_000 - waited,
    "/d": undefined,
  });
  assert.equal(left.find(({ path }) => path === "/d").wait_timeout_ms, 30_000 - waited);
});

test("client that closes leaves no timer and no listener", async (t) => {
  stopClock(t);
  const page = fakePage(t);
  const counts = {};
  for (const target of [globalThis, page.document]) {
    const { addEventListener: add, removeEventListener: remove } = target;
    target.addEventListener = (type, ...rest) => (
      (counts[type] = (counts[type] ?? 0) + 1),
      add.call(target, type, ...rest)
    );
    target.removeEventListener = (type, ...rest) => ((counts[type] -= 1), remove.call(target, type, ...rest));
  }
  const timers = new Set();
  const clock = {
    now: () => Date.now(),
    setTimeout: (task, ms) => {
      const timer = setTimeout(() => (timers.delete(timer), task()), ms);
      timers.add(timer);
      return timer;
    },
    clearTimeout: (timer) => (timers.delete(timer), clearTimeout(timer)),
  };
  for (let round = 0; round < 50; round++) {
    const mock = createMock({ clock });
    const client = connect({ mock, id: "again", clock });
    client.onEvents(() => {});
    client.store.subscribe(() => {});
    await settle();
    mock.pushEvent({ kind: "runtime_stopping" });
    await pass(100);
    client.close();
  }
  assert.equal(timers.size, 0);
  assert.deepEqual(
    Object.values(counts).filter((count) => count),
    [],
  );
});
