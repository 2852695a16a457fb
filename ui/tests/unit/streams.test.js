import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../src/index.js";
import { collector, connectMock, pass, rejection, seeded, settle, stopClock } from "./support.js";

const seqs = (items) => items.filter((item) => "update" in item).map(({ update }) => update.seq);

test("req 2: StrictMode's mounts leave one subscription, and the last unmount none", async (t) => {
  const { mock, client } = connectMock(t);
  await settle();
  for (let round = 0; round < 1000; round++) {
    const stops = [
      client.agent("planner").listen(() => {}),
      client.agent("planner").listen(() => {}),
      client.onFrames(() => {}),
      client.onFiles(() => {}),
      client.onEvents(() => {}),
    ];
    for (const stop of stops) stop();
  }
  await settle();
  const counts = {};
  for (const { type, action } of mock.commands)
    counts[`${type}.${action}`] = (counts[`${type}.${action}`] ?? 0) + 1;
  assert.equal(counts["agent.listen"], counts["agent.unlisten"]);
  assert.equal(counts["files.listen"], counts["files.unlisten"]);
  assert.equal(counts["connection.listen"], counts["connection.unlisten"]);
  assert.equal(counts["subscribe.undefined"], 1);
  assert.equal(mock.opened, 1);
});

test("req 2: no listener of any stream is called after its cancellation", async (t) => {
  const { mock, client } = connectMock(t);
  mock.logs.set("planner", []);
  await settle();
  const wrong = [];
  const listen = {
    agent: (listener) => client.agent("planner").listen(listener),
    frames: (listener) => client.onFrames(listener),
    files: (listener) => client.onFiles(listener),
    log: (listener) => client.onLog("planner", listener),
  };
  for (const [name, subscribe] of Object.entries(listen)) {
    let isOver = false;
    const keep = subscribe(() => {});
    const stop = subscribe(() => isOver && wrong.push(name));
    await settle();
    mock.agentUpdate("planner", { kind: "message" });
    mock.pushFrame({ text: "{}" });
    mock.pushFile({ kind: "created", root: "/r", path: "/r/a" });
    mock.pushLog("planner", ["line"]);
    stop();
    stop();
    isOver = true;
    await settle();
    keep();
  }
  assert.deepEqual(wrong, []);
});

test("agent updates come without gap or double over lost sessions", async (t) => {
  stopClock(t);
  const random = seeded(t);
  const { mock, client } = connectMock(t);
  await settle();
  const first = collector();
  client.agent("planner").listen(first.listener, { after: 0 });
  await settle();
  let sent = 0;
  for (let round = 0; round < 200; round++) {
    const dice = random();
    if (dice < 0.7) mock.agentUpdate("planner", { kind: "message", body: ++sent });
    else if (dice < 0.85) mock.drop({ refuse: Math.floor(random() * 2) });
    else {
      const late = collector();
      const after = Math.floor(random() * sent);
      const stop = client.agent("planner").listen(late.listener, { after });
      await pass(2000, 500);
      const got = seqs(late.items);
      assert.deepEqual(
        got,
        Array.from({ length: got.length }, (_, at) => after + 1 + at),
      );
      stop();
    }
    await pass(100, 100);
  }
  await pass(30_000, 500);
  assert.deepEqual(
    seqs(first.items),
    Array.from({ length: sent }, (_, at) => at + 1),
  );
});

test("agent updates of a listener that got none yet are not missed over a lost session", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  mock.agentUpdate("planner", { kind: "message", body: "before" });
  const { items, listener } = collector();
  client.agent("planner").listen(listener);
  await settle();
  mock.drop();
  mock.agentUpdate("planner", { kind: "message", body: "meanwhile" });
  await pass(1000);
  assert.deepEqual(seqs(items), [2]);
  mock.restartRuntime();
  mock.agentUpdate("planner", { kind: "message", body: "of another run" });
  await pass(1000);
  assert.deepEqual(seqs(items), [2, 1]);
});

test("agent updates that are kept no more are reported", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t, { keepUpdates: 5 });
  await settle();
  const { items, listener } = collector();
  client.agent("planner").listen(listener, { after: 0 });
  mock.agentUpdate("planner", {});
  await settle();
  mock.drop();
  for (let count = 0; count < 10; count++) mock.agentUpdate("planner", {});
  await pass(1000);
  assert.deepEqual(items[1], { lagged: 5 });
  assert.deepEqual(seqs(items), [1, 7, 8, 9, 10, 11]);
});

test("agent updates begin again with another runtime, and say so", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  client.agent("planner").listen(listener, { after: 0 });
  for (let count = 0; count < 3; count++) mock.agentUpdate("planner", {});
  await settle();
  mock.restartRuntime();
  mock.agentUpdate("planner", {});
  await pass(1000);
  assert.deepEqual(seqs(items), [1, 2, 3, 1]);
  assert.deepEqual(items[3], { restarted: true });
});

test("agent updates after a number that is still to come begin with the first", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const [start, first, second] = [collector(), collector(), collector()];
  client.agent("planner").listen(start.listener, { after: 0 })();
  for (let count = 0; count < 3; count++) mock.agentUpdate("planner", {});
  await settle();
  client.agent("planner").listen(first.listener, { after: 500 });
  await settle();
  assert.deepEqual(seqs(first.items), [1, 2, 3]);
  client.agent("planner").listen(second.listener, { after: 500 });
  await settle();
  mock.agentUpdate("planner", {});
  await settle();
  assert.deepEqual(seqs(first.items), [1, 2, 3, 4]);
  assert.deepEqual(seqs(second.items), [1, 2, 3, 4]);
});

test("agent that is added later, also again, is listened to", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t, { agents: [] });
  await settle();
  const { items, listener } = collector();
  client.agent("late").listen(listener);
  await settle();
  assert.deepEqual(items.splice(0).map(({ error }) => error?.reason), ["agent_unknown"]);
  for (const round of [1, 2]) {
    await client.agent("late").add();
    await pass(1000, 250);
    mock.agentUpdate("late", { body: round });
    mock.agentUpdate("late", { body: round + 10 });
    await settle();
    assert.deepEqual(items.splice(0).map(({ update, restarted }) => restarted ?? update.body), [true, round, round + 10]);
    await client.agent("late").remove();
    await pass(6000, 500);
    assert.deepEqual(items.splice(0), [{ ended: true }]);
  }
  const second = collector();
  client.agent("late").listen(second.listener);
  await settle();
  assert.deepEqual(second.items.map(({ error }) => error?.reason), ["agent_unknown"], "so does a second one");
});

test("agent that is unknown is an item of its listener", async (t) => {
  const { client } = connectMock(t);
  const { items, listener } = collector();
  client.agent("absent").listen(listener);
  await settle();
  assert.equal(items[0].error.reason, "agent_unknown");
});

test("req 12: the answer to a detached message comes over a lost session", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  let answer;
  mock.on("agent.send", () => new Promise((resolve) => (answer = resolve)));
  await settle();
  const updates = [];
  const sent = client
    .agent("planner")
    .send("x", { detached: true, onUpdate: ({ kind }) => updates.push(kind) });
  await settle();
  mock.drop({ refuse: 1 });
  mock.agentUpdate("planner", { kind: "message", message_id: 1, body: "half" });
  await settle();
  answer({ text: "whole" });
  await pass(3000);
  assert.deepEqual(await sent, { messageId: 1, answer: { text: "whole" } });
  assert.deepEqual(updates, ["sent", "message", "ended"]);
});

test("req 12: the outcome of a detached message that ended meanwhile is found", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  let settleMessage;
  mock.on("agent.send", () => new Promise((...both) => (settleMessage = both)));
  await settle();
  for (let count = 0; count < 5; count++) mock.agentUpdate("planner", { message_id: 99 });
  for (const isFailure of [false, true]) {
    const sent = client.agent("planner").send("x", { detached: true });
    sent.catch(() => {});
    await settle();
    mock.drop({ refuse: 1 });
    settleMessage[+isFailure](isFailure ? new Error("broken") : "done");
    await pass(20_000, 500);
    if (isFailure) assert.equal((await rejection(sent)).details, "Error: broken");
    else assert.equal((await sent).answer, "done");
  }
  await settle();
  const listens = mock.commands.filter(({ action }) => action === "listen").map(({ after }) => after);
  assert.deepEqual(listens, [undefined, 6, undefined, 8], "only what is new comes again");
});

test("req 12: a detached message ends without the runtime: after its deadline, or a minute without a session", async (t) => {
  stopClock(t);
  for (const [options, seconds] of [
    [{ deadlineMs: 20_000 }, 20],
    [{}, 60],
    [{ deadlineMs: 90_000, waitTimeoutMs: 5_000 }, 5],
  ]) {
    const { mock, client } = connectMock(t);
    await settle();
    mock.on("agent.send", (_, { accept }) => (accept(), new Promise(() => {})));
    let outcome;
    client
      .agent("planner")
      .send("x", { detached: true, ...options })
      .catch((error) => (outcome = error.reason));
    await settle();
    mock.drop({ refuse: Infinity });
    await pass((seconds - 1) * 1000, 1000);
    assert.equal(outcome, undefined, `${seconds} s`);
    await pass(2000, 500);
    assert.equal(outcome, "outcome_unknown", `${seconds} s`);
    client.close();
  }
});

test("req 12: the wait for a detached message survives further losses, and leaves nothing behind", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const ends = [];
  mock.on("agent.send", (_, { accept, update }) => {
    accept();
    ends.push(() => update({ kind: "ended", body: { answer: "done" } }));
    return new Promise(() => {});
  });
  const reply = client.agent("planner").send("x", { detached: true });
  const stop = new AbortController();
  const aborted = rejection(client.agent("planner").send("y", { detached: true, signal: stop.signal }));
  await settle();
  const hellos = () => mock.commands.filter(({ type }) => type === "hello").length;
  mock.drop({ refuse: 2 });
  await pass(200);
  stop.abort();
  await pass(20_000, 500);
  assert.equal((await aborted).reason, "cancelled");
  // The sign of life is on its way when the session breaks again.
  mock.on("hello", () => new Promise(() => {}));
  await pass(40_000, 500);
  mock.drop();
  mock.on("hello", () => ({ now: "" }));
  await pass(5000, 500);
  ends[0]();
  await settle();
  assert.equal((await reply).answer, "done");
  const before = hellos();
  mock.setStatus({ connection: { state: "connected" } });
  for (let minute = 0; minute < 10; minute++) {
    mock.pushFrame({ text: "{}" });
    await pass(10_000, 1000);
  }
  assert.equal(hellos(), before);
});

test("req 12: a detached message whose session broke rejects when the client closes", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("agent.send", () => new Promise(() => {}));
  await settle();
  const sent = rejection(client.agent("planner").send("x", { detached: true }));
  await settle();
  mock.drop({ refuse: 1e9 });
  await settle();
  client.close();
  assert.equal((await sent).reason, "outcome_unknown");
});

test("updates of a message that come before its acceptance are not lost", async (t) => {
  let events;
  const sent = [];
  const transport = {
    open: (given) => {
      events = given;
      queueMicrotask(given.onOpen);
      return { send: (text) => sent.push(JSON.parse(text)), close() {} };
    },
  };
  const client = connect({ transport, id: t.name });
  t.after(() => client.close());
  await settle();
  const kinds = [];
  const answer = client.agent("planner").send("x", { onUpdate: ({ kind }) => kinds.push(kind) });
  await settle();
  const { id } = sent.find(({ action }) => action === "send");
  const tell = (message) => events.onMessage(JSON.stringify(message));
  // An update before the reply to `listen` would be one of an earlier subscription.
  tell({ agent: "planner", update: { seq: 9, kind: "message", message_id: 7, body: "earlier" } });
  tell({ id: sent.find(({ action }) => action === "listen").id, ok: { seq: 0 } });
  tell({ agent: "planner", update: { seq: 1, kind: "sent", message_id: 7, body: "x" } });
  tell({ agent: "planner", update: { seq: 2, kind: "message", message_id: 8, body: "other" } });
  tell({ agent: "planner", accepted: { id, message_id: 7 } });
  tell({ agent: "planner", update: { seq: 3, kind: "message", message_id: 7, body: "y" } });
  tell({ id, ok: { message_id: 7, answer: "z" } });
  assert.deepEqual(await answer, { messageId: 7, answer: "z" });
  assert.deepEqual(kinds, ["sent", "message"]);
});

test("req 16: a detached message is unknown after a restart of the runtime", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  mock.on("agent.send", () => new Promise(() => {}));
  await settle();
  const sent = rejection(client.agent("planner").send("x", { detached: true }));
  await settle();
  mock.restartRuntime();
  await pass(3000);
  assert.equal((await sent).reason, "outcome_unknown");
});

test("req 13: a detached message whose session broke is cancelled with its signal", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  mock.on("agent.send", () => new Promise(() => {}));
  await settle();
  const controller = new AbortController();
  const sent = rejection(client.agent("planner").send("x", { detached: true, signal: controller.signal }));
  await settle();
  mock.drop();
  await pass(1000);
  controller.abort();
  assert.equal((await sent).reason, "cancelled");
  await settle();
  assert.deepEqual(mock.commands.at(-2).message_id ?? mock.commands.at(-1).message_id, 1);
});

test("req 9: frames come in order, with gaps and lags", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  client.onFrames(listener);
  await settle();
  mock.pushFrame({ text: "one" });
  mock.pushFrame({ base64: "AQID" });
  mock.pushFrame({ gap: { after: 4, next: 7 } });
  mock.pushFrame({ lagged: 3 });
  await settle();
  mock.drop();
  await pass(1000);
  mock.pushFrame({ text: "two" });
  await settle();
  assert.deepEqual(items, [
    { text: "one" },
    { bytes: Uint8Array.of(1, 2, 3) },
    { gap: { after: 4, next: 7 } },
    { lagged: 3 },
    { gap: { after: null, next: null } },
    { text: "two" },
  ]);
});

test("frames that answer what is sent at once after the first listener are not lost", async (t) => {
  const { mock, client } = connectMock(t);
  await settle();
  mock.on("connection.send", ({ text }) => {
    mock.pushFrame({ text });
    mock.pushFrame({ text: '{"type":"other"}' });
    return { outcome: "sent" };
  });
  const [all, pongs] = [collector(), collector()];
  client.onFrames(all.listener);
  client.onFrames(pongs.listener, { types: ["pong"] });
  await client.sendFrame('{"type":"pong"}');
  await settle();
  assert.deepEqual(all.items.map(({ text }) => JSON.parse(text).type), ["pong", "other"]);
  assert.deepEqual(pongs.items.map(({ text }) => JSON.parse(text).type), ["pong"]);
});

test("frames come to each listener, also when the runtime refuses their patterns together", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  for (let number = 0; number < 65; number++) client.onFrames(listener, { types: [`kind${number}`] });
  await settle();
  for (const type of ["kind0", "kind64", "other"]) mock.pushFrame({ text: JSON.stringify({ type }) });
  await settle();
  assert.deepEqual(items.splice(0).map(({ text }) => JSON.parse(text).type), ["kind0", "kind64"]);
  mock.drop();
  await pass(2000, 500);
  assert.deepEqual(new Set(items.splice(0).map((item) => Object.keys(item)[0])), new Set(["gap"]));
  mock.pushFrame({ text: '{"type":"kind7"}' });
  await settle();
  assert.equal(items.length, 1);
});

test("frames: signs that only the runtime reads as a pattern stand for themselves", async (t) => {
  const { mock, client } = connectMock(t);
  await settle();
  const { items, listener } = collector();
  client.onFrames(listener, { types: ["a[1]", "{x,y}", "chat.*"] });
  await settle();
  assert.deepEqual(mock.commands.at(-1).types, []);
  for (const type of ["a[1]", "a1", "x", "{x,y}", "chat.line"]) mock.pushFrame({ text: JSON.stringify({ type }) });
  await settle();
  assert.deepEqual(items.map(({ text }) => JSON.parse(text).type), ["a[1]", "{x,y}", "chat.line"]);
});

test("frames go to those that asked for their type, and gaps to all", async (t) => {
  const { mock, client } = connectMock(t);
  await settle();
  const [all, chat, both] = [collector(), collector(), collector()];
  client.onFrames(chat.listener, { types: ["chat.*"] });
  client.onFrames(both.listener, { types: ["chat.*", "job"] });
  await settle();
  assert.deepEqual(mock.commands.at(-1).types, ["chat.*", "job"]);
  const stop = client.onFrames(all.listener);
  await settle();
  assert.deepEqual(mock.commands.at(-1).types, []);
  for (const type of ["chat.line", "job", "jobs", "chatter", 7])
    mock.pushFrame({ text: JSON.stringify({ type }) });
  for (const text of ["[]", "null", "text"]) mock.pushFrame({ text });
  mock.pushFrame({ base64: "AQ==" });
  mock.pushFrame({ lagged: 1 });
  await settle();
  assert.equal(all.items.length, 10);
  assert.equal(chat.items.length, 2);
  assert.equal(both.items.length, 3);
  stop();
  await settle();
  assert.deepEqual(mock.commands.at(-1).types, ["chat.*", "job"]);
});

test("files: after a lost session each folder is to be read again", async (t) => {
  stopClock(t);
  const folders = [{ path: "/notes", is_watched: true }];
  const { mock, client } = connectMock(t, { status: { cache: { folders } } });
  await settle();
  const { items, listener } = collector();
  client.onFiles(listener);
  await settle();
  mock.pushFile({ kind: "renamed", root: "/notes", path: "/notes/b", from: "/notes/a" });
  mock.pushLagged("file", 3);
  await settle();
  mock.drop();
  await pass(1000);
  assert.deepEqual(items, [
    { kind: "renamed", root: "/notes", path: "/notes/b", from: "/notes/a" },
    { lagged: 3 },
    { kind: "rescan", root: "/notes", path: "/notes" },
  ]);
});

test("files: a first listener has nothing to read again", async (t) => {
  const folders = [{ path: "/notes", is_watched: true }];
  const { client } = connectMock(t, { status: { cache: { folders } } });
  const { items, listener } = collector();
  client.onFiles(listener);
  await settle();
  assert.deepEqual(items, []);
});

test("log lines come without gap or double over lost sessions", async (t) => {
  stopClock(t);
  const random = seeded(t);
  const { mock, client } = connectMock(t, {}, { random: () => 0.1 });
  mock.logs.set("planner", []);
  let sameAt = 0;
  const expected = [];
  // Equal lines of one millisecond cannot be reported apart.
  const write = () => {
    const lines = Array.from(
      { length: 1 + Math.floor(random() * 4) },
      (_, at) => `line ${expected.length + at}`,
    );
    if (random() < 0.3 && Date.now() > sameAt) lines[0] = "same";
    if (lines[0] === "same") sameAt = Date.now();
    expected.push(...lines);
    mock.pushLog("planner", lines);
  };
  write();
  const texts = [];
  client.onLog("planner", (item) => "lines" in item && texts.push(...item.lines.map(({ text }) => text)));
  for (let round = 0; round < 200; round++) {
    if (random() < 0.15) mock.drop();
    else write();
    if (random() < 0.5) await settle();
    if (random() < 0.5) await pass(1 + Math.floor(random() * 30), 10);
  }
  await pass(30_000, 500);
  assert.deepEqual(texts, expected);
});

test("log lines that are read and pushed come once, and later ones whatever their time", async (t) => {
  stopClock(t);
  const { mock, client } = connectMock(t);
  mock.pushLog("planner", ["1"]);
  await settle();
  const texts = [];
  let reply;
  mock.on("logs.read", () => new Promise((resolve) => (reply = resolve)));
  client.onLog("planner", ({ lines }) => texts.push(...lines.map(({ text }) => text)));
  await settle();
  await pass(5);
  mock.pushLog("planner", ["2", "3"]);
  await settle();
  const read = [...mock.logs.get("planner")];
  await pass(5);
  mock.pushLog("planner", ["4"]);
  reply({ lines: read });
  await settle();
  assert.deepEqual(texts, ["1", "2", "3", "4"]);
  // The runtime's clock was set back.
  mock.pushLog("planner", [{ at: "2020-01-01T00:00:00.000Z", stream: "out", text: "5" }]);
  await settle();
  assert.deepEqual(texts, ["1", "2", "3", "4", "5"]);
});

test("log listeners each get their own first lines", async (t) => {
  const { mock, client } = connectMock(t);
  mock.pushLog("planner", ["1", "2", "3"]);
  await settle();
  const [one, two] = [collector(), collector()];
  client.onLog("planner", one.listener, { lines: 1 });
  await settle();
  client.onLog("planner", two.listener, { lines: 2 });
  await settle();
  mock.pushLog("planner", ["4"]);
  await settle();
  const texts = ({ items }) => items.flatMap(({ lines }) => lines.map(({ text }) => text));
  assert.deepEqual(
    [texts(one), texts(two)],
    [
      ["3", "4"],
      ["2", "3", "4"],
    ],
  );
});

test("log that is not there is an item of its listener", async (t) => {
  const { client } = connectMock(t);
  const { items, listener } = collector();
  client.onLog("absent", listener);
  await settle();
  assert.deepEqual(
    items.map(({ error }) => error.reason),
    ["not_found"],
  );
});

test("cache tells a value of null from a miss", async (t) => {
  const { mock, client } = connectMock(t);
  assert.deepEqual(await client.cache.get("na:a"), { hit: false });
  await client.cache.put("na:a", null, { ttlMs: 1000 });
  assert.deepEqual(await client.cache.get("na:a"), { hit: true, value: null });
  mock.on("cache.get", () => ({ hit: true, base64: "AQI=" }));
  assert.deepEqual(await client.cache.get("na:a"), { hit: true, value: Uint8Array.of(1, 2) });
  await client.cache.put("nb:b", 1);
  assert.equal(await client.cache.invalidate({ prefix: "nb:" }), 1);
  assert.equal(await client.cache.invalidate({ all: true }), 1);
  const [byPrefix, all] = mock.commands.filter(({ action }) => action === "invalidate");
  assert.deepEqual([byPrefix.by, byPrefix.pattern, all.by, "pattern" in all], ["prefix", "nb:", "all", false]);
});

test("cache keeps bytes as bytes", async (t) => {
  const { mock, client } = connectMock(t);
  await client.cache.put("na:bytes", Uint8Array.of(255, 0, 7), { ttlMs: 1000 });
  const put = mock.commands.find(({ action }) => action === "put");
  assert.deepEqual([put.base64, put.ttl_ms, "value" in put], ["/wAH", 1000, false]);
  assert.deepEqual(await client.cache.get("na:bytes"), { hit: true, value: Uint8Array.of(255, 0, 7) });
});
