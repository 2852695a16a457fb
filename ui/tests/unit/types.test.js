import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

const root = fileURLToPath(new URL("../../", import.meta.url));
const tsc = createRequire(import.meta.url)
  .resolve("typescript/package.json")
  .replace("package.json", "bin/tsc");

test("req 19: sources and types pass tsc --strict, and wrong uses do not", { timeout: 120_000 }, () => {
  for (const project of ["tsconfig.json", "tests/types/tsconfig.json"]) {
    const { stdout, status } = spawnSync(process.execPath, [tsc, "-p", `${root}${project}`], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stdout);
  }
});

test("req 19: no source uses any", () => {
  const files = readdirSync(`${root}src`, { recursive: true }).filter((name) => name.endsWith(".js"));
  const texts = files.map((name) => [name, readFileSync(`${root}src/${name}`, "utf8")]);
  texts.push(["protocol.d.ts", readFileSync(`${root}protocol.d.ts`, "utf8")]);
  const hits = texts.flatMap(([name, text]) =>
    text
      .split("\n")
      .filter((line) => /[<{(|:,[]\s*any\s*[>})|,;[\]=]/.test(line))
      .map((line) => `${name}: ${line}`),
  );
  assert.ok(texts.length > 15);
  assert.deepEqual(hits, []);
});
