/** Memory, nodes, listeners and timers of a page through which half an hour's events pass at speed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { countResources } from "./react-harness.js";
import { launch, serve } from "./support.js";

const BATCH = 500;
const WARM_BATCHES = 60;
const BATCHES = 240;
const MIB = 1024 * 1024;

/** Makes the page: a client over the mock, two elements, and `soak`, which passes batches of events. */
const MAKE = `(async () => {
  const { connect } = await import("/src/client.js");
  const { createMock } = await import("/src/transports/mock.js");
  await Promise.all([import("/src/elements/agents.js"), import("/src/elements/events.js")]);
  const mock = createMock({ agents: [{ id: "planner" }, { id: "coder" }], keepEvents: 10_000 });
  const client = connect({ mock, random: () => 0 });
  const frame = () => new Promise(requestAnimationFrame);
  const live = async () => { while (!client.store.getState().isLive) await frame(); };
  document.querySelector("main").innerHTML =
    '<mainstay-agents></mainstay-agents><mainstay-events max="5000"></mainstay-events>';
  await live();
  let received = 0, last = 0, lags = 0;
  client.onEvents(({ events, lagged }) => {
    received += events.filter(({ kind }) => kind === "request_done").length;
    for (const { seq } of events) { if (seq <= last) throw new Error("out of order"); last = seq; }
    if (lagged) lags++;
  });
  const event = (path) => ({ kind: "request_done", actor: "root/queue",
    fields: { method: "GET", path, status: 200, ms: 3, cached: false, attempts: 1 } });
  globalThis.soak = async (batches) => {
    for (let n = 1; n <= batches; n++) {
      if (n % 10 === 5) mock.crash("planner", { restartInMs: 5000 });
      if (n % 10 === 0) mock.recover("planner");
      mock.pushEvents(Array.from({ length: ${BATCH} }, (_, index) => event("/api/" + n + "/" + index)));
      if (n % 60 === 0) mock.drop();
      mock.commands.length = 0;
      await frame();
    }
    await live();
    const { cursor } = mock;
    while (last < Number(cursor.split(".")[1])) await frame();
    await frame();
    await frame();
    return { received, lags, opened: mock.opened, kept: document.querySelector("mainstay-events").events.length };
  };
})()`;

test("req 2: memory, nodes, listeners and timers are flat over 120,000 events", { timeout: 120_000 }, async (t) => {
  const server = await serve();
  const browser = await launch();
  t.after(() => Promise.all([browser.close(), server.close()]));
  const page = await browser.newPage();
  /** @type {string[]} */
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.addInitScript(countResources);
  await page.goto(`${server.url}/tests/browser/elements-on-demand.html`);
  await page.evaluate(MAKE);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  const measure = async () => {
    for (let n = 0; n < 3; n++) await devtools.send("HeapProfiler.collectGarbage");
    const { metrics } = await devtools.send("Performance.getMetrics");
    const of = (/** @type {string} */ wanted) => metrics.find(({ name }) => name === wanted)?.value ?? NaN;
    const { timers, listeners } = /** @type {{timers: number, listeners: number}} */ (
      await page.evaluate("resources()")
    );
    return { heap: of("JSHeapUsedSize"), nodes: of("Nodes"), bound: of("JSEventListeners"), timers, listeners };
  };
  await page.evaluate(`soak(${WARM_BATCHES})`);
  const before = await measure();
  const { received, lags, opened, kept } = /** @type {Record<string, number>} */ (
    await page.evaluate(`soak(${BATCHES})`)
  );
  const after = await measure();
  t.diagnostic(`before ${JSON.stringify(before)}`);
  t.diagnostic(`after  ${JSON.stringify(after)}`);
  assert.deepEqual([received, lags], [(WARM_BATCHES + BATCHES) * BATCH, 0]);
  assert.equal(opened, 1 + (WARM_BATCHES + BATCHES) / 60);
  assert.ok(kept <= 6_000, `${kept} events are kept`);
  assert.ok(after.heap - before.heap < Math.max(0.2 * before.heap, 3 * MIB), "the heap has grown");
  assert.ok(after.nodes <= before.nodes + 50, "nodes have been left behind");
  assert.ok(after.bound <= before.bound + 10, "listeners of nodes have been left behind");
  assert.equal(after.listeners, before.listeners);
  assert.ok(after.timers <= before.timers + 1, "timers have been left behind");
  assert.deepEqual(problems, []);
});
