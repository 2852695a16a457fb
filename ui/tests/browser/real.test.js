/** The elements over the real binary: its page, a backend that dies, a runtime that is restarted, pages that are refused. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, afterEach, before, test } from "node:test";

import { BINARY, Runtime, startBackend } from "./runtime.js";
import { launch } from "./support.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("../../src/store.js").State} State */

const skip = BINARY ? false : "MAINSTAY_BIN is not set";
const options = { skip, timeout: 120_000 };
/** @type {import("playwright-core").Browser} */ let browser;
/** @type {Awaited<ReturnType<typeof startBackend>>} */ let backend;
/** @type {Runtime} */ let runtime;
/** @type {import("playwright-core").BrowserContext[]} */ let contexts = [];

before(async () => {
  if (skip) return;
  browser = await launch();
  backend = await startBackend();
  runtime = await Runtime.create(backend.url);
  await runtime.start();
});
afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  contexts = [];
});
after(async () => {
  await browser?.close();
  await runtime?.remove();
  await backend?.program.end();
});

/** Opens the page of all elements, and waits until it is live. @returns {Promise<Page>} */
async function open(url = runtime.page) {
  const context = await browser.newContext();
  contexts.push(context);
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(error));
  await page.goto(url);
  await isLive(page);
  return page;
}

/** Gives tests the page's client as `client`, and `until`, which waits for a state. @param {Page} page */
async function prepare(page) {
  await page.evaluate(async () => {
    const { findClient } = await import(/** @type {string} */ ("/ui/src/index.js"));
    const client = findClient();
    const until = (/** @type {(state: State) => unknown} */ holds) => new Promise((resolve) => {
      const look = () => holds(client.store.getState()) && resolve(true);
      client.store.subscribe(look);
      look();
    });
    Object.assign(globalThis, { client, until });
  });
}

/** Waits until the page shows the state of now. @param {Page} page */
async function isLive(page) {
  await prepare(page);
  await page.evaluate(() => until((state) => state.isLive));
}

/** Returns three digits in a row that the countdown shows, each with the seconds that are left then. @param {Page} page */
async function countdown(page) {
  return page.evaluate(() => new Promise((/** @type {(found: { seen: { digits: number, left: number }[], skewMs: number }) => void} */ resolve) => {
    const shadow = /** @type {ShadowRoot} */ (document.querySelector("mainstay-connection-status")?.shadowRoot);
    /** @type {{ digits: number, left: number }[]} */
    const seen = [];
    const look = () => {
      const { nextAttemptAt, next_attempt_at } = client.store.getState().connection ?? {};
      const digits = Number(/^, in (\d+) s$/.exec(shadow.querySelector(".countdown")?.textContent ?? "")?.[1]);
      if (digits === seen.at(-1)?.digits) return;
      seen.push({ digits, left: (Number(nextAttemptAt) - Date.now()) / 1000 });
      if (seen.length < 3) return;
      observer.disconnect();
      resolve({ seen, skewMs: Number(nextAttemptAt) - Date.parse(next_attempt_at ?? "") });
    };
    const observer = new MutationObserver(look);
    observer.observe(shadow, { subtree: true, childList: true, characterData: true });
    look();
  }));
}

/** Returns what an HTTP request gets that a browser would not send. @param {Record<string, string>} headers */
function handshake(headers, path = `/bridge?token=${runtime.control.token}`) {
  const upgrade = {
    connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port: runtime.control.port, path, headers: { ...upgrade, ...headers } });
    asked.on("response", (response) => resolve(response.resume().statusCode));
    asked.on("upgrade", (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    asked.on("error", reject);
    asked.end();
  });
}

test("real: the backend dies, a countdown runs, Reconnect heals", options, async () => {
  const page = await open();
  await page.evaluate(() => until((state) => state.connection?.state === "connected"));
  const status = page.locator("mainstay-connection-status").first();
  await backend.program.end("SIGKILL");
  await status.getByRole("button").waitFor();
  // A delay in which digits are seen to change and a click heals, before the runtime's own attempt.
  await page.evaluate(() => until((state) => Number(state.connection?.nextAttemptAt) > Date.now() + 8000));
  await status.locator(".countdown").waitFor();
  const { seen, skewMs } = await countdown(page);
  assert.ok(Math.abs(skewMs) < 1500, `the page's time of the attempt is ${skewMs} ms off`);
  for (const { digits, left } of seen) assert.ok(digits - left > -0.5 && digits - left < 1.5, JSON.stringify(seen));
  assert.deepEqual(seen.map(({ digits }) => seen[0].digits - digits), [0, 1, 2]);
  backend = await startBackend(backend.port);
  const heals = page.evaluate(() => {
    const at = client.store.getState().connection?.nextAttemptAt ?? NaN;
    return until((state) => state.connection?.state === "connected").then(() => at - Date.now());
  });
  await status.getByRole("button").click();
  const early = await heals;
  assert.ok(early > 0, `the runtime's own attempt was due ${-early} ms before`);
  await status.getByRole("button").waitFor({ state: "hidden" });
});

test("real: a page that is reloaded in mid-stream shows the whole message once", options, async () => {
  const page = await open();
  await page.selectOption("#agent-conversation select", "streamer");
  const conversation = page.locator("mainstay-agent-conversation");
  await page.evaluate(() => until((state) => state.agents.streamer?.status === "healthy"));
  await page.evaluate(() => {
    const send = client.agent("streamer").send({ steps: 5, text: "count" }, { detached: true });
    send.catch(() => {});
    return new Promise((resolve) => {
      const stop = client.agent("streamer").listen((item) => {
        if ("update" in item && item.update.kind === "ask") resolve(stop());
      }, { after: 0 });
    });
  });
  await page.reload();
  await isLive(page);
  await page.selectOption("#agent-conversation select", "streamer");
  await conversation.getByText("Finish?").first().waitFor();
  await page.evaluate(() => until((state) => state.agents.streamer?.questions.length));
  await page.evaluate(() => {
    const [question] = client.store.getState().agents.streamer?.questions ?? [];
    return client.agent("streamer").answer(question?.ask ?? "", "yes");
  });
  await conversation.getByText("done").first().waitFor();
  const updates = await page.evaluate(() => new Promise((resolve) => {
    /** @type {string[]} */
    const texts = [];
    const stop = client.agent("streamer").listen((item) => {
      if (!("update" in item)) return;
      const { kind, body } = item.update;
      if (kind === "progress") texts.push(/** @type {{ text: string }} */ (body).text);
      if (texts.at(-1) === " end") resolve((stop(), texts));
    }, { after: 0 });
  }));
  assert.deepEqual(updates, [" 1", " 2", " 3", " 4", " 5", " end"]);
});

test("real: a runtime that is restarted comes back in an open page", options, async () => {
  const page = await open();
  const before = await page.evaluate(() => {
    const events = /** @type {string[]} */ ([]);
    client.onEvents((batch) => {
      if (batch.lagged) events.push("lagged");
      for (const { run, seq } of batch.events) events.push(`${run}.${seq}`);
    });
    Object.assign(globalThis, { events });
    return client.store.getState().status?.runtime.run ?? 0;
  });
  await runtime.stop("SIGKILL");
  await page.evaluate(() => until((state) => !state.isLive));
  await page.locator("mainstay-connection-status").first().getByRole("button").waitFor();
  await runtime.start();
  await page.evaluate((run) => until((state) => state.isLive && state.status && state.status.runtime.run > run), before);
  await page.evaluate(() => client.request("GET", "/api/search?q=tides"));
  const events = await page.evaluate((run) => {
    const { events } = /** @type {{ events: string[] }} */ (/** @type {unknown} */ (globalThis));
    return new Promise((resolve) => {
      const look = () => events.some((cursor) => cursor.startsWith(`${run}.`)) && resolve(events);
      client.onEvents(look);
      look();
    });
  }, before + 1);
  assert.equal(new Set(events).size, events.length, "no event comes twice");
  assert.ok(!events.includes("lagged"), "no event is missing");
  const runs = events.map((cursor) => cursor.split(".").map(Number));
  for (const [index, [run, seq]] of runs.entries()) {
    const last = runs[index - 1];
    if (last) assert.ok(run === last[0] ? seq === last[1] + 1 : run === last[0] + 1 && seq === 1, `${last} then ${[run, seq]}`);
  }
  assert.ok(runs.at(-1)?.[0] === before + 1);
});

test("real: two pages share one runtime", options, async () => {
  const [one, two] = [await open(), await open()];
  const saw = two.evaluate(() => until((state) => state.connection?.state === "disconnected"));
  await one.evaluate(() => client.connection.disconnect());
  await saw;
  await two.evaluate(() => client.connection.reconnect());
  await one.evaluate(() => until((state) => state.connection?.state === "connected"));
});

test("real: a wrong token, a foreign origin and a rebound name are refused", options, async () => {
  const local = `127.0.0.1:${runtime.control.port}`;
  assert.equal(await handshake({ host: local }), 101);
  assert.equal(await handshake({ host: local }, "/bridge?token=wrong"), 403);
  assert.equal(await handshake({ host: local, origin: "http://evil.example" }), 403);
  assert.equal(await handshake({ host: `evil.example:${runtime.control.port}`, origin: "http://evil.example" }), 403);
  const context = await browser.newContext();
  contexts.push(context);
  const page = await context.newPage();
  await page.goto(runtime.page.replace(/token=.*/, "token=wrong"));
  await prepare(page);
  await page.evaluate(() => until((state) => state.session.state === "waiting" && state.session.error));
  assert.equal(await page.evaluate(() => client.store.getState().status), null);
  await page.locator("mainstay-connection-status").first().getByRole("button").waitFor();
});

test("real: the page asks nobody but its runtime, and breaks no rule of its policy", options, async () => {
  const context = await browser.newContext();
  contexts.push(context);
  const page = await context.newPage();
  /** @type {string[]} */
  const foreign = [];
  page.on("request", (asked) => {
    if (new URL(asked.url()).host !== `127.0.0.1:${runtime.control.port}`) foreign.push(asked.url());
  });
  page.on("console", (message) => /Content.Security/.test(message.text()) && foreign.push(message.text()));
  await page.goto(runtime.page);
  await isLive(page);
  await page.getByRole("button", { name: "Ask for what is not there" }).click();
  await page.locator("mainstay-error-toast").getByRole("button").first().waitFor();
  assert.deepEqual(foreign, []);
});
