const FIRST_DELAY_MS = 500;
const DELAY_MAX_MS = 10_000;
/** A session that lasted so long was stable. */
const STABLE_MS = 10_000;

/**
 * Returns the delay before the next attempt: none before the first, then a random part of 0.5 s that doubles
 * to 10 s.
 * @param {number} failures the failures in a row
 * @param {() => number} random
 */
export function nextDelay(failures, random) {
  if (!failures) return 0;
  const cap = Math.min(DELAY_MAX_MS, FIRST_DELAY_MS * 2 ** (failures - 1));
  return Math.round(cap * random());
}

/**
 * Returns the failures that count when a link ends: none if it was stable, else one more.
 * @param {number} failures
 * @param {number | null} openedAt
 * @param {number} now
 */
export function countFailures(failures, openedAt, now) {
  return openedAt != null && now - openedAt >= STABLE_MS ? 0 : failures + 1;
}
