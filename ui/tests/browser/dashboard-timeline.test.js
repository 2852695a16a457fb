/** The timeline: lanes, marks, zoom, pan, and the scrubber that shows an earlier moment in tree and verdict. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run, sentence, until, useDashboard } from "./dashboard-page.js";

const open = useDashboard();
/** @param {import("playwright-core").Page} page */
const axis = (page) => page.locator("mainstay-timeline [role=slider]");
/** @param {import("playwright-core").Page} page */
const isPast = (page) => page.locator(":root[data-past]").waitFor({ state: "attached" });
/** The state of the agent `coder` in the tree, in words. @param {import("playwright-core").Page} page */
const coder = (page) => page.locator('mainstay-tree [data-path="root/agents/coder"]').innerText();

test("timeline has a lane for each actor, with words beside the colours", async () => {
  await open("state=given_up", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    assert.equal(await page.locator("mainstay-timeline .lane").count(), 9);
    const words = String(await page.locator("mainstay-timeline .lane").nth(7).getAttribute("aria-label"));
    assert.match(words, /^coder: now given up\. In sight: .*up .*restarting .*given up .*6 exits, 6 decisions$/);
    assert.ok((await page.locator("mainstay-timeline .mark.actor_exited").count()) > 3);
    assert.match(String(await page.locator("mainstay-timeline .span.given_up").getAttribute("title")), /^given up, /);
  });
});

test("scrubber shows what was then in tree and verdict, and goes back to live", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    assert.match(String(await coder(page)), /^coder\s[^]*Running/);
    await page.getByRole("button", { name: "Previous mark" }).click();
    await isPast(page);
    assert.match(await sentence(page), /^At .+: coder restarts in \d s \(attempt 1 of 5\)$/);
    assert.match(String(await coder(page)), /^coder\s[^]*Restarting/);
    assert.match(String(await axis(page).getAttribute("aria-valuetext")), /, 4 min ago$/);
    // Events that come meanwhile change nothing of it.
    await run(page, `mock.setAgent("planner", { status: "degraded" })`);
    await page.locator("mainstay-agents").getByText("Degraded").waitFor();
    assert.match(String(await coder(page)), /^coder\s[^]*Restarting/);
    await page.locator("dash-verdict").getByRole("button", { name: "Back to live" }).click();
    await page.locator(":root:not([data-past])").waitFor({ state: "attached" });
    assert.equal(await sentence(page), "All is well");
    assert.match(String(await coder(page)), /^coder\s[^]*Running/);
  });
});

test("scrubber follows the pointer, and asks for one moment at a time", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    await run(page, `globalThis.asked = []; globalThis.open = 0; globalThis.most = 0;`);
    await run(
      page,
      `(() => {
        const moment = mock.status.verdict;
        mock.on("history.at", async ({ at }) => {
          asked.push(at);
          most = Math.max(most, ++open);
          await new Promise(requestAnimationFrame);
          open--;
          return { at, cursor: "3.1", verdict: moment, tree: null };
        });
      })()`,
    );
    const box = await axis(page).boundingBox();
    assert.ok(box);
    await page.mouse.move(box.x + box.width * 0.8, box.y + 60);
    await page.mouse.down();
    for (let step = 0; step < 30; step++) await page.mouse.move(box.x + box.width * (0.8 - step / 50), box.y + 60);
    await page.mouse.up();
    await isPast(page);
    const end = Date.parse(await run(page, "asked.at(-1)"));
    await until(page, "open === 0");
    assert.equal(await run(page, "most"), 1);
    const from = await run(page, `document.querySelector("mainstay-timeline").at`);
    await until(page, `Math.abs(Date.parse(asked.at(-1)) - document.querySelector("mainstay-timeline").at) < 2`);
    assert.ok(Math.abs(end - from) < 300_000);
  });
});

test("timeline zooms and pans with keys, buttons and the wheel", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    // What the lanes were last read for. The margin is half of the width on each side. The first
    // reading is of the whole journal, which is 900 s long.
    await run(
      page,
      `globalThis.read = () => {
        const { from, to } = mock.commands.findLast(({ type, action }) => type === "history" && action === "lanes");
        const last = to ? Date.parse(to) : Date.now();
        return { to: last, width: last - (from ? Date.parse(from) : Date.now() - 900_000) };
      }`,
    );
    await axis(page).focus();
    await until(page, "read().width > 200_000");
    const start = await run(page, "read().width");
    await page.keyboard.press("+");
    await until(page, `read().width < ${start} * 0.6`);
    await page.keyboard.press("PageUp");
    await until(page, "read().to < Date.now() - 10_000");
    await page.getByRole("button", { name: "All: the whole journal" }).click();
    await until(page, "read().width > 850_000");
    const box = await axis(page).boundingBox();
    assert.ok(box);
    await page.mouse.move(box.x + box.width / 2, box.y + 50);
    await axis(page).focus();
    await page.mouse.wheel(0, -300);
    await until(page, "read().width < 850_000");
  });
});

test("timeline goes to marks, the start and back to live with the keyboard alone", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    await page.keyboard.press("2");
    assert.equal(await page.evaluate(() => document.activeElement?.localName), "mainstay-timeline");
    await axis(page).focus();
    await page.keyboard.press("ArrowDown");
    await isPast(page);
    await page.getByText(/^At .+: coder restarts/).waitFor();
    await page.keyboard.press("Home");
    await page.getByText(/^At .+: All is well/).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(":root:not([data-past])").waitFor({ state: "attached" });
    await page.locator("mainstay-timeline").getByText("Live", { exact: true }).waitFor();
  });
});

test("timeline says why it cannot be read", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    await run(page, `mock.fail("history.lanes", { code: "SERVER_ERROR", reason: "internal", message: "No disk." })`);
    await run(page, `mock.pushEvent({ kind: "actor_ready", fields: { start_ms: 1 } })`);
    await page.getByText("The timeline cannot be read. No disk.").waitFor();
    await run(page, `mock.fail("history.lanes", null); mock.pushEvent({ kind: "actor_ready", fields: { start_ms: 1 } })`);
    await page.getByText("The timeline cannot be read. No disk.").waitFor({ state: "detached" });
  });
});
