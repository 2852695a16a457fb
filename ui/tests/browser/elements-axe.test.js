/** Every element in every state, light and dark: no finding of axe-core. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serve } from "./support.js";

/** @typedef {{violations: {id: string, nodes: {html: string, failureSummary: string}[]}[]}} Findings */

test("req 17: axe-core finds nothing in any state, light or dark", async (t) => {
  const server = await serve();
  const browser = await launch();
  t.after(() => Promise.all([browser.close(), server.close()]));
  const page = await browser.newPage({ viewport: { width: 820, height: 640 } });
  const gallery = `${server.url}/examples/gallery.html`;
  await page.goto(gallery);
  const names = await page.$$eval("a", (links) => links.map((link) => link.getAttribute("href") ?? ""));
  assert.ok(names.length > 25);
  for (const name of names) {
    for (const scheme of ["light", "dark"]) {
      await t.test(`${name} ${scheme}`, async () => {
        await page.goto(`${gallery}${name}&scheme=${scheme}`);
        await page.waitForSelector("[data-ready]", { state: "attached" });
        await page.addScriptTag({ url: "/axe.js" });
        await page.evaluate(() =>
          Promise.allSettled(document.getAnimations().map((animation) => animation.finish())),
        );
        const findings = /** @type {Findings} */ (
          await page.evaluate(`axe.run(document, { rules: { "page-has-heading-one": { enabled: false } } })`)
        );
        const words = findings.violations.map(
          ({ id, nodes }) =>
            `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`,
        );
        assert.deepEqual(words, []);
      });
    }
  }
});
