/** The dashboard that the real binary serves: token, crash, scrubber, a suspended and a dead runtime. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { BINARY, startDemo } from "./runtime.js";
import { launch } from "./support.js";

const skip = BINARY ? false : "MAINSTAY_BIN is not set";
const binary = String(BINARY);
const run = promisify(execFile);
/** @type {Awaited<ReturnType<typeof startDemo>>} */ let demo;
/** @type {import("playwright-core").Browser} */ let browser;

before(async () => {
  if (skip) return;
  demo = await startDemo();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});
/** Breaks the demo. @param {string[]} fault */
const breakIt = (...fault) => run(binary, ["--data-dir", demo.folder, "demo", ...fault]);

test("page of the binary shows a crash, what was then, and a runtime that is silent", { skip, timeout: 120_000 }, async () => {
  const { address, program } = demo;
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  /** @type {string[]} */
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => /Content Security Policy|Failed to load/.test(message.text()) && problems.push(message.text()));
  page.on("request", (request) => {
    if (!/^(data:|blob:)/.test(request.url()) && new URL(request.url()).origin !== new URL(address).origin) problems.push(request.url());
  });
  const verdict = page.locator("dash-verdict h1");
  const says = (/** @type {RegExp} */ words) => verdict.filter({ hasText: words }).waitFor();
  await page.goto(address);
  await says(/^All is well$/);
  assert.equal(new URL(page.url()).hash, "", "the token has left the address");
  await page.reload();
  await says(/^All is well$/);

  await breakIt("crash", "planner");
  await says(/^planner restarts in \d s \(attempt 1 of 5\)$/);
  const row = page.locator('mainstay-tree [data-path="root/agents/planner"]');
  await row.getByText("Restarting").waitFor();
  await page.getByRole("button", { name: "Restart planner now" }).click();
  await says(/^All is well$/);
  await row.getByText("#2").waitFor();
  await page.locator("#incidents").getByText("planner").first().waitFor();
  await page.locator("#incidents").getByText(/^over after/).first().waitFor();

  await page.locator("mainstay-timeline .mark.actor_exited").first().waitFor();
  await page.getByRole("button", { name: "Previous mark" }).click();
  await says(/^At .+: planner (restarts in \d s|is being restarted|restarts now)/);
  await row.getByText("Restarting").waitFor();
  await page.locator("dash-verdict").getByRole("button", { name: "Back to live" }).click();
  await says(/^All is well$/);

  // A suspended process keeps its socket, and answers nothing.
  program.child.kill("SIGSTOP");
  await says(/^The runtime does not answer, last seen \d+ s ago$/);
  program.child.kill("SIGCONT");
  await says(/^All is well$/);
  assert.deepEqual(problems, []);
  program.child.kill("SIGKILL");
  await says(/^The runtime does not answer, last seen \d+ s ago$/);
  assert.ok(await page.locator(":root[data-lost]").count());
});
