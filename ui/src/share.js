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
  if (Object.is(previous, next)) return next;
  if (!isShareable(previous) || !isShareable(next) || Array.isArray(previous) !== Array.isArray(next)) return next;
  const before = /** @type {Record<string, unknown>} */ (previous);
  const after = /** @type {Record<string, unknown>} */ (next);
  const names = Object.keys(after);
  let isSame = names.length === Object.keys(before).length;
  const shared = /** @type {Record<string, unknown>} */ (Array.isArray(next) ? [] : {});
  for (const name of names) {
    shared[name] = share(before[name], after[name]);
    isSame = isSame && name in before && Object.is(shared[name], before[name]);
  }
  return /** @type {T} */ (isSame ? previous : shared);
}

/** @param {unknown} value */
function isShareable(value) {
  if (typeof value !== "object" || !value) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === Array.prototype || !prototype;
}
