/** The commands of the cache. The client loads this module with the first of them. */
import { fromBase64, toBase64 } from "./bytes.js";
import { checkJson, refuse } from "./fetch.js";
import { fromWire, toWire } from "./names.js";

/**
 * @typedef {import("../protocol.d.ts").BridgeCommand} BridgeCommand
 * @typedef {import("../protocol.d.ts").Json} Json
 * @typedef {import("../protocol.d.ts").StatusReport} StatusReport
 */
/**
 * @typedef {object} Commands
 * @property {import("./session.js").Session["ask"]} ask
 * @property {<T>(command: BridgeCommand, name: string) => Promise<T>} pick gives a command of which one member of the
 *   reply counts
 */
/** @typedef {ReturnType<typeof createCache>} Cache */

/**
 * Returns a value that came as JSON or as bytes.
 * @param {{ base64?: string }} reply
 * @param {Json | undefined} value
 */
function valueOf({ base64 }, value) {
  return base64 == null ? (value ?? null) : fromBase64(base64);
}

/**
 * Creates the commands.
 * @param {Commands} commands
 */
export function createCache({ ask, pick }) {
  return {
    /**
     * Returns a value. A miss is not a value of null.
     * @param {string} key
     * @returns {Promise<{ hit: true, value: Json | Uint8Array } | { hit: false }>}
     */
    async get(key) {
      /** @type {{ hit: boolean, value?: Json, base64?: string }} */
      const reply = await ask({ type: "cache", action: "get", key });
      return reply.hit ? { hit: true, value: valueOf(reply, reply.value) } : { hit: false };
    },
    /**
     * Keeps a value.
     * @param {string} key
     * @param {unknown} value JSON, or a Uint8Array
     * @param {{ ttlMs?: number, staleMs?: number }} [options]
     * @returns {Promise<void>}
     */
    async put(key, value, options = {}) {
      const content =
        value instanceof Uint8Array
          ? { base64: toBase64(value) }
          : { value: checkJson(value, "entry") };
      const command = { type: "cache", action: "put", key, ...content, ...toWire(options, "ttlMs staleMs") };
      return ask(/** @type {BridgeCommand} */ (command));
    },
    /**
     * Drops entries. Returns their number.
     * @param {{ key: string } | { prefix: string } | { glob: string } | { all: true }} selection
     * @returns {Promise<number>}
     */
    async invalidate(selection) {
      const [[by = "", value] = [], ...more] = Object.entries(selection ?? {});
      if (more.length || (by === "all" ? value !== true : !/^(key|prefix|glob)$/.test(by) || typeof value !== "string"))
        return refuse("selection");
      const pattern = by === "all" ? undefined : value;
      return pick(
        /** @type {BridgeCommand} */ ({ type: "cache", action: "invalidate", by, pattern }),
        "entries",
      );
    },
    /**
     * Returns a file of a watched folder, through the cache.
     * @param {string} path
     * @returns {Promise<string | Uint8Array>}
     */
    async file(path) {
      /** @type {{ text?: string, base64?: string }} */
      const reply = await ask({ type: "cache", action: "file", path });
      return /** @type {string | Uint8Array} */ (valueOf(reply, reply.text));
    },
    /**
     * Finds the files below a watched folder whose paths from there on match a glob, at most 10,000.
     * @param {string} folder
     * @param {string} query `*` and `?` match within a name, `**` any names
     * @returns {Promise<{ paths: string[], isPartial: boolean }>}
     */
    search: async (folder, query) =>
      fromWire(await ask({ type: "cache", action: "search", folder, query })),
    /** Returns the sizes and the watched folders. @returns {Promise<StatusReport["cache"]>} */
    stats: () => ask({ type: "cache", action: "show" }),
  };
}
