/**
 * The verdict as a sentence, with seconds that count down. Pure; times are milliseconds of the page's clock.
 *
 * @typedef {import("../protocol.d.ts").Verdict} Verdict
 * @typedef {{ now: number, toPage: (at: string) => number }} Clock
 */
import { spanText } from "../src/elements/time-axis.js";
import { text } from "./texts.js";

/** @param {string} name */
const subject = (name) => (name === "backend" ? text("theBackend") : name);

/** @param {string[]} names @param {number} more */
function namesOf(names, more) {
  const all = names.map(subject);
  const are = text("isOne", { n: all.length + more });
  const last = all.length > 1 && !more ? all.pop() : null;
  const list = all.join(", ");
  const words = more ? text("andMore", { names: list, n: more }) : last ? text("and", { first: list, last }) : list;
  return { names: words, are };
}

/**
 * Returns a time of day, with its date unless that is today.
 * @param {number} at
 * @param {number} now
 */
export function clockText(at, now) {
  const isToday = new Date(at).toDateString() === new Date(now).toDateString();
  return new Date(at).toLocaleString([], isToday ? { timeStyle: "short" } : { dateStyle: "short", timeStyle: "short" });
}

/** @param {number} ms */
const left = (ms) => spanText(Math.max(1, Math.ceil(ms / 1000)) * 1000);

/**
 * Returns the sentence, and the time to which it counts down, if it does.
 * @param {Verdict} verdict
 * @param {Clock} clock
 * @returns {{ words: string, until: number | null }}
 */
export function verdictWords({ finding, requests_waiting: waiting }, { now, toPage }) {
  const since = (/** @type {string} */ at) => clockText(toPage(at), now);
  const tail = waiting ? text("verdict-waits", { n: waiting }) : "";
  /** @param {string | null} at @param {string} key */
  const next = (at, key) => {
    const until = at == null ? null : toPage(at);
    return { until, more: until == null || until <= now ? "" : text(key, { left: left(until - now) }) };
  };
  const key = `verdict-${finding.type}`;
  switch (finding.type) {
    case "restarting": {
      const { name, at, attempt, more } = finding;
      const until = at == null ? null : toPage(at);
      const state = until == null ? "" : until <= now ? "-now" : "-at";
      const words =
        text(key + state, { name: subject(name), left: left((until ?? now) - now) }) +
        (attempt ? text("verdict-attempt", { ...attempt }) : "") +
        (more ? text("verdict-others", { n: more }) : "");
      return { words: words + tail, until };
    }
    case "starting": {
      const { names, more, since: at, awaits, last_line: line } = finding;
      const words =
        text(key, { ...namesOf(names, more), since: since(at) }) +
        (awaits ? text("verdict-awaits", { awaits }) : "") +
        (line ? text("verdict-line", { line }) : "");
      return { words: words + tail, until: null };
    }
    case "stopping": {
      const { names, more, since: at } = finding;
      const awaited = names.length ? text("verdict-awaited", { names: namesOf(names, more).names }) : "";
      return { words: text(key, { since: since(at) }) + awaited, until: null };
    }
    case "backend_away": {
      const { until, more } = next(finding.next_probe_at, "verdict-probe");
      return { words: text(key, { since: since(finding.since) }) + more + tail, until };
    }
    case "unconnected": {
      const { attempt, max, has_failed: hasFailed, next_attempt_at: at } = finding;
      const { until, more } = next(at, "verdict-next");
      const tries = hasFailed ? text("verdict-slow") : text("verdict-tries", { attempt, max });
      return { words: text(key, { since: since(finding.since) }) + tries + more + tail, until };
    }
    case "asks": {
      const { name, more } = finding;
      return { words: text(key, { name }) + (more ? text("verdict-questions", { n: more }) : ""), until: null };
    }
    default: {
      const values = {
        ...finding,
        ...("names" in finding && namesOf(finding.names, finding.more)),
        ...("name" in finding && { name: subject(finding.name) }),
        ...("since" in finding && { since: since(finding.since) }),
      };
      return { words: text(key, values) + tail, until: null };
    }
  }
}
