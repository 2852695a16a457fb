import assert from "node:assert/strict";
import { test } from "node:test";
import { MainstayError } from "../../src/index.js";
import { connectMock, rejection, seeded, settle, until } from "./support.js";

const bytesOf = (length) => Uint8Array.from({ length }, (_, at) => at % 251);

test("fetch answers as fetch does", async (t) => {
  const { mock, client } = connectMock(t);
  const response = await client.fetch("/items?q=1", {
    headers: { "X-Own": "1" },
    priority: "high",
    timeoutMs: 5,
  });
  assert.ok(response instanceof Response);
  assert.equal(response.status, 200);
  assert.equal(response.url, "/items?q=1");
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.deepEqual(await response.json(), { method: "GET", path: "/items?q=1" });
  assert.equal(response.requestId, 1);
  const sent = mock.commands.find(({ type }) => type === "request");
  assert.deepEqual(
    [sent.stream, sent.headers, sent.priority, sent.timeout_ms],
    [true, { "x-own": "1" }, "high", 5],
  );
});

test("fetch takes a Request, a URL of the backend, and refuses other hosts", async (t) => {
  const { client } = connectMock(t);
  const request = new Request("http://backend/a", { method: "PUT", body: "x" });
  assert.deepEqual(await (await client.fetch(request)).json(), { method: "PUT", path: "/a", bytes: 1 });
  assert.equal((await (await client.fetch(new URL("http://backend/b"))).json()).path, "/b");
  assert.equal((await rejection(client.fetch("https://example.org/b"))).reason, "invalid_request");
});

test("fetch passes bodies on as bytes, with their type", async (t) => {
  const { mock, client } = connectMock(t);
  const form = new FormData();
  form.append("name", "value");
  const cases = [
    ["text", "text/plain;charset=UTF-8", "text"],
    [Uint8Array.of(0, 255), undefined, "\u0000\ufffd"],
    [new URLSearchParams({ a: "1" }), "application/x-www-form-urlencoded;charset=UTF-8", "a=1"],
    [new Blob(["blob"], { type: "image/png" }), "image/png", "blob"],
  ];
  for (const [body, type, text] of cases) {
    await client.fetch("/x", { method: "POST", body });
    const { base64, headers } = mock.commands.findLast(({ type }) => type === "request");
    assert.equal(new TextDecoder().decode(Buffer.from(base64, "base64")), text);
    assert.equal(headers["content-type"], type);
  }
  await client.fetch("/x", { method: "POST", body: form });
  assert.match(mock.commands.at(-1).headers["content-type"], /^multipart\/form-data; boundary=/);
  await client.fetch("/x", { method: "POST", body: "{}", headers: { "content-type": "application/json" } });
  assert.equal(mock.commands.at(-1).headers["content-type"], "application/json");
  await client.request("POST", "/x", { body: Uint8Array.of(1) });
  assert.equal(mock.commands.at(-1).base64, "AQ==");
});

test("fetch streams a response of any size, and holds the sender back", async (t) => {
  const { mock, client } = connectMock(t);
  const whole = bytesOf(5_000_000);
  let produced = 0;
  mock.on("request", () => ({
    status: 200,
    chunks: (async function* () {
      for (let at = 0; at < whole.length; at += 100_000) {
        produced = at;
        yield whole.subarray(at, at + 100_000);
      }
    })(),
  }));
  const response = await client.fetch("/big");
  await settle();
  assert.ok(produced <= 20 * 64 * 1024 + 300_000, `${produced} bytes were sent before any was read`);
  const reader = response.body.getReader();
  const parts = [];
  for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value);
  assert.deepEqual(Buffer.compare(Buffer.concat(parts), Buffer.from(whole)), 0);
});

test("fetch streams a body, each chunk once the last was taken", async (t) => {
  const { mock, client } = connectMock(t);
  const random = seeded(t);
  const whole = bytesOf(700_000);
  let at = 0;
  let pulled = 0;
  const body = new ReadableStream({
    pull(controller) {
      const next = Math.min(whole.length, at + 1 + Math.floor(random() * 200_000));
      controller.enqueue(whole.subarray(at, next));
      pulled = at = next;
      if (at === whole.length) controller.close();
    },
  });
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  const parts = [];
  mock.on("request", async (_, { upload }) => {
    await gate;
    for await (const part of upload) parts.push(part);
    return { status: 201, body: "taken" };
  });
  const sent = client.fetch("/upload", { method: "POST", body, duplex: "half" });
  await settle();
  assert.ok(pulled < 700_000, `${pulled} bytes were read before any was taken`);
  open();
  const response = await sent;
  assert.equal(response.status, 201);
  assert.equal(await response.text(), "taken");
  assert.equal(Buffer.compare(Buffer.concat(parts), Buffer.from(whole)), 0);
  assert.ok(parts.every((part) => part.length <= 64 * 1024));
});

test("fetch aborts the upload if its source fails", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", async (_, { upload }) => {
    for await (const part of upload) void part;
  });
  const body = new ReadableStream({ pull: (controller) => controller.error(new Error("disk")) });
  const error = await rejection(client.fetch("/upload", { method: "POST", body }));
  assert.equal(error.reason, "cancelled");
  assert.ok(mock.commands.some(({ action }) => action === "abort"));
});

test("req 13: an abort ends the source of an upload", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", () => new Promise(() => {}));
  let ended;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(bytesOf(10)),
    cancel: (reason) => void (ended = reason),
  });
  const controller = new AbortController();
  const sent = client.fetch("/upload", { method: "POST", body, signal: controller.signal });
  await settle();
  controller.abort();
  await rejection(sent);
  await settle();
  assert.ok(ended, "the source was cancelled");
});

test("fetch resolves with a status from 400, and its error as the body", async (t) => {
  const { mock, client } = connectMock(t);
  mock.respond503(1);
  const response = await client.fetch("/x");
  assert.equal(response.status, 503);
  assert.equal(response.ok, false);
  assert.equal((await response.json()).reason, "unavailable");
  const empty = mock.on("request", () => ({ status: 204 }));
  assert.equal((await client.fetch("/x")).status, 204);
  empty();
});

test("req 13: fetch rejects with the signal's reason while it waits, and cancels", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", () => new Promise(() => {}));
  const aborted = await rejection(client.fetch("/x", { signal: AbortSignal.abort("before") }));
  assert.equal(aborted, "before");
  const controller = new AbortController();
  const sent = rejection(client.fetch("/x", { signal: controller.signal }));
  await settle();
  controller.abort();
  assert.equal((await sent).name, "AbortError");
  await settle();
  assert.equal(mock.commands.at(-1).type, "cancel");
});

test("req 13: an abort or a cancelled reader ends a streamed response", async (t) => {
  const { mock, client } = connectMock(t);
  const signals = [];
  mock.on("request", (_, { signal }) => {
    signals.push(signal);
    return {
      status: 200,
      chunks: (async function* () {
        for (;;) yield bytesOf(64 * 1024);
      })(),
    };
  });
  const controller = new AbortController();
  const response = await client.fetch("/x", { signal: controller.signal });
  controller.abort();
  assert.equal((await rejection(response.arrayBuffer())).name, "AbortError");
  const other = await client.fetch("/x");
  await other.body.cancel();
  await settle();
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [true, true],
  );
});

test("req 16: a response that breaks off says what is known", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", () => ({
    status: 200,
    chunks: (async function* () {
      yield "part";
      await new Promise(() => {});
    })(),
  }));
  const [read, write] = [await client.fetch("/x"), await client.fetch("/x", { method: "POST" })];
  const outcomes = [rejection(read.text()), rejection(write.text())];
  await settle();
  mock.drop();
  assert.deepEqual(
    (await Promise.all(outcomes)).map(({ reason }) => reason),
    ["disconnected", "outcome_unknown"],
  );
});

test("fetch tells a body of the wrong length", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", async (_, { push }) => {
    push({ chunk: "AQI=" });
    push({ end: { bytes: 3 } });
    return { status: 200, chunks: [] };
  });
  const response = await client.fetch("/x");
  assert.equal((await rejection(response.text())).reason, "internal");
});

test("request tells its progress and its number", async (t) => {
  const { mock, client } = connectMock(t);
  mock.on("request", async (_, { push }) => {
    push({ progress: { sent: 5, sent_total: 10, received: 0 } });
    return { status: 200, body: "ok" };
  });
  const seen = [];
  const options = { onProgress: (progress) => seen.push(progress), onAccepted: (id) => seen.push(id) };
  await client.request("POST", "/x", { body: { a: 1 }, ...options });
  assert.deepEqual(seen, [1, { sent: 5, sentTotal: 10, received: 0 }]);
  const sent = mock.commands.findLast(({ type }) => type === "request");
  assert.deepEqual([sent.progress, sent.body], [true, { a: 1 }]);
});

test("arguments that JSON cannot say are refused with what would be valid", async (t) => {
  const { mock, client } = connectMock(t);
  await until(client, ({ isLive }) => isLive);
  const sent = mock.commands.length;
  const refused = async (promise, words) => {
    const error = await rejection(promise);
    assert.ok(error instanceof MainstayError, String(error));
    assert.equal(error.reason, "invalid_request");
    assert.match(error.details, words);
  };
  const entry = /^an entry is JSON or a Uint8Array, and no /;
  for (const value of [new ArrayBuffer(2), new DataView(new ArrayBuffer(2)), new Map([[1, 2]]), Promise.resolve(1), () => 1, undefined, 1n])
    await refused(client.cache.put("notes:a", value), entry);
  for (const body of [() => 1, Symbol("a"), new Map(), Promise.resolve(1), 1n])
    await refused(client.request("POST", "/api", { body }), /^a body is JSON, a Blob, .* and no /);
  for (const selection of [{}, undefined, { key: 1 }, { all: false }, { key: "a:b", glob: "a:*" }, { name: "a:b" }])
    await refused(client.cache.invalidate(selection), /one of \{ key \}, \{ prefix \}/);
  await refused(client.request(undefined, "/api"), /request\("GET", "\/api\/notes"\)/);
  await refused(client.request("GET"), /request\("GET", "\/api\/notes"\)/);
  await refused(client.sendFrame(new ArrayBuffer(2)), /^a frame is a text or a Uint8Array$/);
  assert.equal(mock.commands.length, sent, "nothing was sent");

  class Note {
    text = "hi";
  }
  for (const value of [null, "a", 1, false, [1], { a: 1 }, Object.assign(Object.create(null), { a: 1 }), new Note(), new Date(0)]) {
    await client.cache.put("notes:a", value);
    assert.deepEqual(await client.cache.get("notes:a"), { hit: true, value: JSON.parse(JSON.stringify(value)) });
    await client.request("POST", "/api", { body: value });
  }
  await client.cache.put("notes:a", new Uint8Array([1]));
  assert.deepEqual(await client.cache.get("notes:a"), { hit: true, value: new Uint8Array([1]) });
  await client.request("POST", "/api", { body: new ArrayBuffer(2) });
  assert.equal(await client.cache.invalidate({ prefix: "notes:" }), 1);
});
