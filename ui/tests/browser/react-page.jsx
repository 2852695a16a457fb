/** The page of the tests of hooks: everything they need, on `window`. */
import * as React from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { flushSync } from "react-dom";

import * as mainstay from "mainstay-ui";
import { createMock } from "mainstay-ui/mock";
import * as hooks from "mainstay-ui/react";

/** Waits until a condition holds, by looking after each frame. */
async function until(condition, limitMs = 5_000) {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`this never became true: ${condition}`);
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}

/** Mounts an element in a root of its own. */
export function mount(element, { strict = false } = {}) {
  const container = document.createElement("div");
  document.body.append(container);
  const root = createRoot(container);
  const render = (next) => root.render(strict ? <React.StrictMode>{next}</React.StrictMode> : next);
  render(element);
  return { container, render, unmount: () => root.unmount() };
}

Object.assign(window, {
  React,
  h: React.createElement,
  createRoot,
  hydrateRoot,
  flushSync,
  mainstay,
  createMock,
  hooks,
  until,
  mount,
});
