/** The links in Tauri. The client loads this module with the first one. */
import { handleError, ownError } from "../errors.js";

/**
 * @typedef {import("../session.js").Link} Link
 * @typedef {import("../session.js").LinkEvents} LinkEvents
 * @typedef {import("./tauri.js").TauriInternals} TauriInternals
 * @typedef {{ index: number, end: true } | { index: number, message: string | object }} ChannelMessage
 */

/**
 * Opens a link over Tauri's IPC: the command `send`, and the command `open` with a channel.
 * @param {TauriInternals} internals
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openLink(internals, { onOpen, onMessage, onClose }) {
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
}
