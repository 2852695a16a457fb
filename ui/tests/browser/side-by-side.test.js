/** The files of examples/after at work, and what docs/ui.md says that those of examples/before get wrong. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { sampleConnection, sampleStatus } from "../../src/transports/samples.js";
import { agentReport, startBridge } from "./bridge-double.js";
import { bundle, launch, openPage } from "./react-harness.js";

let browser;
let code;
let bridge;
let opened;
let page;

before(async () => {
  [browser, code] = await Promise.all([launch(), bundle("tests/browser/side-by-side-page.jsx")]);
});
after(() => browser?.close());
beforeEach(async () => {
  bridge = await startBridge();
  opened = await openPage(browser, code);
  page = opened.page;
});
afterEach(async () => {
  await opened.close();
  await bridge.close();
});

/** Connects the page, as an application does before it renders. */
async function goLive() {
  await page.evaluate((url) => {
    window.client = mainstay.connect({ url });
    return until(() => client.store.getState().isLive);
  }, bridge.url);
}

/** Waits for a command. */
const command = (type, action) =>
  bridge.until(() => bridge.commands.find((each) => each.type === type && each.action === action));
const failure = (reason, retryable) => ({ code: "SERVER_ERROR", reason, message: "Down.", retryable, attempts: 1 });

test("before: two components open two sockets, and what is sent during an outage is lost", async () => {
  await page.evaluate(async (url) => {
    const Status = () => ((window.connection = before.useBackendConnection({ url })), connection.state);
    window.mounted = mount(h("p", null, h(Status), h(Status)));
    await until(() => mounted.container.textContent === "connectedconnected");
  }, bridge.rawUrl);
  assert.equal(bridge.raw.size, 2);
  for (const socket of bridge.raw) socket.terminate();
  const sent = await page.evaluate(async () => {
    await until(() => mounted.container.textContent === "reconnectingreconnecting");
    return connection.send({ type: "chat" }) ?? "nothing says so";
  });
  assert.equal(sent, "nothing says so");
});

test("after: two components share one session, frames arrive, and buttons act", async () => {
  bridge.on("connection", ({ action }) =>
    action === "send" ? { outcome: "sent" } : { ...sampleConnection(), reconnected: "opened" },
  );
  await goLive();
  await page.evaluate(async () => {
    window.frames = [];
    const chat = () => h(after.Chat, { onMessage: (text) => frames.push(text) });
    const { container } = mount(h("div", null, chat(), chat()));
    await until(() => /^connected.*connected/.test(container.textContent));
  });
  await command("connection", "listen");
  bridge.frame("one");
  await page.waitForFunction(() => frames.join() === "one,one");
  assert.equal(bridge.sessions, 1);
  await page.locator("button", { hasText: "Reconnect" }).first().click();
  await command("connection", "reconnect");
  await page.locator("button", { hasText: "Say hello" }).first().click();
  assert.deepEqual(JSON.parse((await command("connection", "send")).text), { type: "chat", text: "hello" });
});

test("before: the banner is there while a page starts, and its last button reloads the page", async () => {
  const words = await page.evaluate(async () => {
    const props = { attempt: 1, maxAttempts: 5, nextAttemptAt: null, lastError: null, reconnect() {} };
    const { container, render } = mount(h(before.ConnectionStatus, { ...props, state: "connecting" }));
    await until(() => container.textContent);
    const start = container.textContent;
    render(h(before.ConnectionStatus, { ...props, state: "failed" }));
    await until(() => container.textContent !== start);
    return [start, container.textContent];
  });
  assert.deepEqual(words, ["Connecting …", "Connection failedReload"]);
});

test("after: the banner is not there at the start, and shows an outage with its button", async () => {
  const start = await page.evaluate((url) => {
    window.client = mainstay.connect({ url });
    flushSync(() => mount(h(after.ConnectionStatus)));
    const words = document.querySelector("mainstay-connection-status").shadowRoot.textContent;
    return [client.store.getState().session.state, words];
  }, bridge.url);
  assert.deepEqual(start, ["connecting", ""]);
  await page.evaluate(() => until(() => client.store.getState().isLive));
  const error = failure("connection_refused", true);
  bridge.change({ connection: { ...sampleConnection(), state: "failed", error, last_error: error.message } });
  await page.getByText("Connection failed").waitFor();
  await page.getByRole("button", { name: "Reconnect now" }).click();
  await command("connection", "reconnect");
});

test("after: a value is loaded, a failure is an error, and the queue runs what it gets", async () => {
  bridge.on("request", ({ method, path, priority }) => {
    if (path === "/bad") throw failure("unavailable", true);
    return { ...{ status: 200, headers: {}, ms: 1, cached: false, attempts: 1, request_id: 1 }, body: { method, priority } };
  });
  await goLive();
  const found = await page.evaluate(async () => {
    const [get, bad] = [await after.fetchJson("/a"), await after.fetchJson("/bad").catch((error) => error.reason)];
    const [{ body }, loaded] = [await after.save("hi"), await after.load("data:text/plain,page")];
    return [get, bad, body, await loaded.text()];
  });
  assert.deepEqual(found, [{ method: "GET" }, "unavailable", { method: "POST", priority: "high" }, "page"]);
  const sent = bridge.commands.find(({ path }) => path === "/a");
  assert.deepEqual([sent.timeout_ms, sent.retries], [10_000, 2]);
});

test("after: notes come through the cache, and an invalidation loads them again", async () => {
  let loads = 0;
  const notes = () => ({ status: 200, headers: {}, ms: 1, cached: false, attempts: 1, request_id: 1, body: ++loads });
  bridge.on("request", notes);
  bridge.on("cache", ({ action }) => (action === "get" ? { hit: false } : { entries: 1 }));
  await goLive();
  await page.evaluate(async () => {
    window.notes = mount(h(after.Notes)).container;
    await until(() => notes.textContent === "1");
  });
  assert.equal((await command("cache", "put")).key, "notes:all");
  await page.locator("button").click();
  assert.deepEqual((({ by, pattern }) => [by, pattern])(await command("cache", "invalidate")), ["prefix", "notes:"]);
  bridge.event({ kind: "cache_invalidated", by: "prefix", pattern: "notes:", entries: 1 });
  await page.waitForFunction(() => notes.textContent === "2");
});

test("before: a watcher that is gone still listens, and an inline list listens again with each render", async () => {
  const counts = await page.evaluate(async () => {
    let [listened, stopped] = [0, 0];
    const pending = [];
    const listen = () => (listened++, new Promise((resolve) => pending.push(() => resolve(() => stopped++))));
    window.__TAURI__ = { event: { listen }, core: { invoke: async () => null } };
    const Watcher = () => before.useFileWatcher({ folders: ["/p"] }).changes.length;
    const { render, unmount } = mount(h(Watcher));
    await until(() => listened === 1);
    flushSync(() => render(h(Watcher, { again: true })));
    await until(() => listened === 2);
    flushSync(unmount);
    for (const arrive of pending) arrive();
    await new Promise(requestAnimationFrame);
    return { listened, stopped };
  });
  assert.deepEqual(counts, { listened: 2, stopped: 0 });
});

test("after: changes of a folder are shown, and no longer listened to once the component is gone", async () => {
  const folders = [{ path: "/projects", is_watched: true }];
  bridge.status = sampleStatus({ cache: { ...sampleStatus().cache, folders } });
  await goLive();
  await page.evaluate(() => void (window.mounted = mount(h(after.Changes))));
  await command("files", "listen");
  for (let count = 0; count < 3; count++)
    bridge.send({ file: { kind: "modified", root: "/projects", path: "/projects/demo/a.md" } });
  await page.waitForFunction(() => mounted.container.textContent === "modified /projects/demo/a.md");
  await page.evaluate(() => mounted.unmount());
  await command("files", "unlisten");
});

test("after: a failure is a toast with Try again, and what is not there is none", async () => {
  const error = failure("unavailable", true);
  let fails = 4;
  bridge.on("request", () => {
    if (fails-- > 0) throw error;
    return { status: 200, headers: {}, ms: 1, cached: false, attempts: 1, request_id: 1, body: "report" };
  });
  await goLive();
  assert.equal(await page.evaluate(() => after.show()), null);
  await page.getByRole("button", { name: "Try again" }).click();
  await bridge.until(() => bridge.commands.filter(({ type }) => type === "request").length === 5);
  bridge.on("request", () => {
    throw { ...failure("not_found", false), code: "NOT_FOUND" };
  });
  await page.locator("mainstay-error-toast li").waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => after.show()), null);
  assert.equal(await page.locator("mainstay-error-toast li").count(), 0);
});

test("before: an agent that does not exist is called healthy", async () => {
  const status = await page.evaluate(async () => {
    const seen = [];
    const Planner = () => (seen.push(before.useAgentHealth("nowhere", { baseUrl: "" }).status), null);
    mount(h(Planner));
    await until(() => seen.length);
    return seen[0];
  });
  assert.equal(status, "healthy");
});

test("after: an agent is shown as it is, given up and reset", async () => {
  bridge.status = sampleStatus({ agents: [] });
  await goLive();
  await page.evaluate(() => {
    window.givenUp = 0;
    mount(h(after.Planner, { onGaveUp: () => givenUp++ }));
  });
  await page.getByText("The planner is not known.").waitFor();
  bridge.change({ agents: [agentReport("planner", { budget_left: 4 })] });
  await page.getByText("healthy, 4 restarts left").waitFor();
  await page.getByRole("button", { name: "Restart" }).click();
  await command("agent", "restart");
  bridge.changeAgent("planner", { status: "failed", gave_up: true, budget_left: 0 });
  await page.waitForFunction(() => givenUp === 1);
  await page.getByRole("button", { name: "Restart" }).click();
  await command("agent", "reset");
});
