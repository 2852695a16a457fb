/**
 * A static server on the loopback interface, and a browser, for tests in a page.
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** @type {Record<string, string>} */
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
};
/** The strictest policy under which the elements work. */
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'";

/** The policy of `crates/app/src/control/ui_files.rs`. */
const DASHBOARD_POLICY = `${POLICY}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
const MOCK = '<script type="module" src="/ui/tests/browser/dashboard-mock.js"></script>\n<script type="module"';

/**
 * Serves the package's files, also below `/ui` as the control server does. `/axe.js` is axe-core, and `/` the dashboard before
 * a scripted runtime.
 * @param {string} [policy]
 * @returns {Promise<{ url: string, asked: string[], close: () => Promise<void> }>}
 */
export async function serve(policy = POLICY) {
  /** @type {string[]} */
  const asked = [];
  /** @type {Record<string, string>} */
  const others = { "/": "dashboard/dashboard.html", "/axe.js": "node_modules/axe-core/axe.min.js" };
  const server = createServer(async ({ url = "/" }, response) => {
    const { pathname } = new URL(url, "http://localhost");
    asked.push(pathname);
    const path = others[pathname] ?? normalize(pathname).replace(/^\/ui\//, "/");
    try {
      const body = await readFile(join(ROOT, path));
      response.writeHead(200, {
        "content-type": TYPES[extname(path)] ?? "application/octet-stream",
        "content-security-policy": policy,
        "cache-control": "no-store",
      });
      response.end(pathname === "/" ? String(body).replace('<script type="module"', MOCK) : body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const close = () =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve(undefined));
    });
  return { url: `http://127.0.0.1:${port}`, asked, close: /** @type {() => Promise<void>} */ (close) };
}

/** Serves the dashboard under the policy of the control server. */
export const serveDashboard = () => serve(DASHBOARD_POLICY);

/** Starts the browser, without anything that it does by itself in the background. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--font-render-hinting=none",
    ],
  });
}
