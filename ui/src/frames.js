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
 */
export function createFrames(session) {
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
  let known = null;

  return {
    /**
     * @param {(frame: Frame) => void} listener
     * @param {readonly string[]} types
     */
    listen(listener, types) {
      const stop = add({ listener, types, pattern: toPattern(types) });
      update();
      return stop;
    },
    /** Listens over a new link. Frames may be missing, so each listener gets a gap. */
    open() {
      if (known != null) giveAll({ gap: { after: null, next: null } });
      known = null;
      update();
    },
    /** @param {FrameItem} item */
    onFrame(item) {
      const frame = "base64" in item ? { bytes: fromBase64(item.base64) } : item;
      const isMarker = !("text" in frame || "bytes" in frame);
      let type;
      for (const entry of [...entries]) {
        if (entry.pattern && !isMarker) {
          type ??= typeOf(frame);
          if (typeof type !== "string" || !entry.pattern.test(type)) continue;
        }
        give(entry, frame);
      }
    },
    close: () => entries.clear(),
  };
}
