/** `<dash-request-stats>`: counts by phase and priority, the lanes of paths, and the durations as p50 and p95 of each span of 10 s. */
import { define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { spanText } from "../src/elements/time-axis.js";
import "./spark.js";
import { text } from "./texts.js";

export class DashRequestStats extends MainstayElement {
  static css = `${more}
.stats{display:flex;flex-wrap:wrap;gap:.4em 1.6em;padding:.75em .9em;margin-bottom:.7em}
.stat{display:grid}.figure{font-size:1.35em;font-weight:600;line-height:1.15}.figure.warn{color:var(--w)}
.caption{font-size:.82em;color:var(--s)}
.lane{flex:1 1 100%;display:grid;grid-template-columns:minmax(0,1fr) 8em auto;gap:.8em;align-items:center}
.bar{height:.5em;border-radius:1em;background:var(--l);overflow:hidden}.full{height:100%;background:var(--a)}
.plot{flex:1 1 100%;display:grid;gap:.3em}dash-spark{height:3.2em}
.p95{color:var(--w)}.p50{color:var(--a)}
`;

  /** @override @param {import("../src/store.js").State} state */
  select({ queue, isLive }) {
    return [queue, isLive];
  }

  /** @override */
  refresh() {
    super.refresh();
    const spark = this.root.querySelector("dash-spark");
    const spans = this.state.queue?.latency?.spans ?? [];
    const [p50, p95] = [spans.map((span) => span.p50_ms), spans.map((span) => span.p95_ms)];
    if (spark) Object.assign(spark, { lines: [{ tone: "accent", values: p50 }, { tone: "warn", values: p95 }] });
  }

  /** @param {import("../protocol.d.ts").RequestLatency} latency */
  #plot({ all, spans }) {
    if (all.p50_ms == null || all.p95_ms == null) return h("p.note", { key: "none" }, text("noDurations"));
    const [p50, p95] = [all.p50_ms, all.p95_ms].map(spanText);
    const n = spans.reduce((sum, { count }) => sum + count, 0);
    return h(
      ".plot",
      { key: "plot" },
      h(
        ".row",
        {},
        h("span.caption grow", {}, text("durations", { n })),
        h("span.p50 num", {}, text("p50"), " ", p50),
        h("span.p95 num", {}, text("p95"), " ", p95),
      ),
      h("dash-spark", { label: text("durationWords", { p50, p95 }) }),
    );
  }

  /** @override */
  view() {
    const { queue } = this.state;
    if (!queue) return [];
    const { running, slow, waiting, backing_off: retries, max_concurrent: max, by_priority: by, groups } = queue;
    /** @type {[string, number, string, string?][]} */
    const stats = [
      // Slow ones run too, beyond the most that others may.
      ["running", running, text(slow ? "ofMaxAndSlow" : "ofMax", { max, slow })],
      ["waiting", waiting, "", queue.held ? "warn" : ""],
      ["backing_off", retries, "", retries ? "warn" : ""],
      ["high", by.high, ""],
      ["normal", by.normal, ""],
      ["low", by.low, ""],
    ];
    return [
      h(
        ".card stats",
        {},
        stats.map(([key, n, unit, tone = ""]) =>
          h(
            ".stat",
            { key },
            h("span.caption", {}, text(`stat-${key}`)),
            h(`span.figure num ${tone}`, {}, n, unit && h("span.caption", {}, ` ${unit}`)),
          ),
        ),
        groups.map(({ path, running: now, waiting: wait, max_concurrent: most }) =>
          h(
            ".lane",
            { key: `lane ${path}`, title: text("groupWords", { running: now, max: most, waiting: wait }) },
            h("span.soft", {}, text("group", { path })),
            h(".bar", {}, h(".full", { style: `width:${Math.min(100, (100 * now) / Math.max(1, most))}%` })),
            h("span.note num", {}, text("groupWords", { running: now, max: most, waiting: wait })),
          ),
        ),
        // An older runtime does not count them.
        queue.latency && this.#plot(queue.latency),
      ),
    ];
  }
}

define("dash-request-stats", DashRequestStats);
