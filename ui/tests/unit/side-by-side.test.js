/** The files of examples/before: their lines, and what docs/ui.md says that they get wrong. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

import { settle } from "./support.js";

const UI = fileURLToPath(new URL("../../", import.meta.url));
const PAGE = new URL("../../../docs/ui.md", import.meta.url);

/** Returns a file of examples/before as a module. */
async function load(file) {
  const { outputFiles } = await build({
    absWorkingDir: UI,
    entryPoints: [`examples/before/${file}`],
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["react", "react/jsx-runtime"],
    jsx: "automatic",
    write: false,
  });
  // React is a package of this folder, so the module is one of a file here.
  const text = outputFiles[0].text.replaceAll(/from "(react[^"]*)"/g, (_, name) => `from "${import.meta.resolve(name)}"`);
  return import(`data:text/javascript,${encodeURIComponent(text)}`);
}

/** Counts the lines that are neither empty nor comments. */
function countLines(text) {
  return text.split("\n").filter((line) => line.trim() && !/^\s*(\/\/|\/?\*)/.test(line)).length;
}

test("page counts the lines of the eight files and of what replaces them", async () => {
  const page = await readFile(PAGE, "utf8");
  const count = async (path) => countLines(await readFile(`${UI}examples/${path}`, "utf8"));
  const rows = [
    ...page.matchAll(/^\| .*examples\/(before\/[\w.]+)\).* \| (\d+) \| .*examples\/(after\/[\w.]+)\).* \| (\d+) \|$/gm),
  ];
  const sums = [0, 0];
  for (const [, before, beforeLines, after, afterLines] of rows) {
    assert.deepEqual([before, Number(beforeLines)], [before, await count(before)]);
    assert.deepEqual([after, Number(afterLines)], [after, await count(after)]);
    sums[0] += Number(beforeLines);
    sums[1] += Number(afterLines);
  }
  for (const [index, folder] of ["before", "after"].entries()) {
    const listed = rows.map((row) => row[1 + 2 * index].split("/")[1]);
    assert.deepEqual(listed.toSorted(), (await readdir(`${UI}examples/${folder}`)).toSorted());
  }
  assert.equal(rows.length, 8);
  assert.ok(page.includes(`| together | ${sums[0]} | | ${sums[1]} |`), `together: ${sums}`);
  assert.ok(page.includes(`${sums[0] - sums[1]} lines go away`), `${sums[0] - sums[1]} lines go away`);
});

test("before: fetch ignores the caller's signal, and repeats a POST that may have acted", async (t) => {
  const { fetchWithTimeout } = await load("fetchWithTimeout.ts");
  const methods = [];
  const server = createServer(({ method }, response) => {
    methods.push(method);
    response.writeHead(method === "POST" ? 500 : 200).end("{}");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const url = `http://127.0.0.1:${server.address().port}/`;
  await fetchWithTimeout(url, { signal: AbortSignal.abort() });
  assert.deepEqual(methods.splice(0), ["GET"]);
  await assert.rejects(fetchWithTimeout(url, { method: "POST", retryDelayMs: 0 }));
  assert.deepEqual(methods, ["POST", "POST", "POST"]);
});

test("before: a cleared or cancelled task of the queue never settles", async () => {
  const { RequestQueue } = await load("requestQueue.ts");
  const queue = new RequestQueue({ concurrency: 0 });
  const outcomes = [];
  const note = (promise) => promise.finally(() => outcomes.push("settled"));
  note(queue.add(async () => 1));
  queue.cancel(1);
  const controller = new AbortController();
  note(queue.add(async () => 2, { signal: controller.signal }));
  controller.abort();
  queue.clear();
  await settle();
  assert.deepEqual([queue.stats.waiting, outcomes], [0, []]);
});

test("before: the cache loads twice, keeps what was invalidated meanwhile, and does not know null", async () => {
  const { Cache } = await load("cache.ts");
  const cache = new Cache();
  let loads = 0;
  let land = (_value) => {};
  const slow = () => (loads++, new Promise((resolve) => (land = resolve)));
  const first = cache.getOrLoad("notes:1", slow);
  cache.invalidate("notes:");
  land("old");
  await first;
  assert.equal(cache.get("notes:1"), "old");
  const none = async () => (loads++, null);
  loads = 0;
  await Promise.all([cache.getOrLoad("notes:2", none), cache.getOrLoad("notes:2", none)]);
  await cache.getOrLoad("notes:2", none);
  assert.equal(loads, 3);
});

test("before: errors lose their code in a clone, handling them throws, and all of them are retried", async () => {
  const { AppError, handleError, retry } = await load("errors.tsx");
  assert.equal(handleError(structuredClone(new AppError("NOT_FOUND"))).code, "SERVER_ERROR");
  assert.throws(() => handleError(null), TypeError);
  let runs = 0;
  const run = async () => {
    runs++;
    throw new AppError("INVALID_INPUT");
  };
  await assert.rejects(retry(run, { delayMs: 0 }), { code: "INVALID_INPUT" });
  assert.equal(runs, 4);
});
