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
  const shared = /** @type {Record<string, unknown>} */ (isList ? [] : {});
  for (const name of names) {
    shared[name] = share(before[name], after[name]);
    isSame = isSame && name in before && shared[name] === before[name];
  }
  return /** @type {T} */ (isSame ? previous : shared);
}

/** Returns whether a value is an object or a list as JSON has them. @param {unknown} value */
export function isPlain(value) {
  const kind = value?.constructor;
  return kind === Object || kind === Array;
}
