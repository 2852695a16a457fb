/**
 * Measures the way of a frame to a rendered row, next to react-use-websocket: same frames, same browser.
 *
 * Usage: node tests/browser/bench.js [--rounds N] [--burst N] [--rate N] [--seconds N]
 * With MAINSTAY=path of the program, the frames also go through a runtime.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { startBridge } from "./bridge-double.js";
import { bundle, launch, PAGE, serve } from "./react-harness.js";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    burst: { type: "string", default: "10000" },
    rate: { type: "string", default: "200" },
    seconds: { type: "string", default: "5" },
  },
});
const [rounds, burst, rate, seconds] = [values.rounds, values.burst, values.rate, values.seconds].map(Number);

const now = () => performance.timeOrigin + performance.now();
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const quantile = (list, part) =>
  list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * part))];

/** Starts a runtime whose backend is the double's plain socket. */
async function startRuntime(program, backend) {
  const folder = await mkdtemp(join(tmpdir(), "mainstay-bench-"));
  const config = join(folder, "config.toml");
  const { host } = new URL(backend);
  await writeFile(config, `[backend]\nurl = "http://${host}"\n[connection]\npath = "/raw"\n`);
  const child = spawn(program, ["run", "--config", config, "--data-dir", folder], { stdio: "ignore" });
  for (;;) {
    const control = await readFile(join(folder, "control.json"), "utf8").then(JSON.parse, () => null);
    if (control) {
      const stop = async () => {
        child.kill("SIGTERM");
        await new Promise((resolve) => child.once("exit", resolve));
        await rm(folder, { recursive: true, force: true });
      };
      return { url: `ws://127.0.0.1:${control.port}/bridge`, token: control.token, stop };
    }
    await sleep(50);
  }
}

/** The errors of pages. @type {Set<string>} */
const errors = new Set();

/** Opens a page of the way's origin, whose files come from here. */
async function openPage(browser, way, code) {
  const { origin } = way;
  const page = await browser.newPage({ bypassCSP: true });
  // An error of a page is a finding: each kind is printed once.
  page.on("pageerror", ({ message }) => errors.add(`${way.name}: ${message.split(";")[0]}`));
  if (origin) {
    // A page of the runtime's own origin: any answer of its server will do.
    await page.goto(`${origin}/none`);
    await page.setContent('<div id="app"></div>');
    await page.addScriptTag({ content: code });
    return { page, close: () => page.close() };
  }
  const server = await serve({ "/": ["text/html", PAGE], "/main.js": ["text/javascript", code] });
  await page.goto(server.url);
  return { page, close: () => page.close().then(() => server.close()) };
}

/** Sends frames of one kind to all who listen. */
function createSender(bridge) {
  let n = 0;
  const send = () => bridge.frame(JSON.stringify({ type: "n", n: n++, at: now() }));
  return { send, last: () => n - 1 };
}

/** Measures one way, in a page of its own. */
async function measure(browser, code, way, bridge) {
  const { page, close } = await openPage(browser, way, code);
  await page.evaluate(([kind, url, token]) => window.start(kind, url, token), [way.kind, way.url, way.token]);
  const sender = createSender(bridge);
  // Warm up, until a row is there.
  for (let tries = 0; !(await page.evaluate(() => window.result.rows)); tries++) {
    if (tries > 200) throw new Error(`${way.name} shows no row`);
    sender.send();
    await sleep(50);
  }
  await page.evaluate(() => void window.reset());
  const settled = (last) => page.waitForFunction((n) => window.result.lastN >= n, last, { timeout: 120_000 });

  // A steady rate: the latency.
  const each = 1000 / rate;
  const start = now();
  for (let i = 0; i < rate * seconds; i++) {
    const wait = start + i * each - now();
    if (wait > 1) await sleep(wait);
    sender.send();
  }
  await settled(sender.last()).catch(() => {});
  const steady = await page.evaluate(() => ({ ...window.result }));
  await page.evaluate(() => void window.reset());

  // A burst: the rate.
  const begin = now();
  for (let i = 0; i < burst; i++) {
    sender.send();
    if (i % 500 === 499) await new Promise(setImmediate);
  }
  await settled(sender.last()).catch(() => {});
  const fast = await page.evaluate(() => ({ ...window.result }));
  await close();
  return {
    "ms to document p50": quantile(steady.inDocument, 0.5),
    "ms to document p95": quantile(steady.inDocument, 0.95),
    "ms to screen p50": quantile(steady.onScreen, 0.5),
    "ms to screen p95": quantile(steady.onScreen, 0.95),
    "lost at the rate": rate * seconds - steady.received,
    "announced at the rate": steady.announced,
    "frames/s in burst": (fast.received / (fast.lastAt - begin)) * 1000,
    "renders in burst": fast.commits,
    "lost in burst": burst - fast.received,
    "announced in burst": fast.announced,
  };
}

/** Starts all that takes part, and ends it. */
async function main() {
  const [browser, code, bridge] = await Promise.all([
    launch(),
    bundle("tests/browser/bench-page.jsx", { isProduction: true }),
    startBridge(),
  ]);
  const runtime = process.env.MAINSTAY ? await startRuntime(process.env.MAINSTAY, bridge.rawUrl) : null;
  try {
    await compare(browser, code, bridge, runtime);
  } finally {
    await browser.close();
    await runtime?.stop();
    await bridge.close();
  }
}

/** Measures all ways, and prints what was found. */
async function compare(browser, code, bridge, runtime) {
  const ways = [
    { name: "react-use-websocket", kind: "other", url: bridge.rawUrl },
    { name: "mainstay-ui", kind: "mainstay", url: bridge.url },
  ];
  if (runtime) {
    const origin = runtime.url.replace("ws:", "http:").replace("/bridge", "");
    ways.push({
      name: "mainstay-ui, by a runtime",
      kind: "mainstay",
      url: runtime.url,
      token: runtime.token,
      origin,
    });
  }
  const rows = ways.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, way] of ways.entries()) rows[index].push(await measure(browser, code, way, bridge));
  }
  const summary = rows.map((list) =>
    Object.fromEntries(Object.keys(list[0]).map((key) => [key, median(list.map((row) => row[key]))])),
  );
  console.log(
    `${rounds} rounds; ${rate} frames/s for ${seconds} s, then a burst of ${burst} frames; medians`,
  );
  console.log(`load of this computer: ${loadavg()[0]} on ${availableParallelism()} cores`);
  for (const [index, { name }] of ways.entries()) {
    const figures = Object.entries(summary[index]).map(
      ([key, value]) => `${key} ${Math.round(value * 10) / 10}`,
    );
    console.log(`${name}: ${figures.join(", ")}`);
  }
  for (const [index, { name }] of ways.entries()) {
    if (!index) continue;
    for (const key of ["frames/s in burst", "ms to document p50", "ms to screen p50", "ms to screen p95"]) {
      console.log(
        `${name}: ${key} × ${(summary[index][key] / summary[0][key]).toFixed(2)} of ${ways[0].name}`,
      );
    }
  }
  for (const error of errors) console.log(`error of ${error}`);
  check(ways, summary);
}

/** Throws if this package lost a frame without announcing it, or showed none. The figures themselves are not judged. */
function check(ways, summary) {
  for (const [index, { name, kind }] of ways.entries()) {
    if (kind !== "mainstay") continue;
    const found = summary[index];
    const isComplete =
      found["lost in burst"] <= found["announced in burst"] &&
      found["lost at the rate"] <= found["announced at the rate"];
    const isShown = Object.values(found).every(Number.isFinite);
    if (!isComplete || !isShown) throw new Error(`${name} does not work: ${JSON.stringify(found)}`);
  }
}

await main();
