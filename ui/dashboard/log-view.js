/** `<dash-log log="ID">`: the last lines of a program: follow, search, copy. Only the lines that fit are kept. */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { messageOf, more } from "../src/elements/more.js";
import { text } from "./texts.js";

/** @typedef {import("../protocol.d.ts").LogLine} LogLine */

const LINES_MAX = 2000;
const FIRST_LINES = 500;

export class DashLog extends MainstayElement {
  static css = `${more}
:host{display:flex;flex-direction:column;min-height:12rem;height:100%}
.card{display:flex;flex-direction:column;flex:1;min-height:0}
.lines{flex:1;min-height:0;max-height:none;overflow:auto;padding:.6em .9em;font:.86em/1.5 ui-monospace,monospace;outline-offset:-2px}
.line2{display:flex;gap:.9em;white-space:pre-wrap;overflow-wrap:anywhere}.line2 .at{flex:none;color:var(--s)}
.err{color:var(--e)}.kind-note{color:var(--s);font-style:italic}
label{display:flex;gap:.35em;align-items:center}
`;
  static observedAttributes = ["log"];
  /** @type {(LogLine & { key: number })[]} */
  #lines = [];
  #next = 0;
  #search = "";
  #isFollowing = true;
  /** @type {unknown} */
  #error = null;
  #isCopied = false;
  #stop = () => {};
  #of = "";

  /** @override */
  select() {
    return [];
  }

  #listen() {
    const log = this.getAttribute("log") ?? "";
    if (this.#of === log) return;
    this.#stop();
    this.#of = log;
    this.#lines = [];
    this.#error = null;
    this.#stop = log
      ? this.client.onLog(log, (item) => this.#take(item), { lines: FIRST_LINES })
      : () => {};
  }

  /** @param {import("../src/streams.js").LogItem} item */
  #take(item) {
    if ("error" in item && item.error) this.#error = item.error;
    const lines = "lines" in item ? (item.lines ?? []) : [];
    this.#lines.push(...lines.map((line) => ({ ...line, key: this.#next++ })));
    this.#lines.splice(0, Math.max(0, this.#lines.length - LINES_MAX));
    this.plan();
  }

  /** @override */
  start() {
    super.start();
    this.#of = "";
    this.stops.push(() => {
      this.#stop();
      this.#of = "";
    });
  }

  /** @param {LogLine[]} lines */
  async #copy(lines) {
    await navigator.clipboard.writeText(lines.map(({ at, text: words }) => `${at} ${words}`).join("\n"));
    this.#isCopied = true;
    this.refresh();
    setTimeout(() => {
      this.#isCopied = false;
      this.refresh();
    }, 2000);
  }

  /** @override */
  refresh() {
    super.refresh();
    const list = this.stops.length ? this.root.querySelector(".lines") : null;
    if (list && this.#isFollowing) list.scrollTop = list.scrollHeight;
  }

  /** @override */
  view() {
    this.#listen();
    const all = this.#lines;
    const found = this.#search ? all.filter((line) => line.text.toLowerCase().includes(this.#search)) : all;
    const id = this.getAttribute("log") ?? "";
    const label = text("logSearch");
    const empty = this.#error
      ? text("logFailed", { reason: messageOf(/** @type {never} */ (this.#error)) })
      : text("logEmpty");
    return [
      h(
        ".card",
        {},
        h(
          ".head row wrap",
          {},
          h("input.field grow", {
            type: "search",
            placeholder: label,
            "aria-label": label,
            oninput: (/** @type {Event} */ { target }) => {
              this.#search = /** @type {HTMLInputElement} */ (target).value.trim().toLowerCase();
              this.refresh();
            },
          }),
          h("span.note num", {}, this.#search ? text("logFound", { n: found.length, all: all.length }) : text("logLines", { n: all.length })),
          h(
            "label",
            {},
            h("input", {
              type: "checkbox",
              checked: this.#isFollowing ? "" : null,
              onchange: (/** @type {Event} */ { target }) => {
                this.#isFollowing = /** @type {HTMLInputElement} */ (target).checked;
                this.refresh();
              },
            }),
            text("logFollow"),
          ),
          button("copy", text(this.#isCopied ? "logCopied" : "logCopy"), () => void this.#copy(found), { key: "copy" }),
        ),
        found.length > 0
          ? h(
              ".lines",
              {
                key: "lines",
                tabindex: 0,
                role: "log",
                "aria-label": text("logOf", { id }),
                onscroll: (/** @type {Event} */ { target }) => {
                  const { scrollTop, clientHeight, scrollHeight } = /** @type {HTMLElement} */ (target);
                  const isAtEnd = scrollTop + clientHeight >= scrollHeight - 30;
                  if (isAtEnd !== this.#isFollowing) {
                    this.#isFollowing = isAtEnd;
                    /** @type {HTMLInputElement} */ (this.find("[type=checkbox]")).checked = isAtEnd;
                  }
                },
              },
              found.map(({ key, at, stream, text: words }) =>
                h(
                  `.line2 ${stream === "err" ? "err" : stream === "note" ? "kind-note" : ""}`,
                  { key },
                  h("span.at num", {}, new Date(at).toLocaleTimeString([], { timeStyle: "medium" })),
                  h("span.text", {}, words),
                ),
              ),
            )
          : h("p.empty", { key: "empty" }, empty),
      ),
    ];
  }
}

define("dash-log", DashLog);
