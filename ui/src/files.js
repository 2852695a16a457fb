/** The stream of changes in the watched folders. The client loads this module with the first listener. */
import { createListeners } from "./listeners.js";
import { subscribe } from "./streams.js";

/**
 * @typedef {import("./session.js").Session} Session
 * @typedef {import("./streams.js").FileItem} FileItem
 */

/**
 * Creates the stream of changes in the watched folders.
 * @param {Session} session
 */
export function createFiles(session) {
  let isKnown = false;
  const { entries, add, giveAll } = /** @type {typeof createListeners<FileItem>} */ (createListeners)(
    (isEmpty) => {
      if (!isEmpty) return;
      isKnown = false;
      session.tell({ type: "files", action: "unlisten" });
    },
  );
  const ask = () => {
    isKnown = session.isUp();
    subscribe(session, { type: "files", action: "listen" }, giveAll);
  };
  return {
    /** @param {(item: FileItem) => void} listener */
    listen(listener) {
      const stop = add({ listener });
      if (entries.size === 1) ask();
      return stop;
    },
    /**
     * Listens over a new link. Changes may be missing, so each folder is to be read again.
     * @param {{ path: string }[]} folders
     */
    open(folders) {
      if (isKnown) for (const { path } of folders) giveAll({ kind: "rescan", root: path, path });
      if (entries.size) ask();
    },
    onPush: giveAll,
    close: () => entries.clear(),
  };
}
