/** @param {string} name */
export const toCamel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

/** @param {string} name */
const toSnake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/**
 * Returns the members of a reply with their names as JavaScript has them.
 * @template T
 * @param {object} reply
 * @returns {T}
 */
export function fromWire(reply) {
  return /** @type {T} */ (
    Object.fromEntries(Object.entries(reply).map(([name, value]) => [toCamel(name), value]))
  );
}

/**
 * Returns the named options with their names as the protocol has them.
 * @param {object} options
 * @param {string} names
 */
export function toWire(options, names) {
  const given = /** @type {Record<string, unknown>} */ (options);
  return Object.fromEntries(names.split(" ").map((name) => [toSnake(name), given[name]]));
}
