import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const source = fileURLToPath(new URL("../../src/", import.meta.url));
const KIB = 1024;
const CLIENT = 'import { connect } from "./index.js"; connect();';

/** Leaves out what a page loads on demand. */
const onDemand = {
  name: "on demand",
  setup: (builder) =>
    builder.onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === "dynamic-import" ? { path, external: true } : null,
    ),
};

/** Returns the gzipped size of what a page loads for these lines: at first, and in all. */
async function sizes(contents) {
  const run = async (plugins) => {
    const { outputFiles, metafile } = await build({
      stdin: { contents, resolveDir: source },
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      write: false,
      metafile: true,
      external: ["react"],
      plugins,
    });
    const [output] = Object.values(metafile.outputs);
    const imports = output.imports.filter(({ kind, path }) => kind !== "dynamic-import" && path !== "react");
    assert.deepEqual(imports, [], "there is no dependency at run time");
    return gzipSync(outputFiles[0].contents, { level: 9 }).length;
  };
  return { first: await run([onDemand]), all: await run([]) };
}

test("client and store take at most 8.8 KiB, and 12.9 KiB with what comes on demand", async (t) => {
  const { first, all } = await sizes(CLIENT);
  t.diagnostic(`client and store: ${first} bytes gzipped, ${all} with what is loaded on demand`);
  assert.ok(first <= 8.8 * KIB, `${first} bytes`);
  assert.ok(all <= 12.9 * KIB, `${all} bytes`);
});

test("client and all hooks take at most 17.5 KiB, and 21.6 KiB in all; with one hook 10.1", async (t) => {
  const { first, all } = await sizes(`${CLIENT} export * from "./react.js";`);
  const { first: one } = await sizes('import { useBackendConnection } from "./react.js"; useBackendConnection();');
  t.diagnostic(`client and hooks: ${first} bytes gzipped, ${all} with what is loaded on demand, ${one} with one hook`);
  // docs/ui.md says why these are more than 10 KB.
  assert.ok(first <= 17.5 * KIB, `${first} bytes`);
  assert.ok(all <= 21.6 * KIB, `${all} bytes`);
  assert.ok(one <= 10.1 * KIB, `${one} bytes`);
});

test(
  "client, store and elements take at most 15 KiB at first, 30.8 in all, and 42.5 with the dashboard's",
  { skip: !existsSync(`${source}elements/index.js`) },
  async (t) => {
    const { first, all: withDashboard } = await sizes(`${CLIENT} import "./elements/index.js";`);
    const modules = ["agents", "agent-conversation", "requests", "events", "devtools"];
    const { all } = await sizes(
      [CLIENT, ...["connection-status", "error-toast", ...modules].map((name) => `import "./elements/${name}.js";`)].join(" "),
    );
    t.diagnostic(`client, store and elements: ${first} bytes gzipped, ${all} in all, ${withDashboard} with those of the dashboard`);
    assert.ok(first <= 15 * KIB, `${first} bytes`);
    // docs/ui.md says why these are more.
    assert.ok(all <= 30.8 * KIB, `${all} bytes`);
    assert.ok(withDashboard <= 42.5 * KIB, `${withDashboard} bytes`);
  },
);

test("errors, retries and the queue load nothing of the client", async (t) => {
  for (const [name, most] of [
    ["handleError", 1.5],
    ["retry", 2.25],
    ["createQueue", 2.75],
  ]) {
    const { all } = await sizes(`import { ${name} } from "./index.js"; console.log(${name});`);
    t.diagnostic(`${name}: ${all} bytes gzipped`);
    assert.ok(all <= most * KIB, `${name}: ${all} bytes`);
  }
});
