/** What the tests of the elements share: a server and a browser for a file of tests, and pages in them. */
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { launch, serve } from "./support.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {{isTimed?: boolean, media?: Parameters<Page["emulateMedia"]>[0]}} PageOptions */

/**
 * Starts a server and a browser before the tests of a file, and ends them after.
 * @param {string} path the page of the elements
 * @param {() => void} [script] runs in each page before anything else
 */
export function setUpElements(path, script = () => {}) {
  const setup = {
    url: "",
    browser: /** @type {import("playwright-core").Browser} */ (/** @type {unknown} */ (undefined)),
    /**
     * Opens the page, gives it to a test, and checks that nothing was reported on its console.
     * @param {string} query
     * @param {(page: Page) => Promise<void>} body
     * @param {PageOptions} [options]
     */
    async open(query, body, { isTimed = false, media } = {}) {
      const context = await setup.browser.newContext({ viewport: { width: 820, height: 640 } });
      const page = await context.newPage();
      /** @type {string[]} */
      const problems = [];
      page.on("pageerror", (error) => problems.push(String(error)));
      page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
      await page.addInitScript(script);
      if (media) await page.emulateMedia(media);
      if (isTimed) await page.clock.install({ time: new Date("2026-03-01T12:00:00Z") });
      await page.goto(`${setup.url}${path}?${query}`);
      await page.waitForSelector("[data-ready]", { state: "attached" });
      if (isTimed) await page.clock.pauseAt(new Date("2026-03-01T12:00:10Z"));
      await body(page);
      await context.close();
      assert.deepEqual(problems, []);
    },
  };
  /** @type {Awaited<ReturnType<typeof serve>>} */
  let server;
  before(async () => {
    server = await serve();
    setup.url = server.url;
    setup.browser = await launch();
  });
  after(async () => {
    await setup.browser?.close();
    await server?.close();
  });
  return setup;
}

/** Evaluates code in the page. @param {Page} page @param {string} code */
export const run = (page, code) => page.evaluate(code);

/**
 * Makes an element. It has the client `fake` if the page has one, and else the page's own.
 * @param {Page} page
 * @param {string} tag
 * @param {string} [attributes]
 */
export const make = (page, tag, attributes = "{}") =>
  run(
    page,
    `(() => {
  const element = document.createElement("mainstay-${tag}");
  for (const [name, value] of Object.entries(${attributes})) element.setAttribute(name, value);
  if (globalThis.fake) element.client = fake.client;
  document.querySelector("main").append(element);
})()`,
  );
