import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const source = fileURLToPath(new URL("../../src/", import.meta.url));
const KIB = 1024;

/** Returns the gzipped size of what a page loads for these lines. */
async function size(contents) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: source },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    metafile: true,
  });
  const [output] = Object.values(metafile.outputs);
  assert.deepEqual(output.imports, [], "there is no dependency at run time");
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

test("client and store take at most 8.5 KiB, with everything that index exports", async (t) => {
  const client = await size('import { connect } from "./index.js"; connect();');
  const all = await size('export * from "./index.js";');
  t.diagnostic(`connect alone ${client} bytes, index ${all} bytes gzipped`);
  assert.ok(all <= 8.5 * KIB, `${all} bytes`);
});

test("client, store and elements take at most 15 KiB", { skip: !existsSync(`${source}elements/index.js`) }, async (t) => {
  const bytes = await size('export * from "./index.js"; import "./elements/index.js";');
  t.diagnostic(`${bytes} bytes gzipped`);
  assert.ok(bytes <= 15 * KIB, `${bytes} bytes`);
});

test("errors alone take less than 2 KiB, since the modules have no effects", async (t) => {
  const bytes = await size('import { handleError } from "./index.js"; console.log(handleError(1));');
  t.diagnostic(`${bytes} bytes gzipped`);
  assert.ok(bytes <= 2 * KIB, `${bytes} bytes`);
});
