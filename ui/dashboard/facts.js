/** Pairs of a name and a value, as a list of definitions. */
import { h } from "../src/elements/base.js";
import { text } from "./texts.js";

/** @typedef {import("../src/elements/base.js").Kid} Kid */

export const factsCss = `
dl{display:grid;grid-template-columns:minmax(6.5em,max-content) minmax(0,1fr);gap:.3em 1.1em}
dt{color:var(--s)}dd{margin:0;overflow-wrap:anywhere}dd.good{color:var(--g)}dd.warn{color:var(--w)}dd.bad{color:var(--e)}
h3{font-size:.8em;font-weight:650;letter-spacing:.04em;text-transform:uppercase;color:var(--s);margin:0 0 .5em}
`;

/**
 * Describes facts; those without a value are left out.
 * @param {(readonly [key: string, value: Kid, tone?: string])[]} pairs
 */
export const facts = (pairs) =>
  h(
    "dl",
    { key: "facts" },
    pairs
      .filter(([, value]) => value != null && value !== "" && value !== false)
      .flatMap(([key, value, tone = "value"]) => [
        h("dt", { key }, text(key)),
        h(`dd.num ${tone}`, { key: `${key}=` }, value),
      ]),
  );

/** @param {string} at */
export const timeOf = (at) => {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], isToday ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "medium" });
};
