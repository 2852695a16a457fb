import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

const root = fileURLToPath(new URL("../../", import.meta.url));
const manifest = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

test("package has every file that it exports, and no dependency at run time", () => {
  for (const { types, default: source } of Object.values(manifest.exports)) {
    if (source?.includes("*")) continue;
    if (source) assert.ok(existsSync(root + source), source);
    const origin = types.startsWith("./types/")
      ? types.replace("./types/", "./src/").replace(".d.ts", ".js")
      : types;
    assert.ok(existsSync(root + origin), types);
  }
  assert.equal(manifest.dependencies, undefined);
  assert.deepEqual(manifest.peerDependenciesMeta, { react: { optional: true } });
});

test("package loads without a page, as for a server's rendering", async () => {
  for (const path of ["index.js", "elements/all.js", "react.js", "tanstack.js", "transports/mock.js"]) {
    assert.ok(await import(`${root}src/${path}`), path);
  }
});
