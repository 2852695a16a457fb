/** Which rows of a long list are in sight. Pure, so that tree and timeline draw ten rows of ten thousand. */

/** Rows beyond the edge, so that scrolling shows no gap. */
const OVERSCAN = 8;

/**
 * Returns the first row to draw, and the one after the last.
 * @param {{ top: number, height: number, count: number, rowPx: number }} place
 */
export function rowsInSight({ top, height, count, rowPx }) {
  const first = Math.max(0, Math.floor(top / rowPx) - OVERSCAN);
  const end = Math.min(count, Math.ceil((top + height) / rowPx) + OVERSCAN);
  return { first: Math.min(first, end), end };
}

/**
 * Returns the scroll position at which a row is in sight, and nothing moves if it was.
 * @param {{ top: number, height: number, rowPx: number }} place
 * @param {number} index
 */
export function scrollTo({ top, height, rowPx }, index) {
  return Math.max(0, Math.min(index * rowPx, Math.max(top, (index + 1) * rowPx - height)));
}
