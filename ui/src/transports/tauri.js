import { handleError, ownError } from "../errors.js";

/**
 * @typedef {import("../session.js").Transport} Transport
 * @typedef {object} TauriInternals
 * @property {(command: string, args: Record<string, unknown>) => Promise<unknown>} invoke
 * @property {(callback: (message: ChannelMessage) => void) => number} transformCallback
 * @property {(id: number) => void} [unregisterCallback]
 * @typedef {{ index: number, message?: unknown, end?: true }} ChannelMessage
 */

/** Puts the messages of a channel in order: they may arrive in another one. */
class ChannelOrder {
  #next = 0;
  /** @type {Map<number, ChannelMessage>} */ #early = new Map();

  /**
   * @param {ChannelMessage} message
   * @param {(message: ChannelMessage) => void} deliver
   */
  take(message, deliver) {
    this.#early.set(message.index, message);
    for (;;) {
      const next = this.#early.get(this.#next);
      if (!next) return;
      this.#early.delete(this.#next++);
      deliver(next);
    }
  }
}

/**
 * Creates a transport over Tauri's IPC: the command `send`, and the command `open` with a channel.
 * @param {TauriInternals} internals
 * @returns {Transport}
 */
export function tauriTransport(internals) {
  return {
    open({ onOpen, onMessage, onClose }) {
      let isOver = false;
      const order = new ChannelOrder();
      const session = internals.transformCallback((raw) => {
        order.take(raw, (message) => {
          if (isOver) return;
          if ("end" in message) finish(ownError("disconnected", "the runtime has ended the session"));
          else onMessage(toText(message.message));
        });
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
      const fail = (error) => finish(typeof error === "string" ? ownError("disconnected", error) : handleError(error));
      const leave = () => internals.invoke("plugin:mainstay|close", { session }).catch(() => {});
      internals.invoke("plugin:mainstay|open", { session, channel: `__CHANNEL__:${session}` }).then(
        () => (isOver ? leave() : onOpen()),
        fail,
      );
      return {
        send: (text) => void internals.invoke("plugin:mainstay|send", { session, text }).catch(fail),
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

/** @param {unknown} message */
function toText(message) {
  if (message instanceof ArrayBuffer) return new TextDecoder().decode(message);
  return /** @type {string | object} */ (message);
}
