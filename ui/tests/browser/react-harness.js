/** Bundles code with esbuild, serves it from this computer and opens it in Debian's Chromium. */
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

export { launch } from "./support.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Counts timers, frames and listeners that are alive. It runs before any other script. */
export function countResources() {
  const timers = new Set();
  const frames = new Set();
  let listeners = 0;
  const { setTimeout: start, clearTimeout: stop, setInterval: repeat, clearInterval: stopRepeat } = window;
  const { requestAnimationFrame: frame, cancelAnimationFrame: stopFrame } = window;
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  window.setTimeout = (task, ms, ...rest) => {
    const id = start(() => {
      timers.delete(id);
      task(...rest);
    }, ms);
    timers.add(id);
    return id;
  };
  window.clearTimeout = (id) => (timers.delete(id), stop(id));
  window.setInterval = (...rest) => {
    const id = repeat(...rest);
    timers.add(id);
    return id;
  };
  window.clearInterval = (id) => (timers.delete(id), stopRepeat(id));
  window.requestAnimationFrame = (task) => {
    const id = frame((time) => {
      frames.delete(id);
      task(time);
    });
    frames.add(id);
    return id;
  };
  window.cancelAnimationFrame = (id) => (frames.delete(id), stopFrame(id));
  const known = new WeakMap();
  const keyOf = (type, options) =>
    `${type} ${Boolean(typeof options === "object" ? options?.capture : options)}`;
  EventTarget.prototype.addEventListener = function add(type, listener, options) {
    if (this === window || this === document) {
      const keys = (listener && known.get(listener)) ?? new Set();
      if (listener && !keys.has(keyOf(type, options))) {
        keys.add(keyOf(type, options));
        known.set(listener, keys);
        listeners++;
      }
    }
    return addEventListener.call(this, type, listener, options);
  };
  EventTarget.prototype.removeEventListener = function remove(type, listener, options) {
    if (
      (this === window || this === document) &&
      listener &&
      known.get(listener)?.delete(keyOf(type, options))
    )
      listeners--;
    return removeEventListener.call(this, type, listener, options);
  };
  window.resources = () => ({ timers: timers.size, frames: frames.size, listeners });
}

/**
 * Bundles an entry for the browser.
 *
 * @param {string} entry a file, below `ui/`
 * @param {{react18?: boolean, isProduction?: boolean, plugins?: import("esbuild").Plugin[], format?: "iife" | "esm"}} [options]
 * @returns {Promise<string>}
 */
export async function bundle(
  entry,
  { react18 = false, plugins = [], format = "iife", isProduction = false } = {},
) {
  const modules = `${ROOT}${react18 ? "tests/browser/react18/" : ""}node_modules/`;
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    bundle: true,
    write: false,
    format,
    target: "es2022",
    jsx: "automatic",
    logLevel: "warning",
    outdir: "out",
    minify: isProduction,
    define: {
      "process.env.NODE_ENV": isProduction ? '"production"' : '"development"',
      __VUE_OPTIONS_API__: "true",
      __VUE_PROD_DEVTOOLS__: "false",
      __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false",
    },
    alias: { react: `${modules}react`, "react-dom": `${modules}react-dom` },
    plugins,
  });
  return outputFiles[0].text;
}

/**
 * Serves texts by path from this computer.
 *
 * @param {Record<string, [type: string, text: string]>} files
 */
export async function serve(files) {
  const server = createServer((request, response) => {
    const found = files[new URL(request.url ?? "/", "http://localhost").pathname];
    response.writeHead(found ? 200 : 404, { "content-type": found?.[0] ?? "text/plain" });
    response.end(found?.[1] ?? "");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${address.port}/`, close: () => server.close() };
}

export const PAGE =
  '<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Test</title><div id="app"></div><script src="/main.js"></script>';

/**
 * Opens a page that runs a bundle. Errors of the page, and of React, fail the test by `page.problems`.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {string} code
 * @param {{html?: string}} [options]
 */
export async function openPage(browser, code, { html = PAGE } = {}) {
  const server = await serve({ "/": ["text/html", html], "/main.js": ["text/javascript", code] });
  const page = await browser.newPage();
  /** @type {string[]} */
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  await page.addInitScript(countResources);
  await page.goto(server.url);
  return {
    page,
    problems,
    close: async () => {
      await page.close();
      server.close();
    },
  };
}
