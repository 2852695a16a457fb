import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, websocketTransport } from "../../src/index.js";
import { settle, setGlobals } from "./support.js";

class Socket {
  static all = [];
  constructor(url) {
    this.url = String(url);
    Socket.all.push(this);
  }
  send() {}
  close() {
    this.isClosed = true;
  }
}

function listen(options) {
  const log = [];
  const link = websocketTransport({ WebSocket: Socket, ...options }).open({
    onOpen: () => log.push("open"),
    onMessage: (message) => log.push(message),
    onClose: (error) => log.push([error.reason, error.details]),
  });
  return { log, link, socket: Socket.all.at(-1) };
}

test("websocket speaks no more after it was closed", () => {
  const { log, link, socket } = listen({ url: "ws://host/bridge" });
  link.close();
  assert.deepEqual(
    [socket.onopen, socket.onmessage, socket.onclose, socket.onerror],
    [null, null, null, null],
  );
  assert.equal(socket.isClosed, true);
  assert.deepEqual(log, []);
});

test("websocket names the address with the token, also for http", () => {
  assert.equal(listen({ url: "ws://h:1/bridge" }).socket.url, "ws://h:1/bridge");
  assert.equal(listen({ url: "https://h/bridge", token: "a b" }).socket.url, "wss://h/bridge?token=a+b");
});

test("websocket tells a busy runtime by its close code", async () => {
  const { log, socket } = listen({ url: "ws://host/bridge" });
  socket.onclose({ code: 1013, reason: "64 sessions are open" });
  socket.onclose({ code: 1006, reason: "" });
  assert.deepEqual(log, [
    ["unavailable", "64 sessions are open"],
    ["disconnected", "close code 1006"],
  ]);
});

test("websocket tells a refused token", async (t) => {
  setGlobals(t, { fetch: async () => ({ status: 403 }) });
  const { log, socket } = listen({ url: "ws://host/bridge", token: "wrong" });
  socket.onerror();
  await settle();
  assert.deepEqual(log, [["unauthenticated", undefined]]);
});

test("page with a token in its address connects to where it came from", async (t) => {
  const replaced = [];
  setGlobals(t, {
    WebSocket: Socket,
    location: new URL("http://127.0.0.1:4000/page?a=1#token=secret"),
    history: { state: null, replaceState: (...args) => replaced.push(args[2]) },
  });
  const client = connect({ id: t.name });
  t.after(() => client.close());
  assert.equal(Socket.all.at(-1).url, "ws://127.0.0.1:4000/bridge?token=secret");
  assert.deepEqual(replaced, []);
  const hiding = connect({ id: `${t.name} 2`, hideToken: true });
  t.after(() => hiding.close());
  assert.deepEqual(replaced, ["/page?a=1"]);
});
