/** The elements over the real binary: its page, a backend that dies, a runtime that is restarted, pages that are refused. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { BINARY, Program, Runtime, startBackend } from "./runtime.js";
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
  // A delay in which digits are seen to change and a click heals, before the runtime's own attempt.
  runtime = await Runtime.create(backend.url, '[connection]\ndelay_min = "12s"\ndelay_max = "12s"\njitter = false\n');
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
async function open() {
  const page = await load(runtime.page);
  await isLive(page);
  return page;
}

/** Opens a page, whose errors fail the test. @param {string} url */
async function load(url) {
  const context = await browser.newContext();
  contexts.push(context);
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(error));
  await page.goto(url);
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
function handshake(headers, path = `/bridge?token=${runtime.control.token}`, host = `127.0.0.1:${runtime.control.port}`) {
  const upgrade = {
    connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  return new Promise((resolve, reject) => {
    const asked = request(`http://${host}${path}`, { headers: { ...upgrade, ...headers } });
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
  await page.evaluate(() => void client.agent("streamer").send({ text: "count" }, { detached: true }).catch(() => {}));
  /** Returns the first part from a number on, as the page gets it. @param {number} from @returns {Promise<number>} */
  const part = (from) =>
    page.evaluate((from) => new Promise((resolve) => {
      const stop = client.agent("streamer").listen((item) => {
        const { text } = /** @type {{ text?: string }} */ ("update" in item && item.update.kind === "progress" ? item.update.body : {});
        if (Number(text) >= from) resolve((stop(), Number(text)));
      });
    }), from);
  const before = await part(3);
  await page.reload();
  await isLive(page);
  await page.selectOption("#agent-conversation select", "streamer");
  await conversation.getByText("Finish?").first().waitFor();
  // The stream went on without the page, and goes on with it.
  const after = await part(before + 1);
  assert.ok(await part(after + 5) > after);
  await page.evaluate(() => until((state) => state.agents.streamer?.questions.length));
  await page.evaluate(() => {
    const [question] = client.store.getState().agents.streamer?.questions ?? [];
    return client.agent("streamer").answer(question?.ask ?? "", "yes");
  });
  await conversation.getByText(/^\d+ parts$/).first().waitFor();
  const updates = await page.evaluate(() => new Promise((/** @type {(texts: string[]) => void} */ resolve) => {
    /** @type {string[]} */
    const texts = [];
    const stop = client.agent("streamer").listen((item) => {
      if (!("update" in item)) return texts.push(JSON.stringify(item));
      const { kind, body } = item.update;
      if (kind === "progress") texts.push(/** @type {{ text: string }} */ (body).text);
      if (texts.at(-1) === " end") resolve((stop(), texts));
    }, { after: 0 });
  }));
  const count = updates.length - 1;
  assert.ok(count > after);
  assert.deepEqual(updates, [...Array.from({ length: count }, (_, at) => ` ${at + 1}`), " end"]);
  assert.deepEqual(await conversation.getByText(/^\d+ parts$/).allTextContents(), [`${count} parts`]);
});

test("real: every hook is live on the page that npm run examples serves", options, async (t) => {
  const script = fileURLToPath(new URL("../../examples/serve.js", import.meta.url));
  const server = new Program([script, "--data-dir", join(runtime.folder, "data")], process.execPath);
  t.after(() => server.end());
  const address = await server.line("http://");
  const page = await load(address);
  await page.locator("#useStore").waitFor();
  const section = (/** @type {string} */ name) => page.locator(`#${name}`);
  const shows = (/** @type {string} */ name, /** @type {string | RegExp} */ words) =>
    section(name).getByText(words).first().waitFor();
  assert.equal(await page.locator("section").count(), 17);
  await shows("useBackendConnection", /^connected, attempt/);
  await shows("useCountdown", "No attempt is planned.");
  await shows("useRequest", '"hits"');
  await shows("useQueue", "0 running, 0 waiting");
  await shows("useCached", '"hits"');
  await shows("useAgents", "planner: healthy");
  await shows("useAgent", "The planner uses the driver http.");
  await shows("useAgentHealth", "healthy");
  await shows("useFileWatcher", "This runtime watches no folder");
  await shows("useLogs", /./);
  await shows("useIncidents", /./);
  await shows("useEvents", "agent_health of");
  await shows("useStore", "This is run ");
  await section("useSend").getByRole("button", { name: "Send a frame" }).click();
  await shows("useSend", "sent");
  await section("useAgentStream").getByRole("button", { name: "Say hello" }).click();
  await shows("useAgentStream", /hello.* answered/);
  await section("useBackendConnection").getByRole("button", { name: "Disconnect" }).click();
  await shows("useBackendConnection", /^disconnected, attempt/);
  await section("useBackendConnection").getByRole("button", { name: "Reconnect" }).click();
  await shows("useBackendConnection", /^connected, attempt/);
  assert.equal(await page.locator("section h2").count(), await page.locator("section h2 + div > *").count());
  // A page of another server does not reach the runtime this way, and a wrong token does not either.
  const { host, hash } = new URL(address);
  const path = `/bridge?${hash.slice(1)}`;
  assert.equal(await handshake({ host, origin: `http://${host}` }, path, host), 101);
  assert.equal(await handshake({ host, origin: "http://evil.example" }, path, host), 403);
  assert.equal(await handshake({ host: "evil.example" }, path, host), 403);
  assert.equal(await handshake({ host }, "/bridge?token=wrong", host), 403);
});

test("real: the live page has the data of every hook, and leads to its page", options, async () => {
  const page = await open();
  const value = (/** @type {string} */ name) => page.locator(`dd#${name}`);
  const shows = (/** @type {string} */ name, /** @type {string | RegExp} */ words) =>
    value(name).filter({ hasText: words }).waitFor();
  await shows("useBackendConnection", /^connected, attempt 1 of/);
  await shows("useCountdown", "No attempt is planned.");
  await shows("useSend", "sent");
  await page.evaluate(() => client.sendFrame('{"type":"ping"}'));
  await shows("useBackendMessages", '"type"');
  await shows("useMessageReducer", /^[1-9]\d* frames$/);
  await shows("useRequest", '"hits"');
  await shows("useQueue", "0 running, 0 waiting");
  await shows("useCached", '"hits"');
  await shows("useAgents", "planner: healthy");
  await shows("useAgent", "The planner uses the driver http.");
  await shows("useAgentHealth", /^healthy, /);
  await page.evaluate(() => client.agent("planner").send({ text: "hello" }));
  await shows("useAgentStream", '"ended"');
  await shows("useFileWatcher", "nothing yet");
  await shows("useLogs", /./);
  await shows("useIncidents", /./);
  await shows("useEvents", / of root/);
  await shows("useStore", "This is run ");
  const links = await page.locator("#hooks dt a").evaluateAll((all) =>
    all.map((link) => [link.textContent, /** @type {HTMLAnchorElement} */ (link).href]));
  assert.equal(links.length, 17);
  for (const [name, href] of links) {
    const response = await fetch(href ?? "");
    assert.equal(response.headers.get("content-type"), "text/plain; charset=utf-8");
    assert.ok((await response.text()).includes(name ?? ""), href ?? "");
  }
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

test("real: the page asks only its runtime, and breaks no rule of its policy", options, async () => {
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
