import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { onlineManager, QueryClient, QueryObserver } from "@tanstack/react-query";

import { connect } from "../../src/client.js";
import { isBackendAvailable } from "../../src/connection-view.js";
import { INITIAL_STATE } from "../../src/store.js";
import {
  bindOnlineManager,
  mainstayDefaults,
  mainstayFetcher,
  mainstayMutator,
  pathOf,
} from "../../src/tanstack.js";
import { createMock } from "../../src/transports/mock.js";

let mock;
let client;
let queries;

/** Waits for the store. */
function until(condition) {
  return new Promise((resolve) => {
    const look = () => {
      if (!condition(client.store.getState())) return;
      stop();
      resolve(undefined);
    };
    const stop = client.store.subscribe(look);
    look();
  });
}

beforeEach(async () => {
  mock = createMock();
  client = connect({ mock });
  queries = new QueryClient({ defaultOptions: mainstayDefaults() });
  await until(({ isLive }) => isLive);
});
afterEach(() => {
  queries.clear();
  client.close();
  onlineManager.setEventListener(() => undefined);
  onlineManager.setOnline(true);
});

test("path of a key has its parameters", () => {
  assert.equal(pathOf(["/a"]), "/a");
  assert.equal(pathOf(["/a", { q: "x y", none: undefined, no: null, n: 2 }]), "/a?q=x+y&n=2");
  assert.equal(pathOf(["/a?b=1", { c: true }]), "/a?b=1&c=true");
  assert.equal(pathOf(["/a", {}]), "/a");
  assert.throws(() => pathOf([{ a: 1 }]), TypeError);
});

test("query without a function of its own asks the runtime", async () => {
  mock.on("request", ({ path, method, priority }) => ({
    status: 200,
    headers: {},
    body: { path, method, priority },
  }));
  const data = await queries.fetchQuery({
    queryKey: ["/notes", { tag: "new" }],
    meta: { mainstay: { priority: "high" } },
  });
  assert.deepEqual(data, { path: "/notes?tag=new", method: "GET", priority: "high" });
});

test("empty body is null, which a query may be", async () => {
  mock.on("request", () => ({ status: 204, headers: {} }));
  assert.equal(await queries.fetchQuery({ queryKey: ["/none"] }), null);
});

test("req 11: query runs while the browser believes to be offline", async () => {
  onlineManager.setOnline(false);
  mock.on("request", () => ({ status: 200, headers: {}, body: "here" }));
  assert.equal(await queries.fetchQuery({ queryKey: ["/notes"] }), "here");
});

test("failed query is not retried, and keeps its error", async () => {
  let count = 0;
  mock.on("request", () => {
    count++;
    throw { code: "SERVER_ERROR", reason: "unavailable", message: "m", retryable: true, attempts: 4 };
  });
  await assert.rejects(queries.fetchQuery({ queryKey: ["/notes"] }), { reason: "unavailable", attempts: 4 });
  assert.equal(count, 1);
});

test("req 13: abort of a query reaches the runtime", async () => {
  const started = new Promise((resolve) => {
    mock.on("request", (_, { signal }) => {
      resolve(signal);
      return new Promise(() => {});
    });
  });
  const query = queries.fetchQuery({ queryKey: ["/slow"] });
  query.catch(() => {});
  const signal = await started;
  const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
  await queries.cancelQueries({ queryKey: ["/slow"] });
  await aborted;
  await assert.rejects(query);
});

test("mutation sends its variables", async () => {
  mock.on("request", ({ method, path, body }) => ({
    status: 201,
    headers: {},
    body: { method, path, body },
  }));
  const add = mainstayMutator({ client });
  assert.deepEqual(await add({ path: "/notes", body: { a: 1 } }), {
    method: "POST",
    path: "/notes",
    body: { a: 1 },
  });
  assert.deepEqual(await add({ method: "DELETE", path: "/notes/1" }), { method: "DELETE", path: "/notes/1" });
});

test("online is the backend's availability, and its return fetches", async () => {
  let count = 0;
  mock.on("request", () => ({ status: 200, headers: {}, body: ++count }));
  const unbind = bindOnlineManager(onlineManager);
  queries.mount();
  const observer = new QueryObserver(queries, { queryKey: ["/notes"] });
  const results = new Set();
  const second = new Promise((resolve) => {
    observer.subscribe(({ data }) => (results.add(data), data === 2 && resolve(undefined)));
  });
  await queries.fetchQuery({ queryKey: ["/notes"] });
  assert.equal(onlineManager.isOnline(), true);
  mock.setStatus({ connection: { state: "reconnecting" } });
  await until((state) => !isBackendAvailable(state));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(onlineManager.isOnline(), false);
  mock.setStatus({ connection: { state: "connected" } });
  await second;
  assert.equal(onlineManager.isOnline(), true);
  queries.unmount();
  unbind();
  unbind();
});

test("online after the end of the binding, also for later subscribers", async () => {
  const unbind = bindOnlineManager(onlineManager);
  const stop = onlineManager.subscribe(() => {});
  mock.setStatus({ connection: { state: "reconnecting" } });
  await until((state) => !isBackendAvailable(state));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(onlineManager.isOnline(), false);
  unbind();
  assert.equal(onlineManager.isOnline(), true);
  stop();
  const stopAgain = onlineManager.subscribe(() => {});
  assert.equal(onlineManager.isOnline(), true);
  stopAgain();
  mock.setStatus({ connection: { state: "connected" } });
  await until(isBackendAvailable);
});

test("availability is true before anything is known", () => {
  assert.equal(isBackendAvailable(INITIAL_STATE), true);
  const waiting = { ...INITIAL_STATE, session: { ...INITIAL_STATE.session, state: "waiting", attempt: 2 } };
  assert.equal(isBackendAvailable(/** @type {never} */ (waiting)), false);
});

test("fetcher without a client releases the page's client", async () => {
  mock.on("request", () => ({ status: 200, headers: {}, body: 1 }));
  await mainstayFetcher()({ queryKey: ["/a"] });
  client.release();
  // The fetcher holds no use: the last one ends the session after its second.
  assert.equal(client.closed, false);
  client.close();
});
