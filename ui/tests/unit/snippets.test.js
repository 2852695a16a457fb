/** Checks the types of each JavaScript snippet of docs/ui.md and docs/ui/. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { connect } from "../../src/client.js";
import { createMock } from "../../src/transports/mock.js";

const UI = fileURLToPath(new URL("../../", import.meta.url));
const DOCS = join(UI, "../docs");

const SETTINGS = {
  compilerOptions: {
    target: "es2022",
    module: "esnext",
    moduleResolution: "bundler",
    lib: ["es2023", "dom", "dom.iterable"],
    jsx: "react-jsx",
    types: ["node"],
    strict: true,
    allowJs: true,
    checkJs: true,
    noEmit: true,
    skipLibCheck: true,
    paths: {
      "mainstay-ui": ["../../src/index.js"],
      "mainstay-ui/elements": ["../../src/elements/index.js"],
      "mainstay-ui/react": ["../../src/react.js"],
      "mainstay-ui/tanstack": ["../../src/tanstack.js"],
      "mainstay-ui/mock": ["../../src/transports/mock.js"],
    },
  },
  files: ["../../jsx.d.ts"],
  include: ["*.js", "*.jsx"],
};

/** Returns the snippets of a page, each with a name for a file. */
function snippetsOf(page, text) {
  const blocks = [...text.matchAll(/```(jsx?)\n([\s\S]*?)\n```/g)];
  return blocks.map(([, language, code], index) => [
    `${page.replace(/\W/g, "-")}-${index + 1}.${language}`,
    code,
  ]);
}

/** Reads all pages of the user interface. */
async function readPages() {
  const pages = ["ui.md", ...(await readdir(join(DOCS, "ui"))).map((name) => join("ui", name))];
  return Promise.all(pages.map(async (page) => [page, await readFile(join(DOCS, page), "utf8")]));
}

test("snippets of the pages have sound types", async () => {
  const snippets = (await readPages()).flatMap(([page, text]) => snippetsOf(page, text));
  assert.ok(snippets.length >= 15, `${snippets.length} snippets`);
  const folder = await mkdtemp(join(UI, "tests/snippets-"));
  try {
    // A snippet is a module, also without an import or an export.
    await Promise.all(snippets.map(([name, code]) => writeFile(join(folder, name), `${code}\nexport {};\n`)));
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(SETTINGS));
    const tsc = join(UI, "node_modules/.bin/tsc");
    const found = await promisify(execFile)(tsc, ["-p", folder]).then(
      () => "",
      ({ stdout }) => stdout,
    );
    // Errors of the package itself are those of `npm run check`.
    assert.ok(!found.includes("tests/snippets-"), found);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("test of the page about the mock passes", async () => {
  const text = await readFile(join(DOCS, "ui/testing.md"), "utf8");
  const [[, code]] = snippetsOf("testing", text).filter(([name]) => name.endsWith(".js"));
  const folder = await mkdtemp(join(UI, "tests/snippets-"));
  try {
    await writeFile(join(folder, "page.test.mjs"), code);
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--test", join(folder, "page.test.mjs")],
      { env },
    );
    assert.match(stdout, /# pass 1/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("pages name only what the package exports", async () => {
  const { exports } = JSON.parse(await readFile(join(UI, "package.json"), "utf8"));
  for (const [page, text] of await readPages()) {
    for (const [, entry] of text.matchAll(/from "mainstay-ui(\/[a-z]+)?"/g)) {
      assert.ok(exports[`.${entry ?? ""}`], `${page}: mainstay-ui${entry}`);
    }
  }
});

test("page of each element leads to the live page, which has it", async () => {
  const pages = await readPages();
  const live = await readFile(join(UI, "examples/live.html"), "utf8");
  const elements = pages.flatMap(([page, text]) => {
    const tag = /^# `<(mainstay-[a-z-]+)>`/.exec(text)?.[1];
    return tag ? [{ page, text, tag }] : [];
  });
  assert.equal(elements.length, 6);
  for (const { page, text, tag } of elements) {
    assert.ok(text.includes("](../ui.md#live-page)"), page);
    assert.ok(live.includes(`<${tag}>`), tag);
  }
  const [[, overview]] = pages;
  assert.match(overview, /^## Live page$/m);
  assert.ok(overview.includes("/ui/examples/live.html#token="));
});

test("keys of the pages are ones that the runtime takes", async () => {
  const client = connect({ mock: createMock(), id: "keys" });
  try {
    const keys = (await readPages()).flatMap(([, text]) =>
      [...text.matchAll(/(?:useCached|cache\.\w+)\("([^"]*)"/g)].map(([, key]) => key),
    );
    assert.ok(keys.length >= 2, keys.join());
    for (const key of keys) await client.cache.put(key, 1);
    for (const key of ["", "today", ":today", "Notes:today", "no tes:x", "ü:x", "file:/a", "http:/a"]) {
      await assert.rejects(client.cache.put(key, 1), { reason: "invalid_request" }, key);
    }
    await assert.rejects(client.cache.put(`n:${"x".repeat(8192)}`, 1), { reason: "request_too_large" });
  } finally {
    client.close();
  }
});
