/** What the tests of the dashboard share: a server, a browser, and a page in a state. */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { launch, serveDashboard } from "./support.js";

/** @typedef {import("playwright-core").Page} Page */

/** Starts the server and the browser of a file of tests. Returns what opens a page. */
export function useDashboard() {
  /** @type {Awaited<ReturnType<typeof serveDashboard>>} */ let server;
  /** @type {import("playwright-core").Browser} */ let browser;
  before(async () => {
    server = await serveDashboard();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });
  /**
   * Opens the dashboard in a state, and checks that its console stays empty and that it asks no other server.
   * @param {string} query
   * @param {(page: Page) => Promise<void>} body
   * @param {{ hash?: string, width?: number, reducedMotion?: "reduce" | "no-preference" }} [options]
   */
  return async (query, body, { hash = "", width = 1280, reducedMotion = "reduce" } = {}) => {
    const context = await browser.newContext({
      viewport: { width, height: 900 },
      reducedMotion,
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const page = await context.newPage();
    /** @type {string[]} */
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(server.url) && !/^(data|blob):/.test(url)) problems.push(`asked ${url}`);
    });
    await page.goto(`${server.url}/?${query}${hash}`);
    await page.locator("mainstay-tree [role=treeitem]").first().waitFor();
    await body(page);
    await context.close();
    assert.deepEqual(problems, []);
  };
}

/** Runs code in the page, where `mock` is the runtime. @param {Page} page @param {string} code @returns {Promise<any>} */
export const run = (page, code) => page.evaluate(code);
/** Waits until a condition holds in the page. @param {Page} page @param {string} condition */
export const until = (page, condition) =>
  run(page, `(async () => { while (!(${condition})) await new Promise(requestAnimationFrame); })()`);
/** Returns the sentence of the verdict. @param {Page} page */
export const sentence = (page) => page.locator("dash-verdict h1").innerText();
/** The commands that the runtime got, without readings. @param {Page} page @returns {Promise<any[]>} */
export const commands = (page) =>
  run(page, `mock.commands.filter(({ type }) => !/hello|status|tree|subscribe|history|incidents|requests/.test(type))`);
