/** The stream of the backend's frames. The client loads this module with the first listener. */
import { fromBase64 } from "./bytes.js";
import { createListeners } from "./listeners.js";

/**
 * @typedef {import("../protocol.d.ts").FrameItem} FrameItem
 * @typedef {import("./session.js").Session} Session
 * @typedef {import("./streams.js").Frame} Frame
 */

/**
 * Makes a test of patterns, in which `*` stands for any text without a slash.
 * @param {readonly string[]} types
 */
function toPattern(types) {
  const source = types.map((type) =>
    type.replace(/\*\*|[.+^${}()|[\]\\*?]/g, (sign) =>
      sign === "**" ? ".*" : sign === "*" ? "[^/]*" : sign === "?" ? "[^/]" : `\\${sign}`,
    ),
  );
  return types.length ? new RegExp(`^(${source.join("|")})$`, "s") : null;
}

/** @param {Frame} frame */
function typeOf(frame) {
  try {
    return JSON.parse(/** @type {{ text: string }} */ (frame).text).type;
  } catch {
    return null;
  }
}

/**
 * @typedef {object} FrameListener
 * @property {(frame: Frame) => void} listener
 * @property {readonly string[]} types
 * @property {RegExp | null} pattern
 */

/**
 * Creates the stream of the backend's frames: one subscription that admits what any listener wants.
 * @param {Session} session
 * @param {boolean} isSubscribed true if the session listens to all frames already
 */
export function createFrames(session, isSubscribed) {
  const update = () => {
    if (!session.isUp()) return;
    const all = [...entries];
    // Signs that the runtime reads as more than themselves stay with this side.
    const types = all.every((entry) => entry.pattern && !/[[\]{}\\]/.test(`${entry.types}`))
      ? [...new Set(all.flatMap((entry) => entry.types))]
      : [];
    const key = all.length ? JSON.stringify(types) : null;
    if (key === known) return;
    known = key;
    const type = "connection";
    if (!all.length) return session.tell({ type, action: "unlisten" });
    session.ask({ type, action: "listen", types }).catch(() => {
      // The runtime takes so many patterns, and no more. Each listener gets its own frames all the same.
      if (types.length && known === key) session.tell({ type, action: "listen", types: [] });
    });
  };
  const { entries, add, give, giveAll } = /** @type {typeof createListeners<Frame, FrameListener>} */ (
    createListeners
  )(update);
  /** @type {string | null} */
  let known = isSubscribed ? "[]" : null;

  /**
   * @param {FrameItem} item
   * @param {FrameListener[]} to
   */
  const pass = (item, to) => {
    const frame = "base64" in item ? { bytes: fromBase64(item.base64) } : item;
    const isMarker = !("text" in frame || "bytes" in frame);
    let type;
    for (const entry of to) {
      if (entry.pattern && !isMarker) {
        type ??= typeOf(frame);
        if (typeof type !== "string" || !entry.pattern.test(type)) continue;
      }
      give(entry, frame);
    }
  };

  return {
    update,
    /**
     * Listens from now on, beginning with frames that have come.
     * @param {(frame: Frame) => void} listener
     * @param {readonly string[]} types
     * @param {readonly FrameItem[]} [early]
     */
    listen(listener, types, early = []) {
      const entry = { listener, types, pattern: toPattern(types) };
      const stop = add(entry);
      update();
      for (const item of early) pass(item, [entry]);
      return stop;
    },
    /** Listens over a new link. Frames may be missing, so each listener gets a gap. */
    open() {
      if (known != null) giveAll({ gap: { after: null, next: null } });
      known = null;
      update();
    },
    /** @param {FrameItem} item */
    onFrame: (item) => pass(item, [...entries]),
    close: () => entries.clear(),
  };
}
