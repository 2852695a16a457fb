/** `<dash-limits>`: the cache, the files that the runtime keeps, and its limits. */
import { define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { spanText } from "../src/elements/time-axis.js";
import { sizeText } from "../src/elements/tree.js";
import { facts, factsCss } from "./facts.js";
import { text } from "./texts.js";

export class DashLimits extends MainstayElement {
  static css = `${more}${factsCss}
.parts{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:1.2em 2em;padding:1em;height:100%;
align-content:start}
.use{height:.5em;border-radius:1em;background:var(--l);overflow:hidden;margin-bottom:.7em}
.full{height:100%;background:var(--a)}p.warn{color:var(--w)}
`;

  /** @override @param {import("../src/store.js").State} state */
  select({ cache, storage, queue, agents, status }) {
    return [cache, storage, queue, agents, status?.runtime.seq];
  }

  #cache() {
    const { cache } = this.state;
    if (!cache) return null;
    const { entries, bytes, bytes_max: max, hits, stale_hits: stale, misses, loads, load_failures: failures } = cache;
    const all = hits + stale + misses;
    const share = all ? Math.round((100 * (hits + stale)) / all) : 0;
    return h(
      "section",
      { key: "cache" },
      h("h3", {}, text("cache")),
      h(".use", {}, h(".full", { style: `width:${Math.min(100, (100 * bytes) / max)}%` })),
      facts([
        ["cache-entries", `${entries} · ${text("cacheUse", { used: sizeText(bytes), max: sizeText(max) })}`],
        ["cache-hits", all ? text("cacheHits", { share, hits, stale }) : "–"],
        ["cache-misses", String(misses)],
        ["cache-loads", text("cacheLoads", { loads, failures }), failures ? "warn" : "value"],
        ["cache-gone", text("cacheGone", { evicted: cache.evictions, invalidated: cache.invalidated })],
        ["cache-oldest", cache.oldest_ms == null ? null : spanText(cache.oldest_ms)],
      ]),
      cache.folders.map(({ path, is_watched: isWatched }) =>
        h(
          `p.note ${isWatched ? "" : "warn"}`,
          { key: path },
          text("cacheFolder", { path }),
          ": ",
          text(isWatched ? "watched" : "notWatched"),
        ),
      ),
    );
  }

  /** @override */
  view() {
    const { storage, queue, agents, status } = this.state;
    if (!storage || !queue || !status) return [];
    const list = Object.values(agents).filter(Boolean);
    const budget = list[0]?.budget;
    const parts = /** @type {const} */ (["journal", "state", "logs"]);
    return [
      h(
        ".card parts",
        {},
        this.#cache(),
        h(
          "section",
          { key: "storage" },
          h("h3", {}, text("storage")),
          facts(
            parts.map((part) => {
              const isSafe = storage[part] === "ok";
              return /** @type {const} */ ([`store-${part}`, isSafe ? text("isSafe") : storage[part], isSafe ? "good" : "bad"]);
            }),
          ),
        ),
        h(
          "section",
          { key: "limits" },
          h("h3", {}, text("limits")),
          facts([
            ["limit-requests", String(queue.max_concurrent)],
            ["limit-agents", String(list.length)],
            ["limit-restarts", budget && text("limit-window", { max: budget.max, window: spanText(budget.window_ms) })],
            ["limit-sequence", String(status.runtime.seq)],
          ]),
        ),
      ),
    ];
  }
}

define("dash-limits", DashLimits);
