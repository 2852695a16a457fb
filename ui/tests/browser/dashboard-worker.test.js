/** The socket of the dashboard where its worker cannot run: a script that is not there, and a policy that forbids it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, serve, serveDashboard } from "./support.js";

/** @type {import("playwright-core").Browser} */ let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/**
 * Opens the dashboard with a token, and waits for its first message over a socket of the page.
 * @param {{ url: string }} server
 * @param {boolean} hasScript
 */
async function firstMessage(server, hasScript) {
  const context = await browser.newContext();
  const page = await context.newPage();
  // The page has no scripted runtime then.
  await page.route("**/dashboard-mock.js", (route) => route.fulfill({ contentType: "text/javascript", body: "" }));
  if (!hasScript) await page.route("**/socket-worker.js", (route) => route.abort());
  // A socket of a worker does not come here.
  const sent = new Promise((resolve) =>
    page.routeWebSocket(/\/bridge\?token=key$/, (socket) => void socket.onMessage((message) => resolve(String(message)))),
  );
  await page.goto(`${server.url}/#token=key`);
  const message = await sent;
  await context.close();
  return JSON.parse(message);
}

test("dashboard: without its worker's script the socket is in the page", async () => {
  const server = await serveDashboard();
  const { type } = await firstMessage(server, false);
  assert.equal(type, "subscribe");
  await server.close();
});

test("dashboard: where a policy forbids workers the socket is in the page", async () => {
  const server = await serve("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'none'");
  const { type } = await firstMessage(server, true);
  assert.equal(type, "subscribe");
  await server.close();
});
