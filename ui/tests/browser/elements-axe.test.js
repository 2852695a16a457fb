/** Every element in every state, light and dark: no finding of axe-core, and no word that is not of the table of texts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serve } from "./support.js";

/** @typedef {{violations: {id: string, nodes: {html: string, failureSummary: string}[]}[], passes: {id: string}[]}} Findings */

/** The elements of an application. Those of the dashboard alone are in dashboard-page.test.js. */
const ELEMENTS = ["agent-conversation", "agents", "connection-status", "devtools", "error-toast", "events", "requests"];

/**
 * Replaces each text by a mark. Returns the words that are still shown, apart from those of the state, and from what has
 * been announced before.
 */
const WORDS_LEFT = `(async () => {
  const { setText } = await import("/src/elements/text.js");
  const { findClient } = await import("/src/client.js");
  const { STATES } = await import("/examples/gallery-states.js");
  setText(Object.fromEntries(Object.keys(texts).map((key) => [key, "§"])));
  for (let n = 0; n < 3; n++) await new Promise(requestAnimationFrame);
  const found = [];
  const events = [];
  const visit = (root) => {
    for (const node of root.querySelectorAll(":not(style, [role=status], [role=alert], :is([role=status], [role=alert]) *)")) {
      for (const child of node.childNodes) if (child.nodeType === Node.TEXT_NODE) found.push(child.data);
      for (const name of ["aria-label", "aria-valuetext", "placeholder", "title"]) found.push(node.getAttribute(name) ?? "");
      if (node.localName === "mainstay-events") events.push(...node.events);
      if (node.shadowRoot) visit(node.shadowRoot);
    }
  };
  const main = document.querySelector("main");
  main.querySelector("h1")?.remove();
  visit(document.body);
  const query = new URLSearchParams(location.search);
  const state = [STATES[query.get("element")][query.get("state")], findClient()?.store.getState(), events, "timed out"];
  const known = JSON.stringify(state).toLowerCase();
  const words = found.join(" ").match(/[A-Za-z]{3,}/g) ?? [];
  const marks = found.filter((text) => text.includes("§")).length;
  return { marks, left: [...new Set(words)].filter((word) => !known.includes(word.toLowerCase())) };
})()`;

test("req 17: axe-core finds nothing in any state, and each text is of the table", async (t) => {
  const server = await serve();
  const browser = await launch();
  t.after(() => Promise.all([browser.close(), server.close()]));
  const page = await browser.newPage({ viewport: { width: 820, height: 640 } });
  // The table of texts is the object that gets those of further elements.
  await page.addInitScript(() => {
    const { assign } = Object;
    Object.assign = (/** @type {object} */ target, /** @type {object[]} */ ...sources) => {
      if (target && "link-connecting" in target) Object.defineProperty(globalThis, "texts", { value: target, configurable: true });
      return assign(target, ...sources);
    };
  });
  const gallery = `${server.url}/examples/gallery.html`;
  await page.goto(gallery);
  const names = await page.$$eval("a", (links) => links.map((link) => link.getAttribute("href") ?? ""));
  const shown = new Set(names.map((name) => /element=([a-z-]+)/.exec(name)?.[1]));
  assert.deepEqual([...shown].sort(), ELEMENTS);
  const marked = new Set();
  for (const name of names) {
    await t.test(name, async () => {
      await page.goto(gallery + name);
      await page.waitForSelector("[data-ready]", { state: "attached" });
      await page.addScriptTag({ url: "/axe.js" });
      /** The schemes differ in colours alone, so the rules about colours are all that the second one needs. */
      const runs = [
        ["light", { rules: { "page-has-heading-one": { enabled: false } } }],
        ["dark", { runOnly: { type: "rule", values: ["color-contrast", "link-in-text-block"] } }],
      ];
      for (const [scheme, options] of runs) {
        const findings = /** @type {Findings} */ (
          await page.evaluate(
            `(async () => {
              document.documentElement.dataset.scheme = ${JSON.stringify(scheme)};
              await Promise.allSettled(document.getAnimations().map((animation) => animation.finish()));
              return axe.run(document, ${JSON.stringify(options)});
            })()`,
          )
        );
        const words = findings.violations.map(
          ({ id, nodes }) =>
            `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`,
        );
        assert.deepEqual(words, [], String(scheme));
        if (scheme === "dark") assert.ok(findings.passes.some(({ id }) => id === "color-contrast"));
      }
      const { marks, left } = /** @type {{ marks: number, left: string[] }} */ (await page.evaluate(WORDS_LEFT));
      if (marks) marked.add(/element=([a-z-]+)/.exec(name)?.[1]);
      assert.deepEqual(left, [], "words that are not of the table");
    });
  }
  assert.deepEqual([...marked].sort(), ELEMENTS, "each element shows texts of the table");
});
