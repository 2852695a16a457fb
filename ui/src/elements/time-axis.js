/** Places of times on an axis, and its ticks. Pure; all times are milliseconds of the runtime's clock. */

/** @typedef {{ from: number, to: number }} Range */

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604_800];
export const WIDTH_MIN_MS = 2000;

/**
 * Returns the place of a time in per cent, which may lie outside.
 * @param {Range} range
 * @param {number} at
 */
export const placeOf = ({ from, to }, at) => ((at - from) / (to - from)) * 100;

/**
 * Returns the ticks of an axis: at most `most`, at round times of the local zone.
 * @param {Range} range
 * @param {number} most
 */
export function ticksOf({ from, to }, most) {
  const least = (to - from) / 1000 / Math.max(1, most);
  const step = (STEPS_S.find((seconds) => seconds >= least) ?? Math.ceil(least / 604_800) * 604_800) * 1000;
  const offset = new Date(from).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) ticks.push(at);
  return { step, ticks };
}

/**
 * Returns a range that is `factor` times as wide, around a time that stays where it is.
 * @param {Range} range
 * @param {number} factor
 * @param {number} around
 * @param {number} most the greatest width
 */
export function zoom({ from, to }, factor, around, most) {
  const width = Math.min(Math.max(most, WIDTH_MIN_MS), Math.max(WIDTH_MIN_MS, (to - from) * factor));
  const share = (around - from) / (to - from);
  return { from: around - share * width, to: around + (1 - share) * width };
}

/**
 * Moves a range into its bounds, and keeps its width if that fits.
 * @param {Range} range
 * @param {Range} bounds
 */
export function keepWithin({ from, to }, bounds) {
  const width = Math.min(to - from, Math.max(WIDTH_MIN_MS, bounds.to - bounds.from));
  const end = Math.min(Math.max(to, bounds.from + width), bounds.to);
  return { from: end - width, to: end };
}

/**
 * Returns a span of time in short words: "340 ms", "12 s", "4 min", "2 h 5 min".
 * @param {number} ms
 */
export function spanText(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
