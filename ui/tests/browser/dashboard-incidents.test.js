/** Incidents: stories with their chain, links to share, and their text. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { run, useDashboard } from "./dashboard-page.js";

const open = useDashboard();

test("incidents are newest first, with their end and totals, and open to a chain of causes", async () => {
  await open("state=given_up", async (page) => {
    const list = page.locator("#incidents .incident");
    await list.first().waitFor();
    assert.equal(await list.count(), 2);
    assert.match(await list.first().innerText(), /^coder given up after 5 restarts.*\ngoes on\n.*6 exits · 5 restarts · 1 message failed · 1 outcome unknown/s);
    assert.match(await list.nth(1).innerText(), /over after 5 s/);
    await list.first().getByRole("button").first().click();
    const chain = list.first().locator(".chain li");
    assert.equal(await chain.count(), 4);
    assert.match(await chain.first().innerText(), /process 5002 has ended without a request/);
    await list.first().getByText("look into its log, then reset it").waitFor();
    await list.first().getByText("ModuleNotFoundError").last().waitFor();
    await chain.first().getByRole("button", { name: "coder" }).click();
    assert.match(page.url(), /actor=root\/agents\/coder/);
  });
});

test("incident's link opens it, and its text can be copied and saved", async () => {
  await open("state=calm", async (page) => {
    const incident = page.locator("#incidents .incident").first();
    await incident.getByRole("button").first().click();
    await incident.getByRole("button", { name: "Copy link" }).click();
    await incident.getByRole("button", { name: "Copied" }).waitFor();
    const link = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/#incident=3\.64$/);
    await incident.getByRole("button", { name: "Copy as text" }).click();
    await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("Incident 3.64"));
    const words = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(words, /^Incident 3\.64\n\ncoder: ended with an error.*\n\n\S+ {2}3\.64 {2}root\/agents\/coder {2}ended with an error: exit code 1\n.*KeyError: 'branch'\n$/s);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      incident.getByRole("button", { name: "Download" }).click(),
    ]);
    assert.equal(download.suggestedFilename(), "incident-3.64.txt");
    assert.equal(await readFile(String(await download.path()), "utf8"), words);
  });
  await open(
    "state=calm",
    async (page) => {
      await page.locator("#incidents .incident.open .chain li").first().waitFor();
      assert.ok(await page.locator("#i-3\\.64 button").first().evaluate((node) => node === /** @type {ShadowRoot} */ (node.getRootNode()).activeElement));
    },
    { hash: "#incident=3.64" },
  );
});

test("incident that is open stays open, with focus and selection, when another comes", async () => {
  await open("state=calm", async (page) => {
    const first = page.locator("#incidents .incident").first();
    await first.getByRole("button").first().click();
    await run(page, `globalThis.kept = document.querySelector("#incidents mainstay-incidents").shadowRoot.querySelector(".chain li .text").firstChild`);
    await run(page, `getSelection().selectAllChildren(kept)`);
    await run(page, `mock.incidents = [{ ...mock.incidents[0], id: "3.99", ended_at: null, title: "planner: panicked", actor: "root/agents/planner" }, ...mock.incidents]`);
    await run(page, `mock.pushEvent({ kind: "actor_ready", fields: { start_ms: 1 } })`);
    await page.locator("#incidents").getByText("panicked").waitFor();
    assert.equal(await page.locator("#incidents .incident").count(), 2);
    assert.ok(await run(page, "kept.isConnected"));
    assert.equal(await page.locator("#incidents .incident.open").count(), 1);
  });
});

test("incidents say that nothing went wrong, and why they cannot be read", async () => {
  await open("state=calm&empty", async (page) => {
    await page.locator("#incidents").getByText("Nothing has gone wrong.").waitFor();
    await run(page, `mock.fail("incidents", { code: "SERVER_ERROR", reason: "internal", message: "No disk." })`);
    await run(page, `mock.pushEvent({ kind: "actor_ready", fields: { start_ms: 1 } })`);
    await page.getByText("The incidents cannot be read. No disk.").waitFor();
  });
});
