/**
 * `<mainstay-error-toast>` and `toast(error, { retry })`: notices of what went wrong.
 *
 * A notice goes after 5 s, or 60 ms per character if that is longer. One that asks for a person stays: an
 * unknown outcome, a refusal, a wrong input, or opened details. Attributes: `duration` (milliseconds), `max`
 * (three).
 *
 * @typedef {import("../errors.js").MainstayError} MainstayError
 * @typedef {"error" | "warning" | "info"} Severity
 * @typedef {{retry?: () => unknown, severity?: Severity, title?: string, duration?: number}} ToastOptions
 * @typedef {ToastOptions & {pending?: string, done?: string}} PromiseOptions
 * @typedef {{error: MainstayError, options: ToastOptions, severity: Severity,
 *   count: number, shown: number, left: number, from: number,
 *   timer: ReturnType<typeof setTimeout> | undefined, isOpen: boolean, isBusy: boolean, copy: string}} Toast
 */
import { handleError } from "../errors.js";
import { button, define, h, MainstayElement } from "./base.js";
import { messageOf, text } from "./text.js";

const DURATION_MS = 5000;
const UNKNOWN = "outcome_unknown";
const MS_PER_CHARACTER = 60;
// More notices than this are not kept; the oldest go first.
const KEPT_MAX = 50;
// A live region that is new needs a moment before a change in it is spoken.
const REGION_MS = 100;
/** What a notice without an error has in place of one. */
const PLAIN = { code: "SERVER_ERROR", reason: "plain", retryable: false };
const STAYING = /outcome_unknown|crashed|no_answer|PERMISSION_DENIED|INVALID_INPUT/;

/** Returns the heading of a notice in the words of now. @param {Pick<Toast, "error" | "options" | "severity">} toast */
const titleOf = ({ error, options, severity }) =>
  options.title ?? text(error.reason === UNKNOWN ? "unknownOutcome" : severity);

/** Returns what equal notices have alike, in the words of now. @param {Pick<Toast, "error" | "options" | "severity">} toast */
const keyOf = (toast) => [toast.severity, titleOf(toast), toast.error.reason, messageOf(toast.error)].join();

/**
 * Returns the milliseconds for which a notice of an error is shown.
 * @param {MainstayError} error
 * @param {string} message
 * @param {number} [base]
 */
export function lifeOf({ code, reason }, message, base = DURATION_MS) {
  return STAYING.test(code + reason) ? Infinity : Math.max(base, MS_PER_CHARACTER * message.length);
}

export class ErrorToast extends MainstayElement {
  static css = `
:host{position:fixed;z-index:var(--mainstay-layer,9001);bottom:0;inset-inline:auto 0;width:min(27rem,100%);
max-height:100%;overflow:auto;padding:0 1rem 1rem;pointer-events:none}
.item{padding:.7em .9em;margin-top:.6em;border-inline-start:3px solid var(--c);pointer-events:auto;
animation:.18s in}
.outcome_unknown{border:1.5px dashed var(--c)}
@keyframes in{from{opacity:0;translate:0 .5em}}
p{margin:.2em 0 .5em}.count{background:var(--h);border-radius:1em;padding:0 .55em}.close{padding:0 .4em}
.more{margin:.5em;text-align:end}
details{color:var(--s)}[open]{flex:1 0 100%}summary{cursor:pointer;width:fit-content}pre{margin-top:.5em}
`;
  static observedAttributes = ["max"];
  /** @type {Toast[]} */
  #toasts = [];
  #isHovered = false;
  #polite = "";
  #assertive = "";
  /** @type {HTMLElement | null} */
  #before = null;

  /** @override */
  start() {
    const { root } = this;
    const run = () => this.#run();
    this.listen(document, "keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    for (const type of ["focusin", "focusout"]) this.listen(root, type, () => queueMicrotask(run));
    for (const type of ["pointerover", "pointerout"]) {
      this.listen(this, type, () => {
        this.#isHovered = type === "pointerover";
        run();
      });
    }
    this.stops.push(run);
  }

  /**
   * Shows a notice, or counts it with the same one that is shown.
   * @param {unknown} cause
   * @param {ToastOptions} [options]
   * @returns {() => void} takes it back: the notice goes with the last of those that it counts
   */
  show(cause, options) {
    const toast = this.#add(cause, options);
    toast.shown++;
    let own = 1;
    return () => {
      toast.count -= own;
      toast.shown -= own;
      own = 0;
      if (toast.shown) this.refresh();
      else this.#remove(toast);
    };
  }

  /**
   * @param {unknown} cause
   * @param {ToastOptions} [options]
   */
  #add(cause, options = {}) {
    const error = handleError(cause);
    const { reason } = error;
    const usual = reason === UNKNOWN ? "warning" : reason === "cancelled" ? "info" : "error";
    const severity = options.severity ?? usual;
    const title = titleOf({ error, options, severity });
    const message = messageOf(error);
    const left = options.duration ?? lifeOf(error, message, this.number("duration", DURATION_MS));
    const key = keyOf({ error, options, severity });
    let toast = this.#toasts.find((one) => keyOf(one) === key);
    if (!toast) {
      toast = {
        error,
        options,
        severity,
        left,
        count: 0,
        shown: 0,
        from: 0,
        timer: undefined,
        isOpen: false,
        isBusy: false,
        copy: "copy",
      };
      this.#toasts.unshift(toast);
    }
    this.#halt(toast);
    Object.assign(toast, { error, options, left, count: toast.count + 1, isBusy: false });
    const words = toast.count > 1 ? text("again", { message, n: toast.count }) : `${title}. ${message}`;
    if (severity === "info") this.#polite = words;
    else this.#assertive = words;
    for (const old of this.#toasts.splice(KEPT_MAX)) this.#halt(old);
    this.refresh();
    return toast;
  }

  /** @param {Toast} toast */
  #halt(toast) {
    clearTimeout(toast.timer);
    toast.timer = undefined;
  }

  /** Starts and pauses the time of each notice, as far as it is shown and the page is looked at. */
  #run() {
    const isPaused = this.#isHovered || this.root.activeElement || document.hidden || !this.isConnected;
    const max = this.number("max", 3);
    const now = performance.now();
    this.#toasts.forEach((toast, index) => {
      const isRunning = !isPaused && toast.left < Infinity && index < max && !toast.isOpen;
      if (toast.timer && !isRunning) {
        this.#halt(toast);
        toast.left -= now - toast.from;
      } else if (!toast.timer && isRunning) {
        toast.from = now;
        toast.timer = setTimeout(() => this.#remove(toast), toast.left);
      }
    });
  }

  /** @param {Toast} toast */
  #remove(toast) {
    const at = this.#toasts.indexOf(toast);
    if (at < 0) return;
    this.#halt(toast);
    this.#toasts.splice(at, 1);
    const row = this.root.activeElement?.closest("li");
    const hadFocus = row && row === this.root.querySelectorAll("li")[at];
    if (!this.#toasts.length) {
      this.#polite = this.#assertive = "";
      this.#isHovered = false;
    }
    this.refresh();
    if (hadFocus) this.#focus();
  }

  /** Gives the focus to the newest notice, or back to where it was if there is none. */
  #focus() {
    (this.find(".close") ?? this.#before)?.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const active = /** @type {HTMLElement | null} */ (this.root.activeElement);
    if (event.key === "F6" && this.#toasts.length) {
      event.preventDefault();
      if (active) {
        active.blur();
        this.#before?.focus();
      } else {
        this.#before = /** @type {HTMLElement | null} */ (document.activeElement);
        this.#focus();
      }
    }
    if (event.key !== "Escape" || !active) return;
    const toast =
      this.#toasts[[...this.root.querySelectorAll("li")].findIndex((row) => row.contains(active))];
    if (toast) this.#remove(toast);
  }

  /** @param {Toast} toast */
  async #retry(toast) {
    toast.isBusy = true;
    this.refresh();
    try {
      await toast.options.retry?.();
      this.#remove(toast);
    } catch (error) {
      if (this.#add(error, toast.options) !== toast) this.#remove(toast);
    }
  }

  /** @param {Toast} toast */
  async #copy(toast) {
    try {
      await navigator.clipboard.writeText(JSON.stringify(toast.error, null, 2));
      toast.copy = "copied";
    } catch {
      toast.copy = "notCopied";
    }
    this.refresh();
  }

  /** @param {Toast} toast */
  #row(toast) {
    const { error, options, severity, count, isBusy } = toast;
    const title = titleOf(toast);
    const { code, reason, status, attempts, requestId, details } = error;
    const facts = [
      code,
      reason,
      status && `HTTP ${status}`,
      attempts && text("tries", { n: attempts }),
      requestId && `#${requestId}`,
    ]
      .filter(Boolean)
      .join(" · ");
    return h(
      `li.item card raised ${reason} ${{ error: "bad", warning: "warn", info: "" }[severity]}`,
      { key: toast },
      h(
        ".row",
        {},
        h("span.mark"),
        h("b.title", {}, title),
        count > 1 && h("span.count", {}, text("times", { n: count })),
        h("span.grow"),
        button("bare close", "×", () => this.#remove(toast), { name: text("close", { title }) }),
      ),
      h("p", {}, messageOf(error)),
      reason !== PLAIN.reason &&
        h(
          ".row wrap",
          {},
          options.retry &&
            error.retryable &&
            button("main", text("tryAgain"), () => this.#retry(toast), { isBusy }),
          button("copy", text(toast.copy), () => this.#copy(toast), { key: "copy" }),
          h(
            "details",
            {
              ontoggle: (/** @type {Event} */ { target }) => {
                toast.isOpen = /** @type {HTMLDetailsElement} */ (target).open;
                this.#run();
              },
            },
            h("summary", {}, text("details")),
            h("pre", { tabindex: 0 }, details ? `${facts}\n${details}` : facts),
          ),
        ),
    );
  }

  /** @override */
  view() {
    const max = this.number("max", 3);
    const { length } = this.#toasts;
    this.#run();
    return [
      h(".spoken", { role: "status" }, this.#polite),
      h(".spoken", { role: "alert" }, this.#assertive),
      h(
        "section.notices",
        length ? { role: "region", "aria-label": text("notices") } : {},
        h(
          "ol",
          {},
          this.#toasts.slice(0, max).map((toast) => this.#row(toast)),
        ),
        length > max && h(".more", {}, h("span.card count", {}, text("more", { n: length - max }))),
      ),
    ];
  }
}

define("mainstay-error-toast", ErrorToast);

// The time from which a change in the region that `toast` made is spoken.
let readyAt = 0;

/**
 * Shows an error in the page's `<mainstay-error-toast>`; makes one if there is none.
 *
 * Nothing is shown for a lost connection without `retry` while `<mainstay-connection-status>` shows it.
 * @param {unknown} error
 * @param {ToastOptions} [options]
 * @returns {() => void} takes the notice back, once: it goes with the last of equal ones
 */
export function toast(error, options = {}) {
  const banner = document.querySelector(
    "mainstay-connection-status[data-state]:not([data-state=ok],[data-state=back])",
  );
  if (banner && !options.retry && handleError(error).reason === "disconnected") return () => {};
  let region = /** @type {ErrorToast | null} */ (document.querySelector("mainstay-error-toast"));
  if (!region) {
    region = /** @type {ErrorToast} */ (document.createElement("mainstay-error-toast"));
    document.body.append(region);
    readyAt = performance.now() + REGION_MS;
  }
  const show = () => /** @type {ErrorToast} */ (region).show(error, options);
  const wait = readyAt - performance.now();
  if (wait <= 0) return show();
  let remove = () => {};
  const timer = setTimeout(() => (remove = show()), wait);
  return () => {
    clearTimeout(timer);
    remove();
  };
}

/**
 * Shows a notice without an error.
 * @param {string} message
 * @param {ToastOptions} [options]
 */
const note = (message, options) =>
  toast({ ...PLAIN, message }, { ...options, severity: "info" });

/**
 * Follows a request: shows `pending` until it ends, and then `done` or its error. *Try again* calls it once more.
 * Never rejects.
 * @template T
 * @param {Promise<T> | (() => Promise<T>)} request a function, or a promise, which cannot be tried again
 * @param {PromiseOptions} [options]
 * @returns {Promise<{ok: true, value: T} | {ok: false, error: MainstayError}>}
 */
toast.promise = async (request, { pending, done, ...options } = {}) => {
  const run = async () => {
    const stop = pending ? note(pending, { duration: Infinity }) : () => {};
    try {
      const value = await (typeof request === "function" ? request() : request);
      if (done) note(done);
      return value;
    } finally {
      stop();
    }
  };
  try {
    return { ok: true, value: await run() };
  } catch (thrown) {
    const error = handleError(thrown);
    toast(error, { ...(typeof request === "function" && { retry: run }), ...options });
    return { ok: false, error };
  }
};
