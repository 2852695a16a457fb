/** Checks the snippets of docs/ui.md, docs/ui/ and README.md: the types of JavaScript, the elements of HTML, the commands. */
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

/** Returns the blocks of a page in these languages, with their languages. */
const blocksOf = (text, languages) =>
  [...text.matchAll(/```(\w+)\n([\s\S]*?)\n```/g)].flatMap(([, language, code]) =>
    languages.includes(language) ? [[language, code]] : [],
  );

/** Returns the snippets of a page, each with a name for a file. Of HTML the elements are taken, whose attributes have types in JSX. */
function snippetsOf(page, text) {
  return blocksOf(text, ["js", "jsx", "html"]).map(([language, code], index) => {
    const tags = [...code.matchAll(/<(mainstay-[\w-]+)[^>]*><\/\1>/g)].map(([tag]) => tag.replace(/="(\d+)"/g, "={$1}"));
    const name = `${page.replace(/\W/g, "-")}-${index + 1}`;
    return language === "html" ? [`${name}.jsx`, `export default <>${tags.join("\n")}</>;`] : [`${name}.${language}`, code];
  });
}

/** Reads all pages of the user interface. */
async function readPages() {
  const pages = ["ui.md", "../ui/README.md", ...(await readdir(join(DOCS, "ui"))).map((name) => join("ui", name))];
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

test("elements of HTML in the pages are ones of the package", async () => {
  const live = await readFile(join(UI, "examples/live.html"), "utf8");
  let count = 0;
  for (const [page, text] of await readPages()) {
    for (const [, code] of blocksOf(text, ["html"])) {
      const opened = [...code.matchAll(/<(mainstay-[\w-]+)/g)].map(([, tag]) => tag);
      const closed = [...code.matchAll(/<(mainstay-[\w-]+)[^>]*><\/\1>/g)].map(([, tag]) => tag);
      assert.ok(opened.length, page);
      assert.deepEqual(closed, opened, `${page}: each element is closed`);
      for (const tag of opened) assert.ok(live.includes(`<${tag}>`), `${page}: ${tag}`);
      count += opened.length;
    }
  }
  assert.ok(count >= 7, `${count} elements`);
});

test("commands in the pages are ones of npm and of the command line", async () => {
  const { name, scripts } = JSON.parse(await readFile(join(UI, "package.json"), "utf8"));
  const cli = await readFile(join(DOCS, "cli.md"), "utf8");
  let count = 0;
  for (const [page, text] of await readPages()) {
    for (const [, code] of blocksOf(text, ["sh"])) {
      for (const line of code.split(/\n|&&/)) {
        const [program, action, ...rest] = line.replace(/ --?[\w-]+( data| DIR)?/g, "").trim().split(/\s+/);
        const [first] = rest;
        if (program === "npm" && action === "install") assert.ok(rest.includes(name), `${page}: ${line}`);
        else if (program === "npm") assert.ok(action === "run" && Object.hasOwn(scripts, first), `${page}: ${line}`);
        else {
          assert.equal(`${program} ${action}`, "mainstay demo", `${page}: ${line}`);
          assert.ok(!first || cli.includes(`\n## mainstay demo ${first}\n`), `${page}: ${line}`);
        }
        count++;
      }
    }
  }
  assert.ok(count >= 6, `${count} commands`);
});

test("page says how long the examples of the frameworks are", async () => {
  const files = ["react/main.jsx", "vue/main.js", "svelte/App.svelte", "solid/main.js"];
  const codes = await Promise.all(files.map((file) => readFile(join(UI, "examples", file), "utf8")));
  const counts = codes.map((code) => code.split("\n").filter((line) => line.trim() && !/^\s*(\/\/|\/?\*|<!--)/.test(line)).length);
  const overview = (await readFile(join(DOCS, "ui.md"), "utf8")).replace(/\s+/g, " ");
  assert.ok(overview.includes(`a page of ${Math.min(...counts)} to ${Math.max(...counts)} lines`), counts.join());
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
  assert.equal(elements.length, 7);
  for (const { page, text, tag } of elements) {
    assert.ok(text.includes("](../ui.md#live-page)"), page);
    assert.ok(live.includes(`<${tag}>`), tag);
  }
  const [[, overview]] = pages;
  assert.match(overview, /^## Live page$/m);
  assert.ok(overview.includes("/ui/examples/live.html#token="));
});

test("page of each hook leads to the live page, which has it and leads back", async () => {
  const hooks = Object.keys(await import("../../src/react.js")).filter((name) => name.startsWith("use"));
  const code = await readFile(join(UI, "examples/hooks.js"), "utf8");
  const examples = [...code.matchAll(/^  (use[A-Z]\w+)\(\) \{$/gm)].map(([, name]) => name);
  assert.deepEqual(examples.toSorted(), hooks.toSorted());
  const live = await readFile(join(UI, "examples/live.js"), "utf8");
  const rows = [...live.matchAll(/^  (use[A-Z]\w+): \[\s*"(\w+)"/gm)];
  assert.deepEqual(rows.map(([, name]) => name).toSorted(), hooks.toSorted());
  const pages = new Map((await readPages()).filter(([page]) => page.includes("react-")));
  assert.equal(pages.size, 4);
  for (const [page, text] of pages) assert.ok(text.includes("](../ui.md#live-page)"), page);
  for (const [, name, page] of rows) {
    const section = pages.get(`ui/react-${page}.md`)?.split(/^## /m).find((text) => text.startsWith(`${name}\n`));
    assert.ok(section, `react-${page}.md has a section of ${name}`);
    assert.match(section, new RegExp(`\\b${name}\\(`), `the section of ${name} shows a call`);
  }
});

test("keys of the pages are ones that the runtime takes", async () => {
  const client = connect({ mock: createMock(), id: "keys" });
  try {
    const keys = (await readPages()).flatMap(([, text]) =>
      [...text.matchAll(/(?:useCached|cache\.\w+)\("([^"]*)"/g)].map(([, key]) => key),
    );
    assert.ok(keys.length >= 1, keys.join());
    for (const key of keys) await client.cache.put(key, 1);
    for (const key of ["", "today", ":today", "Notes:today", "no tes:x", "ü:x", "file:/a", "http:/a"]) {
      await assert.rejects(client.cache.put(key, 1), { reason: "invalid_request" }, key);
    }
    await assert.rejects(client.cache.put(`n:${"x".repeat(8192)}`, 1), { reason: "request_too_large" });
  } finally {
    client.close();
  }
});
