/** Agents, questions, requests, cache, events, storage; the faults and the tour of the demo. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run, until, useDashboard } from "./dashboard-page.js";

const open = useDashboard();

test("agents show the time of their answers, and questions come first", async () => {
  await open("state=question", async (page) => {
    const vitals = page.locator("dash-vitals");
    await vitals.getByText("reviewer asks: May I delete the 12 files in build/?").waitFor();
    const words = String(await vitals.locator("dash-spark").first().getByRole("img").getAttribute("aria-label"));
    assert.equal(words, "planner: last answer after 800 ms, median 900 ms, of 6");
    assert.match(String(await vitals.locator("dash-spark path").last().getAttribute("d")), /^M0\.0 /);
    await vitals.getByRole("button", { name: "Answer reviewer" }).click();
    await page.locator("dash-talk").getByRole("button", { name: "Keep them" }).click();
    await until(page, `mock.commands.some(({ action, ask }) => action === "answer" && ask === "a1")`);
  });
});

test("requests show phases, lanes, retries, cancel, priority, p50 and p95", async () => {
  await open("state=away", async (page) => {
    const part = page.locator("#requests");
    await part.getByText("/api/files/README.md").waitFor();
    assert.match(await part.locator("dash-request-stats .stats").innerText(), /Waiting\s+3\s.*p50 42 ms.*p95 277 ms/s);
    await run(page, `mock.setStatus({ queue: { groups: [{ path: "/api/search", running: 1, waiting: 4, max_concurrent: 2 }] } })`);
    await part.getByText("1 of 2 running, 4 waiting").waitFor();
    const running = part.locator("dash-request-stats .stat", { hasText: "Running" });
    await run(page, `mock.setStatus({ queue: { running: 20, slow: 4, max_concurrent: 16 } })`);
    await running.getByText("of 16 and 4 slow").waitFor();
    assert.match(await running.innerText(), /^Running\s+20 of 16 and 4 slow$/);
    await run(page, `mock.setStatus({ queue: { running: 9, slow: 0 } })`);
    await running.getByText(/of 16$/).first().waitFor();
    await part.getByLabel("Priority: GET /api/files/README.md").selectOption("high");
    await part.getByRole("button", { name: "Cancel: POST /api/echo" }).click();
    await until(page, `["prioritize", "cancel"].every((name) => mock.commands.some(({ type, action }) => type === "requests" && action === name))`);
    const named = await run(page, `mock.commands.filter(({ action }) => action === "prioritize" || action === "cancel").map((command) => command.request_id)`);
    assert.deepEqual(named, [73, 71]);
  });
});

test("limits show cache, storage and their troubles", async () => {
  await open("state=calm", async (page) => {
    const part = page.locator("dash-limits");
    await part.getByText("214 · 9.0 MiB of 64 MiB").waitFor();
    await part.getByText("89 % (1810 fresh, 64 stale)").waitFor();
    await run(page, `mock.setStatus({ storage: { journal: "no space left on device" }, cache: { folders: [{ path: "/projects", is_watched: false }] } })`);
    await part.getByText("no space left on device").waitFor();
    await part.getByText("Folder /projects: not watched").waitFor();
  });
});

test("events are sentences, with filters, and their JSON on demand", async () => {
  await open("state=calm", async (page) => {
    const part = page.locator("#events");
    await part.getByLabel("Kind").selectOption("decision");
    const row = part.locator(".event");
    await row.first().waitFor();
    assert.match(await row.first().innerText(), /decided: restart in 5 s, attempt 1 \(1 of 5 restarts used\)/);
    assert.equal(await part.locator("pre").count(), 0);
    await row.first().click();
    assert.equal(JSON.parse(await part.locator("pre").innerText()).kind, "decision");
  });
});

test("faults are there in the demo alone, and go the way of the command line", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-timeline .lane").first().waitFor();
    assert.equal(await page.locator("dash-faults").isVisible(), false);
  });
  await open("state=calm&demo", async (page) => {
    const part = page.locator("dash-faults");
    await part.getByLabel("Agent").selectOption("coder");
    /** @type {[string, object][]} */
    const faults = [
      ["Crash: coder", { kind: "crash_agent", agent: "coder" }],
      ["Hang: coder", { kind: "hang_agent", agent: "coder" }],
      ["Heal: coder", { kind: "heal_agent", agent: "coder" }],
      ["Drop", { kind: "drop_ws" }],
      ["Half-open", { kind: "half_open_ws", for_ms: 30_000 }],
      ["503", { kind: "status", path: "/api/search", status: 503, times: 6 }],
      ["Slow", { kind: "slow", path: "/api", ms: 2000, times: 10 }],
    ];
    for (const [name, fault] of faults) {
      const count = await run(page, `mock.commands.filter(({ path }) => path === "/_fault").length`);
      await part.getByRole("button", { name, exact: true }).click();
      await until(page, `mock.commands.filter(({ path }) => path === "/_fault").length > ${count}`);
      const sent = await run(page, `mock.commands.findLast(({ path }) => path === "/_fault")`);
      assert.deepEqual([sent.method, sent.body, sent.priority, sent.retries], ["POST", fault, "high", 0]);
      await until(page, `!document.querySelector("dash-faults").shadowRoot.querySelector("[aria-busy]")`);
    }
    const before = await run(page, `mock.commands.filter(({ type }) => type === "request").length`);
    await part.getByRole("button", { name: "Flood" }).click();
    await until(page, `mock.commands.filter(({ type }) => type === "request").length === ${before + 60}`);
  });
});

test("die crashes an agent again after each restart, until it is given up", async () => {
  await open("state=calm&demo", async (page) => {
    const crashes = `mock.commands.filter(({ body }) => body?.kind === "crash_agent").length`;
    await page.getByRole("button", { name: "Die: planner" }).click();
    for (let n = 1; n <= 3; n++) {
      await until(page, `${crashes} === ${n}`);
      await run(page, `mock.setAgent("planner", { status: "healthy", generation: ${n + 1}, restarts: ${n} })`);
    }
    await until(page, `${crashes} === 4`);
    await run(page, `mock.setAgent("planner", { status: "failed", gave_up: true, generation: 5 })`);
    await page.locator("mainstay-agents").getByText("Given up, reset gives").waitFor();
    await run(page, `mock.setAgent("planner", { status: "healthy", gave_up: false, generation: 6 })`);
    await page.locator("mainstay-agents .agent").first().getByText("Healthy").waitFor();
    assert.equal(await run(page, crashes), 4);
  });
});

test("tour has five steps, does what it says, and ends with Escape", async () => {
  await open("state=calm&demo", async (page) => {
    await page.getByRole("button", { name: "Take the tour" }).click();
    const tour = page.locator("dash-tour");
    const marked = () => page.locator("[data-tour]").evaluate((node) => node.id || node.localName);
    assert.equal(await marked(), "dash-verdict");
    await tour.getByRole("button", { name: "Next" }).click();
    assert.equal(await marked(), "tree");
    await tour.getByRole("button", { name: "Do it" }).click();
    await until(page, `mock.commands.some(({ body }) => body?.kind === "crash_agent")`);
    for (const part of ["timeline", "incidents", "requests"]) {
      await tour.getByRole("button", { name: "Next" }).click();
      assert.equal(await marked(), part);
    }
    await tour.getByText("Step 5 of 5").waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("[data-tour]").count(), 0);
    assert.equal(await tour.isVisible(), false);
  });
});
