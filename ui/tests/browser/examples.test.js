/** Runs the examples of React, Vue, Svelte and Solid in Debian's Chromium, over one scripted runtime. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { compile } from "svelte/compiler";

import { agentReport, startBridge } from "./bridge-double.js";
import { bundle, launch, serve } from "./react-harness.js";

/** @type {import("esbuild").Plugin} */
const svelte = {
  name: "svelte",
  setup(build) {
    build.onLoad({ filter: /\.svelte$/ }, async ({ path }) => {
      const { js } = compile(await readFile(path, "utf8"), { filename: path, generate: "client" });
      return { contents: js.code, loader: "js" };
    });
  },
};
/** Vue with its compiler, for templates in texts. @type {import("esbuild").Plugin} */
const vue = {
  name: "vue",
  setup(build) {
    build.onResolve({ filter: /^vue$/ }, ({ resolveDir }) =>
      build.resolve("vue/dist/vue.esm-bundler.js", { resolveDir, kind: "import-statement" }),
    );
  },
};
const EXAMPLES = {
  react: { entry: "examples/react/main.jsx", plugins: [] },
  vue: { entry: "examples/vue/main.js", plugins: [vue] },
  svelte: { entry: "examples/svelte/main.js", plugins: [svelte] },
  solid: { entry: "examples/solid/main.js", plugins: [] },
};
const HTML =
  '<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Example</title><div id="app"></div><script src="/start.js"></script><script src="/main.js"></script>';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Returns code that connects the page, as an application does before it renders. */
async function starter(url) {
  const code = await bundle("src/index.js", { format: "esm" });
  return `${code.replace(/export \{[\s\S]*?\};?\s*$/, "")}\nconnect({ url: ${JSON.stringify(url)} });`;
}

for (const [name, { entry, plugins }] of Object.entries(EXAMPLES)) {
  test(`${name} shows agents, follows changes and acts`, async (t) => {
    const bridge = await startBridge();
    t.after(() => bridge.close());
    const start = `(() => {${await starter(bridge.url)}})();`;
    const server = await serve({
      "/": ["text/html", HTML],
      "/start.js": ["text/javascript", start],
      "/main.js": ["text/javascript", await bundle(entry, { plugins })],
    });
    t.after(() => server.close());
    const page = await browser.newPage();
    t.after(() => page.close());
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on(
      "console",
      (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()),
    );
    const files = name === "svelte" ? ["examples/svelte/App.svelte"] : [entry];
    const codes = await Promise.all(files.map((file) => readFile(new URL(`../../${file}`, import.meta.url), "utf8")));
    const lines = codes.join("\n").split("\n").filter((line) => line.trim() && !/^\s*(\/\/|\/?\*|<!--)/.test(line));
    assert.ok(lines.length <= 25, `${lines.length} lines`);
    await page.goto(server.url);
    const items = () => page.locator("#app li").allInnerTexts();
    await page.locator("#app li").nth(1).waitFor();
    assert.deepEqual(
      (await items()).map((text) => text.split("Restart")[0].trim()),
      ["planner: healthy", "writer: healthy"],
    );
    assert.equal(await page.locator("#app p").innerText(), "connected");
    assert.ok(await page.evaluate(() => document.querySelector("mainstay-connection-status").shadowRoot));
    bridge.changeAgent("writer", { status: "degraded" });
    await page.locator("#app li", { hasText: "writer: degraded" }).waitFor();
    await page.locator("#app button", { hasText: "Restart planner" }).click();
    await bridge.until(() =>
      bridge.commands.some(
        ({ type, agent, action }) => type === "agent" && agent === "planner" && action === "restart",
      ),
    );
    bridge.change({ agents: [agentReport("solo", { status: "starting" })] });
    await page.locator("#app li", { hasText: "solo: starting" }).waitFor();
    assert.equal((await items()).length, 1);
    assert.equal(bridge.sessions, 1);
    assert.deepEqual(problems, []);
  });
}
