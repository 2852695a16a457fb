/** The verdict: sentence, button, title, icon, countdown, and a runtime that is silent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { commands, run, sentence, until, useDashboard } from "./dashboard-page.js";

const open = useDashboard();
/** @param {import("playwright-core").Page} page */
const icon = (page) => page.locator('link[rel="icon"]').getAttribute("href");
/** Sets the verdict of the scripted runtime. @param {string} verdict as code */
const set = (verdict) => `mock.setStatus({ verdict: ${verdict} })`;

test("verdict says that all is well, in page, title and icon", async () => {
  await open("state=calm", async (page) => {
    assert.equal(await sentence(page), "All is well");
    assert.equal(await page.title(), "All is well · Mainstay");
    assert.match(String(await icon(page)), /^data:image\/svg\+xml,.*circle/);
    assert.equal(await page.locator("dash-verdict button").count(), 0);
  });
});

test("verdict counts down to the restart, and its button restarts the agent", async () => {
  await open("state=crash", async (page) => {
    assert.match(await sentence(page), /^planner restarts in \d s \(attempt 2 of 5\)$/);
    const seconds = async () => Number(/in (\d+) s/.exec(await sentence(page))?.[1]);
    const first = await seconds();
    await page.waitForFunction(
      (before) => {
        const words = document.querySelector("dash-verdict")?.shadowRoot?.querySelector("h1")?.textContent ?? "";
        return Number(/in (\d+) s/.exec(words)?.[1]) < before;
      },
      first,
    );
    assert.match(await page.title(), /^planner restarts in \d s/);
    await page.getByRole("button", { name: "Restart planner now" }).click();
    await page.getByText("Restart planner now: done").waitFor();
    assert.deepEqual(
      (await commands(page)).filter(({ type }) => type === "agent").map(({ agent, action }) => `${agent} ${action}`).at(-1),
      "planner restart",
    );
  });
});

test("verdict names waiting requests, a given up agent, and a question with its own button", async () => {
  await open("state=away", async (page) => {
    assert.match(await sentence(page), /^The backend is away since .+, next try in \d+ s; 3 requests wait$/);
    await page.getByRole("button", { name: "Reconnect now" }).click();
    await until(page, `mock.commands.some(({ type, action }) => type === "connection" && action === "reconnect")`);
  });
  await open("state=given_up", async (page) => {
    assert.equal(await sentence(page), "coder is given up");
    await page.locator("dash-verdict").getByRole("button", { name: "Reset coder" }).click();
    await until(page, `mock.commands.some(({ agent, action }) => agent === "coder" && action === "reset")`);
  });
  await open("state=question", async (page) => {
    assert.equal(await sentence(page), "reviewer waits for your answer");
    await page.locator("dash-verdict").getByRole("button", { name: "Answer reviewer" }).click();
    await page.locator("dash-talk").getByText("May I delete the 12 files in build/?").first().waitFor();
    assert.match(page.url(), /agent=reviewer/);
  });
});

test("verdict has a sentence for each finding", async () => {
  await open("state=calm", async (page) => {
    const since = new Date().toISOString();
    /** @type {[object, RegExp, string?][]} */
    const findings = [
      [{ type: "storage", part: "journal", message: "no space left" }, /^The journal cannot be written: no space left$/],
      [{ type: "given_up", names: ["a", "b"], more: 0 }, /^a and b are given up$/],
      [{ type: "given_up", names: ["a", "b", "c"], more: 2 }, /^a, b, c and 2 more are given up$/],
      [{ type: "suspended", name: "backend", since }, /^The backend's process is stopped by a signal or a debugger since/],
      [{ type: "restarting", name: "backend", at: null, attempt: null, more: 1 }, /^The backend is being restarted, and 1 more$/],
      [{ type: "starting", names: ["backend"], more: 0, since }, /^The backend is starting since [^;]*$/],
      [
        { type: "starting", names: ["backend"], more: 0, since, awaits: 'it prints "up"', last_line: "loading" },
        /^The backend is starting since .*: it is ready when it prints "up"; its last line: loading$/,
      ],
      [{ type: "stopping", since, names: ["planner"], more: 1 }, /^Mainstay is stopping since .*, and waits for planner and 1 more$/],
      [{ type: "stopping", since, names: [], more: 0 }, /^Mainstay is stopping since [^,]*$/],
      [{ type: "unconnected", since, attempt: 2, max: 5, next_attempt_at: null, has_failed: false }, /\(attempt 2 of 5\)$/],
      [{ type: "unconnected", since, attempt: 6, max: 5, next_attempt_at: null, has_failed: true }, /\(attempts go on slowly\)$/],
      [{ type: "no_websocket", since, status: 404 }, /^The backend has answered by HTTP \(404\) .* set \[connection\] enabled = false$/],
      [{ type: "unwell", names: ["a"], more: 0 }, /^a is not well$/],
      [{ type: "asks", name: "a", ask: "x", more: 1 }, /^a waits for your answer \(1 more question\)$/],
      [{ type: "unwatched", path: "/projects" }, /^The folder \/projects is not watched$/],
      [{ type: "stopped", names: ["a"], more: 0 }, /^a is stopped$/],
      [{ type: "disconnected", since }, /^The connection is closed since/],
    ];
    for (const [finding, words] of findings) {
      const verdict = { level: "warning", text: "", finding, requests_waiting: 0, action: null };
      await run(page, set(JSON.stringify(verdict)));
      await page.waitForFunction(
        ([source]) => {
          const shown = document.querySelector("dash-verdict")?.shadowRoot?.querySelector("h1")?.textContent ?? "";
          return new RegExp(source).test(shown);
        },
        [words.source],
        { timeout: 5000 },
      );
    }
  });
});

test("verdict says how long a silent runtime is gone, greys the page, and comes back", async () => {
  await open("state=calm", async (page) => {
    await run(page, "mock.halfOpen()");
    await page.locator(":root[data-lost]").waitFor({ state: "attached" });
    assert.match(await sentence(page), /^The runtime does not answer, last seen \d+ s ago$/);
    assert.equal(await page.title(), "No answer · Mainstay");
    assert.match(String(await icon(page)), /dasharray/);
    assert.match(await page.locator("main").evaluate((node) => getComputedStyle(node).filter), /grayscale\(1\)/);
    await run(page, "mock.drop()");
    await page.locator(":root:not([data-lost])").waitFor({ state: "attached" });
    assert.equal(await sentence(page), "All is well");
  });
});
