/** The socket in a worker: what the worker says of odd messages, and the socket in the page where no worker can run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { workerTransport } from "../../dashboard/worker-transport.js";
import { connect } from "../../src/index.js";
import { rejection, setGlobals, settle, stopClock } from "./support.js";

class Socket {
  /** @type {Socket[]} */
  static all = [];
  /** @type {{ id: number, type: string }[]} */
  sent = [];
  constructor(url) {
    this.url = String(url);
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {}
}

class FakeWorker {
  /** @type {FakeWorker[]} */
  static all = [];
  isEnded = false;
  /** @type {{ type: string, id: number }[]} */
  posted = [];
  constructor() {
    FakeWorker.all.push(this);
  }
  postMessage(message) {
    this.posted.push(message);
  }
  terminate() {
    this.isEnded = true;
  }
}

/** Connects through a worker of this class. */
function connectThrough(t, Worker) {
  stopClock(t);
  Socket.all = [];
  FakeWorker.all = [];
  setGlobals(t, { Worker, WebSocket: Socket, location: new URL("http://host/") });
  const client = connect({ transport: workerTransport("key"), id: t.name, random: () => 0 });
  t.after(() => client.close());
  return client;
}

test("socket worker: without workers the socket is in the page", (t) => {
  connectThrough(
    t,
    class {
      constructor() {
        throw new Error("a policy forbids workers");
      }
    },
  );
  assert.equal(Socket.all[0].url, "ws://host/bridge?token=key");
});

test("socket worker: one that cannot be loaded leaves the page", async (t) => {
  const client = connectThrough(t, FakeWorker);
  const [worker] = FakeWorker.all;
  assert.deepEqual(worker.posted.map(({ type }) => type), ["open"]);
  worker.onerror({});
  assert.ok(worker.isEnded);
  assert.equal(client.store.getState().session.error.reason, "disconnected");
  assert.equal(Socket.all.length, 0);
  client.retryNow();
  assert.equal(Socket.all[0].url, "ws://host/bridge?token=key");
  Socket.all[0].onopen();
  const hello = client.hello();
  Socket.all[0].onmessage({ data: JSON.stringify({ id: Socket.all[0].sent.at(-1)?.id, ok: { protocol: 1 } }) });
  assert.deepEqual(await hello, { protocol: 1 });
});

test("socket worker: one that dies settles every promise", async (t) => {
  const client = connectThrough(t, FakeWorker);
  const [worker] = FakeWorker.all;
  worker.onmessage({ data: { type: "open", id: 1 } });
  const error = rejection(client.hello());
  worker.onerror({ message: "out of memory" });
  assert.equal((await error).reason, "disconnected");
  client.retryNow();
  assert.equal(worker.posted.filter(({ type }) => type === "open").length, 1);
  assert.equal(Socket.all.length, 1);
});

test("socket worker: what is no JSON comes as it is, also if large", async (t) => {
  /** @type {{ type: string, id: number }[]} */
  const posted = [];
  class Refused {
    constructor() {
      throw new SyntaxError("no such address");
    }
  }
  setGlobals(t, { onmessage: null, WebSocket: Socket, postMessage: (message) => posted.push(message) });
  await import("../../dashboard/socket-worker.js");
  const last = () => posted.splice(0);
  globalThis.onmessage({ data: { type: "open", id: 7, url: "ws://host/bridge", token: "key" } });
  const socket = Socket.all.at(-1);
  const odd = `{"id":1,"ok":"${"x".repeat(70_000)}`;
  socket.onmessage({ data: odd });
  assert.deepEqual(last(), [{ type: "message", id: 7, message: odd }]);
  socket.onmessage({ data: `${odd}"}` });
  assert.deepEqual(last(), [{ type: "value", id: 7, value: JSON.parse(`${odd}"}`), lists: [] }]);
  globalThis.WebSocket = Refused;
  globalThis.onmessage({ data: { type: "open", id: 8, url: "ws://host/bridge", token: "key" } });
  await settle();
  assert.deepEqual(last().map(({ type, id, error }) => [type, id, error.reason]), [["close", 8, "internal"]]);
});
