/**
 * `<mainstay-events>`: the journal's events, newest at the end, of which only the visible rows exist.
 *
 * Attributes: `max` (events kept, 100,000), `history` (earlier events to begin with, 1,000), and `actor`, which shows
 * those of one actor and its descendants. The property `events` has what is kept.
 *
 * @import { State } from "../store.js"
 * @typedef {{kind: string, actor?: string, at: string | number, run?: number, seq: number}} Header
 * @typedef {Record<string, unknown> & Header} Item
 * @typedef {{key: string, item: Item, words: string, search: string}} Entry
 */
import { button, define, h, MainstayElement } from "./base.js";
import { more, text } from "./more.js";
import { sentenceOf } from "./sentences.js";
import { onText } from "./text.js";

const ROW_PX = 28;
const OVERSCAN = 6;
// Dropped events are taken out this many at once, which keeps the cost of each small.
const SLACK = 1000;
const HEADER = /^(run|seq|at|mono_ms|actor|generation|kind|crc|inputs)$/;
const BAD = /fail|gave_up|escalated|timed_out|dead_letter|stuck|overflow/;
const WARN = /exit|lost|lagged|degraded|quarantin|held|retry|gap|orphan|warning|noisy|unsent|interrupted/;

/**
 * Returns the fields of an event in one line.
 * @param {Item} item
 */
export const wordsOf = (item) =>
  Object.entries(item)
    .filter(([name, value]) => value != null && !HEADER.test(name))
    .map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(" ");

/** Gives an entry the words of the present table. @param {Entry} entry */
function describe(entry) {
  const { item } = entry;
  const fields = wordsOf(item);
  entry.words = sentenceOf(item) ?? fields;
  entry.search = `${item.kind} ${item.actor} ${entry.words} ${fields}`.toLowerCase();
  return entry;
}

export class Events extends MainstayElement {
  static css = `${more}
:host{container-type:inline-size}
.list{contain:strict;overflow-anchor:none;position:relative}select{max-width:13em}
.event{position:absolute;inset:0 0 auto;height:28px;padding:0 .9em;contain:strict}
.event:hover{background:var(--h)}.event[aria-selected]{background:color-mix(in srgb,var(--a) 18%,transparent)}
.event *{flex:none;unicode-bidi:plaintext;overflow:hidden;text-overflow:ellipsis;white-space:pre}
b{width:12em}.event .grow{flex:1}
.event:not(.bad,.warn) .mark{opacity:.4}
.newest{position:absolute;bottom:.8em;left:50%;translate:-50%}
pre{padding:.8em 1em;border-top:1px solid var(--l);flex:none}
@container(max-width:560px){b,.event .path{display:none}}
.tall>.empty{position:absolute;inset:4em 0 auto}
`;
  static observedAttributes = ["max", "actor"];
  /** @type {Entry[]} */
  #all = [];
  /** @type {Entry[]} */
  #list = [];
  /** @type {Set<string>} */
  #kinds = new Set();
  #kind = "";
  #search = "";
  /** @type {Entry | null} */
  #active = null;
  // The number of events at the last rendering, and at the last one that showed the end.
  #shown = 0;
  #seen = 0;
  #isAtEnd = true;
  #isBegun = false;
  #lags = 0;
  #height = 0;
  #top = 0;
  #format = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

  /** Returns what is kept, oldest first. */
  get events() {
    return this.#all.map(({ item }) => item);
  }

  get #view() {
    return this.find(".list");
  }

  /**
   * @override
   * @param {State} state
   */
  select({ status }) {
    return [!status];
  }

  /** @override */
  start() {
    super.start();
    this.#isBegun = false;
    this.refresh();
    const resize = new ResizeObserver(([{ contentRect }]) => {
      this.#height = contentRect.height;
      this.plan();
    });
    resize.observe(this.#view);
    const translate = () => {
      this.#all.forEach(describe);
      this.#list = this.#all.filter((entry) => this.#matches(entry));
      this.refresh();
    };
    this.stops.push(() => resize.disconnect(), onText(translate));
  }

  /** Subscribes once the present event's number is known, for the history before it. */
  #begin() {
    const runtime = this.state.status?.runtime;
    if (this.#isBegun || !runtime) return;
    this.#isBegun = true;
    const after =
      this.#all.at(-1)?.key ?? `${runtime.run}.${Math.max(0, runtime.seq - this.number("history", 1000))}`;
    this.stops.push(
      this.client.onEvents(
        ({ events, lagged }) => {
          if (lagged)
            this.add([{ kind: "lagged", at: Date.now(), seq: ++this.#lags, ...lagged }]);
          this.add(/** @type {Item[]} */ (/** @type {unknown} */ (events ?? [])));
        },
        { after },
      ),
    );
  }

  /**
   * Adds events at the end. They are shown with the next frame.
   * @param {Item[]} items
   */
  add(items) {
    for (const item of items) {
      const entry = describe({ key: `${item.run}.${item.seq}`, item, words: "", search: "" });
      this.#all.push(entry);
      this.#kinds.add(item.kind);
      if (this.#matches(entry)) this.#list.push(entry);
    }
    const over = this.#all.length - this.number("max", 100000);
    if (over > SLACK) {
      const gone = this.#all.splice(0, over).filter((entry) => this.#matches(entry)).length;
      this.#list.splice(0, gone);
      this.#seen = Math.max(0, this.#seen - gone);
      this.#view.scrollTop -= gone * ROW_PX;
    }
    this.plan();
  }

  /** @param {Entry} entry */
  #matches({ item, search }) {
    const actor = this.getAttribute("actor");
    const isOfActor = !actor || item.actor === actor || item.actor?.startsWith(`${actor}/`);
    return isOfActor && (!this.#kind || item.kind === this.#kind) && search.includes(this.#search);
  }

  /**
   * @override
   * @param {string} [name]
   */
  attributeChangedCallback(name) {
    if (name === "actor" && this.stops.length) this.#filter();
    else super.attributeChangedCallback();
  }

  #filter() {
    this.#list = this.#all.filter((entry) => this.#matches(entry));
    this.#toEnd();
  }

  #toEnd() {
    this.#isAtEnd = true;
    this.refresh();
  }

  #scrolled() {
    this.#top = this.#view.scrollTop;
    this.#isAtEnd = this.#top + this.#height >= (this.#shown - 1) * ROW_PX;
    this.plan();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const list = this.#list;
    const last = list.length - 1;
    const page = Math.floor(this.#height / ROW_PX) - 1;
    const first = Math.ceil(this.#top / ROW_PX);
    const at = this.#active ? list.indexOf(this.#active) : -1;
    /** @type {Record<string, number>} */
    const targets = {
      ArrowDown: at < 0 ? first : at + 1,
      ArrowUp: at < 0 ? first + page : at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: last,
    };
    if (event.key === "Escape") this.#active = null;
    else if (event.key in targets && last >= 0) {
      event.preventDefault();
      const next = Math.min(last, Math.max(0, targets[event.key]));
      this.#active = list[next];
      this.#isAtEnd = next === last;
      this.#view.scrollTop = Math.min(next * ROW_PX, Math.max(this.#top, (next + 1) * ROW_PX - this.#height));
      this.#top = this.#view.scrollTop;
    }
    this.refresh();
  }

  /**
   * @param {Entry} entry
   * @param {number} index
   */
  #row(entry, index) {
    const { key, item, words } = entry;
    const { actor = "" } = item;
    const tone = BAD.test(item.kind) ? "bad" : WARN.test(item.kind) ? "warn" : "";
    return h(
      `.event row ${tone}`,
      {
        key,
        id: `e${key}`,
        role: "option",
        style: `transform:translateY(${index * ROW_PX}px)`,
        "aria-selected": entry === this.#active,
        "aria-posinset": index + 1,
        "aria-setsize": this.#list.length,
        onclick: () => {
          this.#active = entry;
          this.refresh();
        },
      },
      h("span.mark"),
      h("span.note num", {}, this.#format.format(new Date(item.at))),
      h("b.kind", {}, item.kind),
      h(
        "span.words note grow",
        {},
        h("span.path", { key: "path" }, actor.slice(0, actor.lastIndexOf("/") + 1)),
        actor.slice(actor.lastIndexOf("/") + 1),
        "  ",
        words,
      ),
    );
  }

  /** Describes the rows in sight. Their keys keep them, so new events leave focus and selection alone. */
  #rows() {
    if (this.#isAtEnd) this.#top = Math.max(0, this.#list.length * ROW_PX - this.#height);
    const first = Math.max(0, Math.floor(this.#top / ROW_PX) - OVERSCAN);
    const end = Math.ceil((this.#top + this.#height) / ROW_PX) + OVERSCAN;
    return this.#list.slice(first, end).map((entry, index) => this.#row(entry, first + index));
  }

  /** @override */
  refresh() {
    super.refresh();
    if (this.#isAtEnd && this.stops.length) this.#view.scrollTop = this.#list.length * ROW_PX;
  }

  /** @override */
  view() {
    this.#begin();
    const { length } = this.#list;
    this.#shown = length;
    if (this.#isAtEnd) this.#seen = length;
    const news = length - this.#seen;
    const search = text("search");
    return [
      h(
        ".card tall",
        {},
        h(
          ".head row wrap",
          {},
          h(
            "select.field filter",
            {
              "aria-label": text("kind"),
              onchange: (/** @type {Event} */ { target }) => {
                this.#kind = /** @type {HTMLSelectElement} */ (target).value;
                this.#filter();
              },
            },
            ["", ...[...this.#kinds].sort()].map((kind) =>
              h("option", { key: kind, value: kind }, kind || text("allKinds")),
            ),
          ),
          h("input.field grow", {
            type: "search",
            "aria-label": search,
            placeholder: search,
            oninput: (/** @type {Event} */ { target }) => {
              this.#search = /** @type {HTMLInputElement} */ (target).value.trim().toLowerCase();
              this.#filter();
            },
          }),
          h("span.total soft num", {}, text("shown", { n: length })),
        ),
        h(
          ".list fill",
          {
            role: "listbox",
            tabindex: 0,
            "aria-label": text("events"),
            "aria-activedescendant": this.#active && `e${this.#active.key}`,
            onscroll: () => this.#scrolled(),
            onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
          },
          h("", { role: "presentation", style: `height:${length * ROW_PX}px` }),
          this.#rows(),
        ),
        !length && h("p.empty", {}, text("noEvents")),
        h(
          "",
          { style: "position:relative" },
          !this.#isAtEnd &&
            length > 0 &&
            button(
              "newest raised",
              news ? `${text("newest")} · ${news}` : text("newest"),
              () => this.#toEnd(),
              {
                key: "newest",
              },
            ),
        ),
        this.#active && h("pre.details", { tabindex: 0 }, JSON.stringify(this.#active.item, null, 2)),
      ),
    ];
  }
}

define("mainstay-events", Events);
