/** The page as a whole: keyboard alone, search, help, findings of axe, widths, policy, tokens, speed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run, sentence, until, useDashboard } from "./dashboard-page.js";

const open = useDashboard();
/** @typedef {{violations: {id: string, nodes: {html: string, failureSummary: string}[]}[]}} Findings */

test("everything is done with the keyboard alone", async () => {
  await open("state=crash", async (page) => {
    const press = async (/** @type {string[]} */ ...keys) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    const focused = () =>
      page.evaluate(() => {
        let node = document.activeElement;
        while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
        return `${node?.getAttribute("role") ?? node?.localName} ${node?.getAttribute("aria-label") ?? node?.textContent?.trim() ?? ""}`;
      });
    await press("?");
    await page.getByRole("heading", { name: "Keys" }).waitFor();
    await press("Escape");
    // The verdict's button.
    await press("Tab");
    for (let n = 0; n < 8 && !(await focused()).includes("Restart planner now"); n++) await press("Tab");
    await press("Enter");
    await page.getByText("Restart planner now: done").waitFor();
    // Search opens an actor.
    await press("/");
    await page.keyboard.type("review");
    await page.locator("dash-search [role=option]").first().waitFor();
    await press("Enter");
    await page.locator("dash-actor").getByRole("heading", { name: "reviewer" }).waitFor();
    await press("Tab", "Tab");
    assert.equal(await focused(), "tab State");
    await press("ArrowRight", "ArrowRight");
    assert.equal(await focused(), "tab History");
    await press("Escape");
    // The tree, an actor in it, and a command with its question.
    await press("1");
    assert.equal(await focused().then((words) => words.split(" ")[0]), "tree");
    await press("End", "ArrowUp", "Enter");
    await page.locator("dash-actor").getByRole("heading", { name: "coder" }).waitFor();
    for (let n = 0; n < 12 && !(await focused()).includes("Stop: coder"); n++) await press("Tab");
    await press("Enter");
    await page.locator("dash-actor").getByRole("dialog").waitFor();
    await press("Tab", "Enter");
    await page.getByText(/^Stop: done at .+\. Stopped$/).waitFor();
    await press("Escape");
    // The timeline and back.
    await press("2");
    assert.match(await focused(), /^slider Moment/);
    await press("ArrowDown");
    await page.getByText(/^At .+:/).waitFor();
    await press("Escape");
    await page.locator(":root:not([data-past])").waitFor({ state: "attached" });
    // An incident.
    await press("3", "Tab", "Enter");
    await page.locator("#incidents .chain li").first().waitFor();
    // The events.
    await press("8");
    for (let n = 0; n < 4 && !(await focused()).startsWith("listbox"); n++) await press("Tab");
    await press("End", "ArrowUp");
    await page.locator("#events pre").waitFor();
  });
});

test("axe-core finds nothing in any state, light or dark", async (t) => {
  for (const state of ["calm&demo", "crash", "away", "given_up", "question", "lost"]) {
    for (const scheme of ["light", "dark"]) {
      await t.test(`${state} ${scheme}`, async () => {
        await open(`state=${state}&scheme=${scheme}`, async (page) => {
          await page.locator("mainstay-timeline .lane").first().waitFor();
          await page.locator("#incidents .top").first().click();
          if (state === "lost") await page.locator(":root[data-lost]").waitFor({ state: "attached" });
          if (state === "crash") await run(page, `location.hash = "#actor=root/agents/planner"`);
          if (state === "crash") await page.locator("dash-actor dl").waitFor();
          await page.addScriptTag({ url: "/axe.js" });
          const findings = /** @type {Findings} */ (await page.evaluate("axe.run(document)"));
          const words = findings.violations.map(
            ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`,
          );
          assert.deepEqual(words, []);
        });
      });
    }
  }
});

test("page fits 360 to 2560 pixels without a scroll to the side", async () => {
  for (const width of [360, 390, 768, 1024, 1280, 1920, 2560]) {
    await open(
      "state=given_up&demo",
      async (page) => {
        await page.locator("mainstay-timeline .lane").first().waitFor();
        await page.locator("#incidents .top").first().click();
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(over, 0, `${width} px`);
        // No part is wider than its place, or cut.
        const wide = await page.evaluate(() =>
          [...document.querySelectorAll("section")].filter((section) => section.scrollWidth > section.clientWidth + 1).map(({ id }) => id),
        );
        assert.deepEqual(wide, [], `${width} px`);
      },
      { width },
    );
  }
});

test("rows keep focus, selection and clicks through a thousand events a second", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-agents .agent").first().waitFor();
    const button = page.locator("mainstay-agents").getByRole("button", { name: "Restart: coder" });
    await button.focus();
    const { worst, events } = await run(
      page,
      `(async () => {
        const start = performance.now();
        let worst = 0;
        let events = 0;
        while (performance.now() - start < 3000) {
          const before = performance.now();
          mock.pushEvents(Array.from({ length: 17 }, () => ({ kind: "request_done", actor: "root/queue", fields: { request_id: 1, method: "GET", path: "/a", status: 200, ms: 4, cached: false, attempts: 1, bytes: 1 } })));
          events += 17;
          await new Promise(requestAnimationFrame);
          worst = Math.max(worst, performance.now() - before);
        }
        return { worst, events };
      })()`,
    );
    assert.ok(events > 1000, `${events} events`);
    assert.ok(worst < 400, `${worst} ms is the longest frame`);
    assert.ok(await button.evaluate((node) => node === /** @type {ShadowRoot} */ (node.getRootNode()).activeElement));
    await button.click();
    await until(page, `mock.commands.some(({ agent, action }) => agent === "coder" && action === "restart")`);
    assert.equal(await sentence(page), "All is well");
  });
});
