/** The time of a frame while 100,000 events are scrolled. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serve } from "./support.js";

const FRAME_MS = 16;
// Other programs of the machine only make it slower, so the best round counts.
const ROUNDS = 6;

/**
 * Scrolls by steps of all sizes. Times each frame from the scroll event on, to the task after the frame was painted:
 * handler, rendering, style, layout and paint.
 */
const ROUND = `(async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const list = document.querySelector("mainstay-events").shadowRoot.querySelector(".list");
  const channel = new MessageChannel();
  const times = [];
  let begun = 0, wake;
  const onScroll = () => { begun = performance.now(); };
  list.addEventListener("scroll", onScroll, { capture: true });
  channel.port1.onmessage = () => { times.push(performance.now() - begun); wake(); };
  let at = list.scrollHeight / 2;
  for (let n = 0; n < 240; n++) {
    at += [-40, 300, -28, 5000, -900, 60, -20000, 7][Math.floor(n / 30)];
    list.scrollTop = at;
    const painted = new Promise((done) => { wake = done; });
    await frame();
    channel.port2.postMessage(0);
    await painted;
  }
  list.removeEventListener("scroll", onScroll, { capture: true });
  return times;
})()`;

test("req 9: with 100,000 events the 95th percentile of a scroll frame is below 16 ms", async (t) => {
  const server = await serve();
  const browser = await launch();
  t.after(() => Promise.all([browser.close(), server.close()]));
  const page = await browser.newPage({ viewport: { width: 1000, height: 800 } });
  await page.goto(`${server.url}/examples/gallery.html?element=events&state=empty`);
  await page.waitForSelector("[data-ready]", { state: "attached" });
  await page.evaluate(`(async () => {
    for (let batch = 0; batch < 100; batch++) fake.emit({ events: journal(1000, batch * 1000 + 1), lagged: null });
  })()`);
  await page.getByText("100000 events").waitFor();
  let best = Infinity;
  for (let round = 0; round < ROUNDS && best >= FRAME_MS; round++) {
    const times = /** @type {number[]} */ (await page.evaluate(ROUND)).sort((a, b) => a - b);
    const at = (/** @type {number} */ part) => times[Math.floor(times.length * part)];
    t.diagnostic(`scroll frames: median ${at(0.5).toFixed(1)} ms, p95 ${at(0.95).toFixed(1)} ms, max ${at(0.999).toFixed(1)} ms`);
    best = Math.min(best, at(0.95));
  }
  assert.ok(best < FRAME_MS, `p95 is ${best} ms`);
});
