import { handleError } from "../errors.js";

/**
 * @typedef {import("../session.js").Link} Link
 * @typedef {import("../session.js").Transport} Transport
 * @typedef {import("./tauri-link.js").ChannelMessage} ChannelMessage
 * @typedef {object} TauriInternals
 * @property {(command: string, args: Record<string, unknown>) => Promise<unknown>} invoke
 * @property {(callback: (message: ChannelMessage) => void) => number} transformCallback
 * @property {(id: number) => void} [unregisterCallback]
 */

/**
 * Creates a transport over Tauri's IPC.
 * @param {TauriInternals} internals
 * @returns {Transport}
 */
export function tauriTransport(internals) {
  return {
    open(events) {
      /** @type {Link | null} */
      let link = null;
      let isOver = false;
      import("./tauri-link.js").then(
        ({ openLink }) => {
          if (!isOver) link = openLink(internals, events);
        },
        (error) => isOver || events.onClose(handleError(error)),
      );
      return {
        send: (text) => link?.send(text),
        close: () => {
          isOver = true;
          link?.close();
        },
      };
    },
  };
}
