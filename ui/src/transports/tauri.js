import { handleError, ownError } from "../errors.js";

/**
 * @typedef {import("../session.js").Transport} Transport
 * @typedef {object} TauriInternals
 * @property {(command: string, args: Record<string, unknown>) => Promise<unknown>} invoke
 * @property {(callback: (message: ChannelMessage) => void) => number} transformCallback
 * @property {(id: number) => void} [unregisterCallback]
 * @typedef {{ index: number, end: true } | { index: number, message: string | object }} ChannelMessage
 */

/**
 * Creates a transport over Tauri's IPC: the command `send`, and the command `open` with a channel.
 * @param {TauriInternals} internals
 * @returns {Transport}
 */
export function tauriTransport(internals) {
  return {
    open({ onOpen, onMessage, onClose }) {
      let isOver = false;
      let next = 0;
      // The messages that came before their turn: large ones are later than small ones.
      /** @type {Map<number, ChannelMessage>} */
      const early = new Map();
      const session = internals.transformCallback((raw) => {
        early.set(raw.index, raw);
        for (let turn = early.get(next); turn && !isOver; turn = early.get(next)) {
          early.delete(next++);
          if ("end" in turn) finish(ownError("disconnected", "the session has ended"));
          else onMessage(turn.message);
        }
      });
      const forget = () => internals.unregisterCallback?.(session);
      /** @param {import("../errors.js").MainstayError} error */
      const finish = (error) => {
        if (isOver) return;
        isOver = true;
        forget();
        onClose(error);
      };
      /** @param {unknown} error */
      const fail = (error) =>
        finish(typeof error === "string" ? ownError("disconnected", error) : handleError(error));
      const leave = () => internals.invoke("plugin:mainstay|close", { session }).catch(() => {});
      internals
        .invoke("plugin:mainstay|open", { session, channel: `__CHANNEL__:${session}` })
        .then(() => (isOver ? leave() : onOpen()), fail);
      return {
        send: (text) => {
          internals.invoke("plugin:mainstay|send", { session, text }).catch((error) => {
            leave();
            fail(error);
          });
        },
        close: () => {
          if (isOver) return;
          isOver = true;
          forget();
          leave();
        },
      };
    },
  };
}
