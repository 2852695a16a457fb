import assert from "node:assert/strict";
import { test } from "node:test";

import { createGlob, createMerge, isWithin } from "../../src/file-changes.js";

function merged(...changes) {
  const merge = createMerge();
  changes.forEach(([kind, path, from], index) =>
    merge.add({ kind, root: "/p", path: `/p/${path}`, from: from && `/p/${from}` }, index),
  );
  return merge.take().map(({ kind, path, from }) => [kind, path.slice(3), ...(from ? [from.slice(3)] : [])]);
}

test("three writes of one save are one change", () => {
  assert.deepEqual(merged(["modified", "a"], ["modified", "a"], ["modified", "a"]), [["modified", "a"]]);
  assert.deepEqual(merged(["created", "a"], ["modified", "a"]), [["created", "a"]]);
});

test("save by way of a backup is one change", () => {
  const vim = [
    ["created", "4913"],
    ["removed", "4913"],
    ["renamed", "a~", "a"],
    ["created", "a"],
    ["modified", "a"],
    ["removed", "a~"],
  ];
  assert.deepEqual(merged(...vim), [["modified", "a"]]);
});

test("save by way of a new file is one change", () => {
  assert.deepEqual(merged(["created", "a.tmp"], ["modified", "a.tmp"], ["renamed", "a", "a.tmp"]), [
    ["modified", "a"],
  ]);
});

test("rename stays a rename", () => {
  assert.deepEqual(merged(["renamed", "b", "a"]), [["renamed", "b", "a"]]);
  assert.deepEqual(merged(["renamed", "b", "a"], ["modified", "b"]), [["renamed", "b", "a"]]);
});

test("file that came and went is no change", () => {
  assert.deepEqual(merged(["created", "a"], ["removed", "a"]), []);
  assert.deepEqual(merged(["removed", "a"], ["created", "a"]), [["modified", "a"]]);
});

test("rescan comes first and is never merged away", () => {
  const merge = createMerge();
  merge.add({ kind: "modified", root: "/p", path: "/p/a" }, 1);
  merge.add({ kind: "rescan", root: "/p", path: "/p" }, 2);
  assert.deepEqual(
    merge.take().map(({ kind }) => kind),
    ["rescan", "modified"],
  );
  assert.deepEqual(merge.take(), []);
});

test("glob selects by name or by path below the root", () => {
  const test = (globs, path) => createGlob(globs)(`/p/${path}`, "/p");
  assert.equal(test([], "x"), true);
  assert.equal(test(["*.md"], "docs/deep/a.md"), true);
  assert.equal(test(["*.md"], "a.mdx"), false);
  assert.equal(test(["src/**"], "src/a/b.js"), true);
  assert.equal(test(["src/*.js"], "src/a/b.js"), false);
  assert.equal(test(["**/*.{js,ts}"], "b.ts"), true);
  assert.equal(test(["a?.txt"], "ab.txt"), true);
  assert.equal(test(["*", "!*.tmp"], "a.tmp"), false);
  assert.equal(test(["a+(b).txt"], "a+(b).txt"), true);
  assert.equal(createGlob(["src/*.js"])("C:\\p\\src\\a.js", "C:\\p"), true);
});

test("folder holds what lies below it", () => {
  assert.equal(isWithin("/a/b", "/a"), true);
  assert.equal(isWithin("/a", "/a/"), true);
  assert.equal(isWithin("/ab", "/a"), false);
  assert.equal(isWithin("/a", "/"), true);
});
