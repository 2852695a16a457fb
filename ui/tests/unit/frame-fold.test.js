import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { createFrameFold } from "../../src/frame-fold.js";

test("items of one frame are one change", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const fold = createFrameFold(0, (sum, items) => sum + items.length);
  let changes = 0;
  const unsubscribe = fold.subscribe(() => changes++);
  for (let i = 0; i < 10_000; i++) fold.push(i);
  assert.deepEqual([fold.get(), changes], [0, 0]);
  mock.timers.tick(20);
  assert.deepEqual([fold.get(), changes], [10_000, 1]);
  unsubscribe();
  fold.push(1);
  mock.timers.tick(20);
  assert.equal(changes, 1);
  mock.timers.reset();
});

test("order stays, also over the bound of a hidden page", () => {
  const fold = createFrameFold(/** @type {number[]} */ ([]), (all, items) => [...all, ...items]);
  const unsubscribe = fold.subscribe(() => {});
  for (let i = 0; i < 2_500; i++) fold.push(i);
  unsubscribe();
  assert.deepEqual(
    fold.get(),
    Array.from({ length: 2_500 }, (_, i) => i),
  );
});
