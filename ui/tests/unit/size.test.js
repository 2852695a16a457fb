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
      plugins,
    });
    const [output] = Object.values(metafile.outputs);
    const imports = output.imports.filter(({ kind }) => kind !== "dynamic-import");
    assert.deepEqual(imports, [], "there is no dependency at run time");
    return gzipSync(outputFiles[0].contents, { level: 9 }).length;
  };
  return { first: await run([onDemand]), all: await run([]) };
}

test("client and store take at most 8.3 KiB, and 11.1 KiB with fetch, logs and messages", async (t) => {
  const { first, all } = await sizes(CLIENT);
  t.diagnostic(`client and store: ${first} bytes gzipped, ${all} with what is loaded on demand`);
  assert.ok(first <= 8.3 * KIB, `${first} bytes`);
  assert.ok(all <= 11.1 * KIB, `${all} bytes`);
});

test(
  "client, store and elements take at most 15 KiB",
  { skip: !existsSync(`${source}elements/index.js`) },
  async (t) => {
    const { first, all } = await sizes(`${CLIENT} import "./elements/index.js";`);
    t.diagnostic(`client, store and elements: ${first} bytes gzipped, ${all} with what is loaded on demand`);
    assert.ok(first <= 15 * KIB, `${first} bytes`);
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
