/**
 * `<mainstay-connection-status>`: the link to the backend, and this page's session with the runtime.
 *
 * It shows nothing while all is well, and nothing in the first second of an outage. Attributes: `grace`
 * (milliseconds before it shows, 1,000), `linger` (milliseconds of "Connected again", 1,500), and
 * `placement="inline"` for a place in the page, which keeps its height.
 *
 * @typedef {import("../store.js").State} State
 * @typedef {import("../connection-view.js").ConnectionView} ConnectionView
 */
import { connectionView } from "../connection-view.js";
import { button, define, h, MainstayElement } from "./base.js";
import { messageOf, text } from "./text.js";

const OUTCOME_MS = 8000;
// A timer that is this late shows that the page stood still. The grace begins again then.
const LATE_MS = 1000;
/** @type {Record<string, string>} */
const TONES = { failed: "bad", reconnecting: "warn", back: "good" };

/**
 * Returns the reason for a person. A lost session says nothing about the backend.
 * @param {{reason?: string, message?: string} | null} error
 */
const reasonOf = (error) => (error?.reason === "disconnected" ? "" : messageOf(error));

export class ConnectionStatus extends MainstayElement {
  static css = `
:host{position:fixed;z-index:var(--mainstay-layer,9000);inset:.75rem .75rem auto;pointer-events:none}
.banner>*{width:min(36rem,100%);margin:auto;padding:.6em .6em .6em .9em;align-items:start;pointer-events:auto}
.mark{margin-top:.45em}button{min-width:9.8em}
.banner>.ok{opacity:0;pointer-events:none}
:host([placement=inline]){position:static}
:host([placement=inline]) .card{width:auto;height:5.5em;overflow:auto;box-shadow:none}
`;
  static observedAttributes = ["placement"];
  /** @type {number | null} */
  #since = null;
  #isShown = false;
  #backUntil = 0;
  #isAsking = false;
  #outcome = "";
  #outcomeUntil = 0;
  #giveUp = () => {};

  /**
   * @override
   * @param {State} state
   */
  select({ session, connection, isLive }) {
    return [session, connection, isLive];
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    this.#giveUp();
    this.#since = null;
    this.#isShown = false;
    this.#backUntil = 0;
  }

  /** Dials now: the runtime, or the backend if this page has the runtime. Its outcome is shown. */
  async reconnect() {
    this.#isAsking = true;
    this.#outcomeUntil = 0;
    this.refresh();
    try {
      if (this.state.isLive) await this.client.connection.reconnect();
      else await this.#dialRuntime();
    } catch (error) {
      this.#outcome = text("stillFailed", { reason: reasonOf(/** @type {Error} */ (error)) });
      this.#outcomeUntil = Date.now() + OUTCOME_MS;
    }
    this.#isAsking = false;
    this.refresh();
  }

  /** Dials the runtime. Waits for the outcome, or for the end of the client or of this element. */
  async #dialRuntime() {
    const { store } = this.client;
    const session = () => store.getState().session;
    this.client.retryNow();
    await new Promise((resolve) => {
      const look = () => {
        if (this.stops.length && session().state === "connecting") return;
        stop();
        this.#giveUp = () => {};
        resolve(null);
      };
      const stop = store.subscribe(look);
      this.#giveUp = look;
      look();
    });
    const { error, state } = session();
    if (error || state === "closed") throw error;
  }

  /**
   * Returns the state to show: none in the grace, and "back" for a moment after an outage that was shown.
   * @param {ConnectionView} view
   */
  #visible({ state }) {
    const now = Date.now();
    const { closed } = this.client;
    if (state === "connected" || state === "disabled" || closed) {
      this.#since = null;
      if (this.#isShown && !closed) this.#backUntil = now + this.number("linger", 1500);
      this.#isShown = false;
      if (now >= this.#backUntil) return "ok";
      this.again(this.#backUntil - now);
      return "back";
    }
    const grace = now < this.#backUntil ? 0 : this.number("grace", 1000);
    if (this.#since == null || (!this.#isShown && now > this.#since + grace + LATE_MS)) this.#since = now;
    this.#isShown ||= now >= this.#since + grace;
    if (this.#isShown) return state;
    this.again(this.#since + grace - now);
    return "ok";
  }

  /**
   * Describes what is said. The digits are not announced, so that each attempt is announced once.
   * @param {string} kind
   * @param {ConnectionView} view
   * @param {boolean} isDialling
   */
  #words(kind, { attempt: n, max, nextAttemptAt: at, lastError, link }, isDialling) {
    if (kind === "back") return h("b.title", {}, text(kind));
    const left = this.#outcomeUntil - Date.now();
    if (left > 0) this.again(left);
    const reason =
      left > 0
        ? this.#outcome
        : [
            reasonOf(lastError) ||
              (link === "runtime"
                ? kind !== "connecting" && text("old")
                : kind === "disconnected" && text("asked")),
            kind === "failed" && at == null && text("paused"),
          ]
            .filter(Boolean)
            .join(" ");
    return h(
      "",
      {},
      h("b.title", {}, text(link === "runtime" && kind !== "connecting" ? "page" : `link-${kind}`)),
      " ",
      n > 0 && h("span.soft", {}, text(max ? "attemptOf" : "attempt", { n, max })),
      at != null && !isDialling && h("span.countdown soft num", { "aria-hidden": true }, ", ", this.when(at)),
      h(".note reason", {}, reason),
    );
  }

  /** @override */
  view() {
    const view = connectionView(this.state);
    const kind = this.#visible(view);
    const { state, nextAttemptAt: at } = view;
    const isDialling = this.#isAsking || state === "connecting" || (state === "reconnecting" && at == null);
    if (this.dataset.state !== kind) this.dataset.state = kind;
    const isOk = kind === "ok";
    const words = !isOk && this.#words(kind, view, isDialling);
    return [
      h(
        ".banner",
        {},
        h(
          `.card raised row wrap ${kind} ${TONES[kind] ?? ""}`,
          {},
          h("span.mark"),
          h(
            ".grow",
            {},
            h("", { role: "status" }, kind !== "failed" && words),
            h("", { role: "alert" }, kind === "failed" && words),
          ),
          !isOk &&
            kind !== "back" &&
            button("main", text(isDialling ? "dialling" : "reconnect"), () => this.reconnect(), {
              isBusy: isDialling,
              key: "dial",
            }),
        ),
      ),
    ];
  }
}

define("mainstay-connection-status", ConnectionStatus);
