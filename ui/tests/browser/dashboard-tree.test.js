/** The supervision tree and the page of an actor. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run, until, useDashboard } from "./dashboard-page.js";

const open = useDashboard();
/** @param {import("playwright-core").Page} page */
const active = (page) =>
  page.locator("mainstay-tree [role=tree]").evaluate((tree) => String(tree.getAttribute("aria-activedescendant")).slice(2));
/** @param {import("playwright-core").Page} page @param {string} name */
const row = (page, name) => page.locator(`mainstay-tree [data-path="root/agents/${name}"]`);
/** Returns what a screen reader reads of a row. @param {Element} node */
const spoken = (node) => {
  /** @param {Node} each @returns {string} */
  const read = (each) =>
    each instanceof Element && each.getAttribute("aria-hidden")
      ? ""
      : each instanceof Text
        ? each.data
        : `${[...each.childNodes].map(read).join("")} `;
  return read(node).replace(/ +/g, " ").replaceAll("planner ,", "planner,").trim();
};
/** Changes an actor's node as a restart does. */
const restart = `
  const at = mock.tree.children.findIndex(({ path }) => path === "root/agents");
  const agents = mock.tree.children[at];
  mock.tree = { ...mock.tree, children: mock.tree.children.with(at, { ...agents, children:
    agents.children.map((node) => node.path.endsWith("/coder") ? { ...node, generation: node.generation + 1, restarts: 2, budget_left: 3 } : node) }) };
  mock.pushEvent({ kind: "actor_ready", actor: "root/agents/coder", fields: { start_ms: 1 } });`;

test("tree shows each actor with its place, state, budget, mailbox and memory", async () => {
  await open("state=crash", async (page) => {
    assert.equal(await page.locator("mainstay-tree [role=treeitem]").count(), 9);
    const words = await row(page, "planner").evaluate(spoken);
    assert.equal(words.replace(/in \d+ s/, "in 8 s"), "planner, incarnation 3 Restarting in 8 s , 3 of 5 restarts left , 0 messages wait , 38 MiB of memory");
    assert.equal(await row(page, "planner").getAttribute("aria-level"), "3");
    assert.equal(await row(page, "planner").getAttribute("aria-setsize"), "3");
    assert.equal(await row(page, "planner").locator(".pip:not(.spent)").count(), 3);
  });
});

test("tree shows a restart as it happens, and keeps rows, focus and selection", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-tree [role=tree]").focus();
    await page.keyboard.press("End");
    await run(page, `globalThis.kept = document.querySelector("mainstay-tree").shadowRoot.querySelector('[data-path="root/agents/coder"]')`);
    await run(page, restart);
    await row(page, "coder").getByText("restarted").waitFor();
    assert.equal(await row(page, "coder").locator(".pip:not(.spent)").count(), 3);
    assert.ok(await run(page, `kept === document.querySelector("mainstay-tree").shadowRoot.querySelector('[data-path="root/agents/coder"]')`));
    assert.equal(await active(page), "root/agents/reviewer");
    assert.equal(await page.evaluate(() => document.activeElement?.localName), "mainstay-tree");
    assert.equal(await run(page, "document.querySelector('mainstay-tree').shadowRoot.getAnimations().length"), 0);
  });
});

test("tree flashes a restarted row where motion is wanted", async () => {
  await open(
    "state=calm",
    async (page) => {
      await run(page, restart);
      await row(page, "coder").getByText("restarted").waitFor();
      assert.ok((await row(page, "coder").evaluate((node) => node.getAnimations().length)) > 0);
    },
    { reducedMotion: "no-preference" },
  );
});

test("tree moves, folds and opens with the keyboard", async () => {
  await open("state=calm", async (page) => {
    await page.locator("mainstay-tree [role=tree]").focus();
    for (const [key, path] of [
      ["ArrowDown", "root/backend"],
      ["End", "root/agents/reviewer"],
      ["ArrowLeft", "root/agents"],
      ["ArrowRight", "root/agents/planner"],
      ["c", "root/agents/coder"],
      ["Home", "root"],
    ]) {
      await page.keyboard.press(key);
      assert.equal(await active(page), path, key);
    }
    await page.keyboard.press("ArrowLeft");
    assert.equal(await page.locator("mainstay-tree [role=treeitem]").count(), 1);
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.locator("mainstay-tree [role=treeitem]").count(), 9);
    await page.keyboard.press("End");
    await page.keyboard.press("Enter");
    assert.match(page.url(), /#actor=root\/agents\/reviewer$/);
    await page.locator("dash-actor").getByRole("heading", { name: "reviewer" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dash-actor[open]").waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement?.localName), "mainstay-tree");
  });
});

test("actor's page shows state, incidents, history, messages and its log", async () => {
  await open(
    "state=crash",
    async (page) => {
      const panel = page.locator("dash-actor");
      await panel.getByText("3 of 5 within 10 min").waitFor();
      await panel.getByText("a restart restores it").waitFor();
      await panel.getByRole("tab", { name: "Incidents" }).click();
      await panel.getByText("the agent's status changes from healthy to failed").first().waitFor();
      assert.equal(await panel.locator("mainstay-incidents .incident").count(), 1);
      await panel.getByRole("tab", { name: "History" }).click();
      await panel.locator("mainstay-events .event").first().waitFor();
      assert.ok((await panel.locator("mainstay-events .words").allTextContents()).every((words) => words.includes("root/agents/planner")));
      await panel.getByRole("tab", { name: "Messages" }).click();
      await panel.getByPlaceholder("Message to planner").waitFor();
      await panel.getByRole("tab", { name: "Logs" }).click();
      await panel.getByText("step 39: read docs/tides.md").waitFor();
      await panel.getByLabel("Search the log").fill("WARNING");
      await panel.getByText("3 of 40 lines").waitFor();
      await panel.getByRole("button", { name: "Copy" }).click();
      await panel.getByRole("button", { name: "Copied" }).waitFor();
      assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^\S+ warning: tool call 12 was slow\n/);
      await panel.getByLabel("Search the log").fill("");
      await run(page, `mock.pushLog("planner", ["the newest line"])`);
      await panel.getByText("the newest line").waitFor();
      const gap = await panel.locator(".lines").evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight);
      assert.ok(gap < 3, `follows to the end: ${gap}`);
    },
    { hash: "#actor=root/agents/planner" },
  );
});

test("actor's buttons ask before they end work, and say how it ended", async () => {
  await open(
    "state=calm",
    async (page) => {
      const panel = page.locator("dash-actor");
      const isAsked = (/** @type {string} */ action) =>
        run(page, `mock.commands.filter(({ agent, action }) => agent === "planner" && action === "${action}").length`);
      await panel.getByRole("button", { name: "Stop: planner" }).click();
      await panel.getByRole("dialog").getByText("Stop planner?").waitFor();
      await page.keyboard.press("Escape");
      assert.equal(await isAsked("stop"), 0);
      assert.ok(await panel.getAttribute("open") !== null, "the dialog's Escape leaves the panel open");
      await panel.getByRole("button", { name: "Restart: planner" }).click();
      await panel.getByText("1 message in work may end with an unknown outcome.").waitFor();
      await panel.getByRole("dialog").getByRole("button", { name: "Restart" }).click();
      await panel.getByText(/^Restart: done at .+\. Healthy$/).waitFor();
      assert.equal(await isAsked("restart"), 1);
      await run(page, `mock.fail("agent.reset", { code: "SERVER_ERROR", reason: "internal", message: "It broke." })`);
      await panel.getByRole("button", { name: "Reset: planner" }).click();
      await page.locator("mainstay-error-toast").getByText("It broke.", { exact: true }).waitFor();
    },
    { hash: "#actor=root/agents/planner" },
  );
});

test("tree draws ten thousand agents by the rows in sight, and answers keys at once", async () => {
  await open("state=calm&agents=10000", async (page) => {
    await until(page, `document.querySelector("mainstay-tree").shadowRoot.querySelectorAll("[role=treeitem]").length > 9`);
    assert.ok((await page.locator("mainstay-tree [role=treeitem]").count()) < 60);
    assert.ok((await page.locator("mainstay-timeline .lane").count()) < 60);
    await page.locator("mainstay-tree [role=tree]").focus();
    const ms = await run(
      page,
      `(async () => {
        const tree = document.querySelector("mainstay-tree").shadowRoot.querySelector("[role=tree]");
        const start = performance.now();
        tree.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
        await new Promise(requestAnimationFrame);
        return performance.now() - start;
      })()`,
    );
    assert.equal(await active(page), "root/agents/worker-9997");
    assert.ok(ms < 250, `${ms} ms from the key to the frame`);
  });
});
