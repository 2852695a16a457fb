/**
 * `<mainstay-requests>`: the requests that run, wait or are held; each can be cancelled, waiting ones
 * reordered.
 *
 * @import { State } from "../store.js"
 * @typedef {Awaited<ReturnType<import("../client.js").Client["requests"]["list"]>>[number]} Pending
 * @typedef {"high" | "normal" | "low"} Priority
 */
import { button, define, h, MainstayElement } from "./base.js";
import { toast } from "./error-toast.js";
import { messageOf, more, text } from "./more.js";

const REFRESH_MS = 1000;

export class Requests extends MainstayElement {
  static css = `${more}
.held{background:var(--h)}ul{max-height:var(--mainstay-height,26rem);overflow:auto}
`;
  /** @type {Pending[]} */
  #list = [];
  /** @type {Map<number, {at: number, reason: string}>} */
  #retries = new Map();
  /** @type {Set<number>} */
  #cancelled = new Set();
  #readAt = 0;
  #isReading = false;
  #isStale = true;

  /**
   * @override
   * @param {State} state
   */
  select({ queue, isLive }) {
    this.#isStale = true;
    return [queue, isLive];
  }

  /** @override */
  start() {
    super.start();
    this.stops.push(
      this.client.onEvents(
        (batch) => {
          for (const event of batch.events ?? []) {
            if (event.kind !== "request_retry") continue;
            const { request_id: id, delay_ms: delay, reason } = event;
            this.#retries.set(id, { at: Date.now() + delay, reason });
          }
          this.#isStale = true;
          this.plan();
        },
        { kinds: ["request_retry"] },
      ),
    );
  }

  /** Reads the list again, one reading at a time. If the session is lost, the next state reads again. */
  async #read() {
    this.#isReading = true;
    this.#isStale = false;
    this.#list = await this.client.requests.list().catch(() => this.#list);
    this.#readAt = Date.now();
    this.#isReading = false;
    const ids = new Set(this.#list.map((request) => request.request_id));
    for (const marks of [this.#retries, this.#cancelled])
      for (const id of marks.keys()) if (!ids.has(id)) marks.delete(id);
    this.refresh();
  }

  /**
   * @param {Promise<unknown>} task
   * @param {number} [id]
   */
  async #after(task, id = 0) {
    this.refresh();
    await task.catch((error) => {
      this.#cancelled.delete(id);
      toast(error);
    });
    this.#isStale = true;
    this.refresh();
  }

  /** @param {number} id */
  #cancel(id) {
    this.#cancelled.add(id);
    return this.#after(this.client.requests.cancel(id), id);
  }

  /** @param {Pending} request */
  #row(request) {
    const { request_id: id, method, path, priority, phase, attempts, age_ms: age } = request;
    const isHeld = this.state.queue?.held && phase === "waiting";
    const name = `${method} ${path}`;
    const retry = phase === "backing_off" ? this.#retries.get(id) : null;
    const words = [
      text(isHeld ? "held" : `phase-${phase}`) + (retry ? ` ${this.when(retry.at)}` : ""),
      attempts > 1 && text("tries", { n: attempts }),
      retry && messageOf({ reason: retry.reason, message: retry.reason.replaceAll("_", " ") }),
    ]
      .filter(Boolean)
      .join(", ");
    const tone = phase === "running" ? "good" : isHeld || phase === "backing_off" ? "warn" : "";
    return h(
      `li.request line row wrap ${tone}`,
      { key: id },
      h("span.mark"),
      h("span.grow", {}, h("span.method soft", {}, method), " ", path),
      h("span.state", {}, words),
      h("span.note num", {}, text("age", { n: Math.floor((age + Date.now() - this.#readAt) / 1000) })),
      phase !== "running" &&
        h(
          "select.field priority",
          {
            value: priority,
            "aria-label": text("actOn", { action: text("priority"), id: name }),
            onchange: (/** @type {Event} */ { target }) => {
              request.priority = /** @type {Priority} */ (/** @type {HTMLSelectElement} */ (target).value);
              void this.#after(this.client.requests.setPriority(id, request.priority));
            },
          },
          ["high", "normal", "low"].map((value) => h("option", { key: value, value }, text(value))),
        ),
      button("bare", text("cancel"), () => this.#cancel(id), {
        isBusy: this.#cancelled.has(id),
        name: text("actOn", { action: text("cancel"), id: name }),
      }),
    );
  }

  /** @override */
  view() {
    const { queue, isLive } = this.state;
    if (!queue) return [];
    const { running, waiting, held, nextProbeAt } = queue;
    const { length } = this.#list;
    const isDue = this.#isStale || (length && Date.now() >= this.#readAt + REFRESH_MS);
    if (isDue && isLive && !this.#isReading && !document.hidden) void this.#read();
    if (length) this.again(REFRESH_MS);
    return [
      h(
        `.card ${isLive ? "" : "old"}`,
        {},
        h(
          ".head row wrap soft num",
          {},
          text("counts", { running, waiting }),
          !isLive && ` · ${text("old")}`,
        ),
        h(
          "",
          { role: "status" },
          held &&
            h(
              ".head row wrap held",
              {},
              h("span.soft", {}, text("held"), ": "),
              messageOf(held),
              nextProbeAt != null &&
                nextProbeAt > Date.now() &&
                h("span.soft num", { "aria-hidden": true }, text("probe", { when: this.when(nextProbeAt) })),
            ),
        ),
        length
          ? h(
              "ul",
              { tabindex: 0, "aria-label": text("requests") },
              this.#list.map((request) => this.#row(request)),
            )
          : h("p.empty", {}, text("noRequests")),
      ),
    ];
  }
}

define("mainstay-requests", Requests);
