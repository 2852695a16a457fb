/**
 * Returns `next` with the parts of `previous` that are equal, or `previous` itself if all is equal.
 * Parts that did not change keep their reference, so `===` tells whether something changed.
 * Values are JSON. Other objects are compared by reference.
 * @template T
 * @param {unknown} previous
 * @param {T} next
 * @returns {T}
 */
export function share(previous, next) {
  if (previous === next || !isPlain(next) || !isPlain(previous)) return next;
  const isList = Array.isArray(next);
  if (isList !== Array.isArray(previous)) return next;
  const before = /** @type {Record<string, unknown>} */ (previous);
  const after = /** @type {Record<string, unknown>} */ (next);
  const names = Object.keys(after);
  let isSame = names.length === Object.keys(before).length;
  // What has no part to take over stays itself, so that it is not compared in depth again.
  let shared = after;
  for (const name of names) {
    const isKnown = Object.hasOwn(before, name);
    const part = isKnown ? share(before[name], after[name]) : after[name];
    isSame = isSame && isKnown && part === before[name];
    if (part === after[name]) continue;
    if (shared === after) shared = /** @type {typeof after} */ (isList ? [.../** @type {unknown[]} */ (next)] : copyOf(after));
    shared[name] = part;
  }
  return /** @type {T} */ (isSame ? previous : shared);
}

/** Copies an object, which has no prototype if that has none. @param {object} value */
const copyOf = (value) => (Object.getPrototypeOf(value) ? { ...value } : { __proto__: null, ...value });

/** Returns whether a value is JSON at its top. @param {unknown} value */
export const isJson = (value) => value === null || /^(string|number|boolean)$/.test(typeof value) || isPlain(value);

/** Returns whether a value is an object or a list as JSON has them. @param {unknown} value */
export function isPlain(value) {
  if (typeof value !== "object" || !value) return false;
  const kind = Object.getPrototypeOf(value);
  return !kind || kind === Object.prototype || Array.isArray(value);
}
