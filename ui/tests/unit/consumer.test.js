/** Checks the declarations that the package ships, as an application in TypeScript sees them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const UI = fileURLToPath(new URL("../../", import.meta.url));
const TSC = join(UI, "node_modules/.bin/tsc");
const SETTINGS = {
  compilerOptions: {
    target: "es2022",
    module: "nodenext",
    lib: ["es2023", "dom", "dom.iterable"],
    jsx: "react-jsx",
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    types: [],
  },
  files: ["app.tsx"],
};

/** Runs the compiler, and returns what it says. */
const compile = (...settings) =>
  promisify(execFile)(TSC, settings).then(
    ({ stdout }) => stdout,
    ({ stdout }) => stdout,
  );

test("application in TypeScript compiles against the package", async (t) => {
  const folder = await mkdtemp(join(UI, "tests/snippets-"));
  t.after(() => rm(folder, { recursive: true }));
  const modules = join(folder, "node_modules");
  const installed = join(modules, "mainstay-ui");
  await mkdir(installed, { recursive: true });
  const files = ["src", "jsx.d.ts", "protocol.d.ts", "package.json"];
  await Promise.all(files.map((file) => cp(join(UI, file), join(installed, file), { recursive: true })));
  // The same as the script `types` of package.json, into another folder.
  const types = ["--noEmit", "false", "--emitDeclarationOnly", "--declaration", "--rootDir", join(UI, "src")];
  assert.equal(await compile("-p", UI, ...types, "--outDir", join(installed, "types")), "");
  await symlink(join(UI, "node_modules/@types"), join(modules, "@types"));
  await symlink(join(UI, "node_modules/csstype"), join(modules, "csstype"));
  await cp(join(UI, "tests/consumer/app.tsx"), join(folder, "app.tsx"));
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(SETTINGS));
  assert.equal(await compile("-p", folder), "");
});
