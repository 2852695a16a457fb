/** The delays between attempts of the session. */
export const POLICY = { firstMs: 500, maxMs: 10_000, stableMs: 10_000, dialMs: 10_000, idleMs: 15_000, replyMs: 5_000 };

/**
 * Returns the delay before the next attempt: none before the first, then a random part of 0.5 s that doubles to 10 s.
 * @param {number} failures the failures in a row
 * @param {() => number} random
 */
export function nextDelay(failures, random) {
  if (!failures) return 0;
  const cap = Math.min(POLICY.maxMs, POLICY.firstMs * 2 ** Math.min(failures - 1, 20));
  return Math.round(cap * random());
}

/**
 * Returns the failures that count when a link ends: none if it was stable, else one more.
 * @param {number} failures
 * @param {number | null} openedAt
 * @param {number} now
 */
export function countFailures(failures, openedAt, now) {
  return openedAt != null && now - openedAt >= POLICY.stableMs ? 0 : failures + 1;
}
