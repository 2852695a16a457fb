import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../src/index.js";
import { createMock } from "../../src/transports/mock.js";
import { pass, rejection, seeded, settle, setGlobals, stopClock } from "./support.js";

/** Makes the internals of Tauri 2 over a scripted runtime. Messages of a channel arrive in any order. */
function fakeTauri(t, mock, random = () => 0) {
  const callbacks = new Map();
  const links = new Map();
  const waiting = [];
  let nextId = 1;
  const tauri = {
    calls: [],
    opens: [],
    callbacks,
    isHeld: false,
    transformCallback: (callback) => (callbacks.set(nextId, callback), nextId++),
    unregisterCallback: (id) => void callbacks.delete(id),
    flush: () => {
      while (waiting.length) {
        const [[id, message]] = waiting.splice(Math.floor(random() * waiting.length), 1);
        callbacks.get(id)?.(message);
      }
    },
    invoke: async (command, { session, channel, text }) => {
      tauri.calls.push(command);
      if (command === "plugin:mainstay|open") {
        assert.equal(channel, `__CHANNEL__:${session}`);
        if (tauri.isHeld) await new Promise((resolve) => tauri.opens.push(resolve));
        let index = 0;
        const send = (rest) => void waiting.push([session, { index: index++, ...rest }]);
        await new Promise((resolve, reject) => {
          const link = mock.open({
            onOpen: resolve,
            onMessage: (message) => send({ message }),
            onClose: (error) => (reject("refused"), void error, send({ end: true })),
          });
          links.set(session, link);
        });
      } else if (command === "plugin:mainstay|send") links.get(session).send(text);
      else links.get(session)?.close();
      return null;
    },
  };
  setGlobals(t, { __TAURI_INTERNALS__: tauri });
  return tauri;
}

function open(t) {
  const client = connect({ id: t.name, random: () => 0 });
  t.after(() => client.close());
  return client;
}

test("tauri is chosen by itself, and its messages are put in order", async (t) => {
  stopClock(t);
  const mock = createMock();
  const tauri = fakeTauri(t, mock, seeded(t));
  const client = open(t);
  const seen = [];
  client.onEvents(({ events }) => seen.push(...events.map(({ seq }) => seq)));
  await settle();
  tauri.flush();
  await settle();
  assert.equal(client.store.getState().isLive, true);
  for (let round = 0; round < 30; round++) {
    for (let count = 0; count < 10; count++) mock.pushEvent({ kind: "actor_ready" });
    await settle();
    tauri.flush();
    await pass(50);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 300 }, (_, at) => at + 1),
  );
});

test("tauri: the channel's end, in its order, is the session's end", async (t) => {
  stopClock(t);
  const mock = createMock();
  const tauri = fakeTauri(t, mock, seeded(t));
  const client = open(t);
  await settle();
  tauri.flush();
  await settle();
  mock.pushEvent({ kind: "actor_ready" });
  await settle();
  mock.drop();
  tauri.flush();
  assert.equal(client.store.getState().session.state, "waiting");
  assert.equal(tauri.callbacks.size, 0);
  await pass(1000);
  tauri.flush();
  await settle();
  assert.equal(client.store.getState().session.state, "open");
  assert.equal(tauri.callbacks.size, 1);
});

test("req 2: a channel that opens after the client has closed is torn down", async (t) => {
  const mock = createMock();
  const tauri = fakeTauri(t, mock);
  tauri.isHeld = true;
  const client = open(t);
  await settle();
  client.close();
  assert.equal(tauri.callbacks.size, 0);
  for (const resolve of tauri.opens) resolve();
  await settle();
  tauri.flush();
  await settle();
  assert.equal(mock.sessions, 0);
  assert.deepEqual(tauri.calls, ["plugin:mainstay|open", "plugin:mainstay|close", "plugin:mainstay|close"]);
});

test("req 2: a thousand mounts leave one channel, and the last one none", async (t) => {
  stopClock(t);
  const mock = createMock();
  const tauri = fakeTauri(t, mock);
  for (let round = 0; round < 1000; round++) {
    const client = connect({ id: t.name });
    const stop = client.onEvents(() => {});
    stop();
    client.release();
  }
  await settle();
  assert.equal(tauri.calls.filter((command) => command.endsWith("open")).length, 1);
  assert.equal(tauri.callbacks.size, 1);
  await pass(1000);
  assert.equal(tauri.callbacks.size, 0);
  assert.equal(mock.sessions, 0);
});

test("tauri: an error of a command is an end, and the next attempt follows", async (t) => {
  stopClock(t);
  const mock = createMock();
  const tauri = fakeTauri(t, mock);
  const { invoke } = tauri;
  let failures = 2;
  tauri.invoke = (...args) =>
    failures-- > 0 ? Promise.reject("plugin mainstay not found") : invoke(...args);
  const client = open(t);
  await settle();
  assert.equal(client.store.getState().session.error.details, "plugin mainstay not found");
  await pass(2000);
  tauri.flush();
  await settle();
  assert.equal(client.store.getState().isLive, true);
});

test("tauri: a text that cannot be sent ends the session on both sides", async (t) => {
  stopClock(t);
  const mock = createMock();
  const tauri = fakeTauri(t, mock);
  const client = open(t);
  await settle();
  tauri.flush();
  await settle();
  const { invoke } = tauri;
  tauri.invoke = (command, args) =>
    command.endsWith("send") ? Promise.reject("not allowed") : invoke(command, args);
  assert.equal((await rejection(client.hello())).cause.details, "not allowed");
  await settle();
  assert.equal(mock.sessions, 0);
  assert.equal(tauri.callbacks.size, 0);
});

test("tauri: messages may be values in place of text", async (t) => {
  const { tauriTransport } = await import("../../src/transports/tauri.js");
  let callback;
  const got = [];
  tauriTransport({ invoke: async () => null, transformCallback: (given) => ((callback = given), 1) }).open({
    onOpen: () => got.push("open"),
    onMessage: (message) => got.push(message),
    onClose: () => got.push("closed"),
  });
  await settle();
  callback({ index: 2, message: "late" });
  callback({ index: 3, end: true });
  callback({ index: 1, message: { id: 1 } });
  callback({ index: 0, message: "text" });
  assert.deepEqual(got, ["open", "text", { id: 1 }, "late", "closed"]);
});
