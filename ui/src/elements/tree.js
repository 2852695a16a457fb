/**
 * `<mainstay-tree>`: the supervision tree as a drawing, with state, incarnation, restart budget, mailbox and memory.
 *
 * Attribute `current` marks the open actor. Property `past` shows an earlier moment, `{ at, tree }`, in place of now. The
 * event `mainstay-open`, with the path as its detail, says that a person opened an actor.
 *
 * @import { State } from "../store.js"
 * @typedef {import("./tree-rows.js").ActorNode} ActorNode
 * @typedef {{ at: string, tree: import("../../protocol.d.ts").HistoryNode | null }} PastTree
 * @typedef {import("./tree-rows.js").TreeRow} TreeRow
 */
import { define, h, MainstayElement } from "./base.js";
import { more, text } from "./more.js";
import { addText } from "./text.js";
import { fromHistory, meterOf, restartedIn, rowsOf } from "./tree-rows.js";
import { rowsInSight, scrollTo } from "./windowed.js";

addText({
  tree: "Supervision tree",
  noTree: "The tree is not known yet.",
  noTreeThen: "The runtime did not run then.",
  down: "Down",
  running: "Running",
  stopping: "Stopping",
  holds: "Holds {n} request|Holds {n} requests",
  suspended: "Suspended",
  incarnation: "incarnation {n}",
  budgetLeft: "{n} of {max} restarts left",
  budgetOpen: "no limit of restarts",
  mailbox: "{n} message waits|{n} messages wait",
  memory: "{size} of memory",
  justRestarted: "restarted",
  colState: "State",
  colBudget: "Restarts left",
  colMailbox: "Mailbox",
  colMemory: "Memory",
});

const ROW_PX = 34;
const NARROW_ROW_PX = 40;
const NARROW_PX = 520;
/** The time for which a row says that it was restarted. */
const NEWS_MS = 6000;
const PIPS_MAX = 10;
/** @type {Record<string, string>} */
const TONES = { running: "good", starting: "warn", restarting: "warn", degraded: "warn", down: "bad", failed: "bad" };
/** @type {Record<string, string>} */
const AGENT_TONES = { degraded: "warn", failed: "bad", unknown: "warn", starting: "warn", restarting: "warn" };

/** @param {number} bytes */
export const sizeText = (bytes) => {
  const mib = bytes / 1_048_576;
  return mib >= 1024 ? `${(mib / 1024).toFixed(1)} GiB` : mib >= 10 ? `${Math.round(mib)} MiB` : `${mib.toFixed(1)} MiB`;
};

/**
 * Describes a short text for the eye, with longer words for the ear.
 * @param {string} short
 * @param {string} long
 */
const spoken = (short, long) => [
  h("span", { key: "short", "aria-hidden": "true" }, short),
  h("span.spoken", { key: "long" }, long && `, ${long}`),
];

export class Tree extends MainstayElement {
  static css = `${more}
:host{container-type:inline-size;--cols:minmax(0,1.1fr) minmax(0,1.5fr) 92px 56px 64px}
.scroll{max-height:var(--mainstay-height,30rem);overflow:auto;outline-offset:-2px;border-radius:var(--r)}
.rows{position:relative;min-width:0}
.node{position:absolute;inset:0 0 auto;display:grid;grid-template-columns:var(--cols);
align-items:center;gap:0 12px;padding:0 14px 0 7px;cursor:pointer;contain:strict}
.node:hover{background:var(--h)}.node[aria-selected]{background:color-mix(in srgb,var(--a) 14%,transparent)}
.scroll:focus-visible .active{box-shadow:inset 0 0 0 2px var(--a)}
.name,.what{display:flex;align-items:center;align-self:stretch;min-width:0;white-space:pre}
.what{gap:.5em}.what .note,.label{overflow:hidden;text-overflow:ellipsis}
.label{font-weight:550;margin-inline-start:.15em}.super{font-weight:650}
.gen{color:var(--s);font-size:.85em;margin-inline-start:.45em}
.rail{flex:none;align-self:stretch;width:1.25em;position:relative}
.rail.on::before,.rail.elbow::before{content:"";position:absolute;inset-inline-start:.6em;top:0;bottom:0;
border-inline-start:1.5px solid var(--l)}
.rail.end::before{bottom:50%}
.rail.elbow::after{content:"";position:absolute;inset-inline-start:.6em;inset-inline-end:0;top:50%;border-top:1.5px solid var(--l)}
.fold{flex:none;width:1.15em;height:1.15em;display:grid;place-items:center;color:var(--s)}
.fold::before{content:"";width:.34em;height:.34em;border:solid currentcolor;border-width:0 1.6px 1.6px 0;rotate:-45deg;
translate:-.07em 0}
.open>.name .fold::before{rotate:45deg;translate:0 -.1em}
.bud{flex:none;width:1.15em;border-top:1.5px solid var(--l)}
.pips{display:flex;gap:2px;align-items:center}.pip{width:.5em;height:.8em;border-radius:2px;background:var(--g);
forced-color-adjust:none}
.pip.spent{background:none;box-shadow:inset 0 0 0 1.2px var(--l)}.few .pip{background:var(--w)}.few .pip.spent{background:none}
.bar{flex:1;height:.5em;border-radius:1em;background:var(--l);overflow:hidden}.full{height:100%;background:var(--g)}
.left-of{display:none}.right{text-align:end;white-space:nowrap}
.news{color:var(--a);font-size:.85em;font-weight:600;border:1px solid currentcolor;border-radius:1em;padding:0 .5em}
.cols{color:var(--s);font-size:.82em;padding:6px 14px 4px 7px;border-bottom:1px solid var(--l);display:grid;
grid-template-columns:var(--cols);gap:0 12px;white-space:nowrap}
.past .node .name,.past .node .what{opacity:.92}
.old .mark{background:none;clip-path:none;--c:var(--s)}.old .state{color:var(--s)}
@container (max-width:${NARROW_PX}px){
.cols{display:none}
.node{grid-template-columns:minmax(38%,1fr) minmax(0,auto) 40px;gap:0 10px}
.what .note{max-width:7.5em}.node>.right,.pip,.pips .bar,.news{display:none}
.left-of{display:inline!important;font-size:.9em;color:var(--s);margin-inline-start:auto}
}
`;
  static observedAttributes = ["current"];
  /** @type {Set<string>} */
  #closed = new Set();
  /** @type {string | null} */
  #active = null;
  /** @type {PastTree | null} */
  #past = null;
  /** @type {ActorNode | null} */
  #pastTree = null;
  /** @type {Map<string, number>} */
  #generations = new Map();
  /** When an actor was last seen to restart. @type {Map<string, number>} */
  #news = new Map();
  /** @type {TreeRow[]} */
  #rows = [];
  /** The tree whose rows these are. @type {ActorNode | null | undefined} */
  #listed = undefined;
  #top = 0;
  #height = 600;
  #isNarrow = false;

  /** An earlier moment, or null for now. */
  get past() {
    return this.#past;
  }

  set past(moment) {
    this.#past = moment;
    const places = new Map(rowsOf(this.state.tree, new Set()).map(({ node }, index) => [node.path, index]));
    this.#pastTree = moment?.tree ? fromHistory(moment.tree, places) : null;
    this.refresh();
  }

  /**
   * @override
   * @param {State} state
   */
  select({ tree, agents, backend, connection, queue, isLive }) {
    return [tree, agents, backend, connection, queue, isLive];
  }

  /** @override */
  start() {
    super.start();
    this.refresh();
    const resize = new ResizeObserver(() => {
      this.#height = this.#scroller.clientHeight || 600;
      this.#isNarrow = this.clientWidth <= NARROW_PX;
      this.plan();
    });
    resize.observe(this);
    resize.observe(this.#scroller);
    this.stops.push(() => resize.disconnect());
  }

  get #scroller() {
    return this.find(".scroll");
  }

  get #rowPx() {
    return this.#isNarrow ? NARROW_ROW_PX : ROW_PX;
  }

  /** Lists the rows. The same tree has the same list, so that scrolling costs no more with many actors. @param {ActorNode | null} root */
  #list(root) {
    if (this.#listed === root) return this.#rows;
    const rows = (this.#rows = rowsOf(root, this.#closed));
    this.#listed = root;
    this.#note(rows);
    if (!rows.some(({ node }) => node.path === this.#active)) this.#active = rows[0]?.node.path ?? null;
    return rows;
  }

  /** Notes which actors have a new incarnation. @param {TreeRow[]} rows */
  #note(rows) {
    if (this.#past) return;
    const now = Date.now();
    for (const path of restartedIn(this.#generations, rows)) this.#news.set(path, now);
    for (const { node } of rows) this.#generations.set(node.path, node.generation);
  }

  /** Forgets news that are old. */
  #age() {
    const now = Date.now();
    for (const [path, at] of this.#news) {
      if (at + NEWS_MS <= now) this.#news.delete(path);
      else this.again(at + NEWS_MS - now);
    }
  }

  /** @param {string} path */
  #open(path) {
    this.#active = path;
    this.refresh();
    this.dispatchEvent(new CustomEvent("mainstay-open", { detail: path, bubbles: true, composed: true }));
  }

  /**
   * @param {string} path
   * @param {boolean} isOpen
   */
  #fold(path, isOpen) {
    if (isOpen) this.#closed.delete(path);
    else this.#closed.add(path);
    this.#listed = undefined;
    this.refresh();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = this.#rows;
    const at = Math.max(0, rows.findIndex(({ node }) => node.path === this.#active));
    const row = rows[at];
    if (!row) return;
    const last = rows.length - 1;
    const page = Math.max(1, Math.floor(this.#height / this.#rowPx) - 1);
    const inner = row.isOpen ? at + 1 : at;
    const outer = row.isParent && row.isOpen ? at : rows.findIndex(({ node }) => node.path === row.parent);
    /** @type {Record<string, number>} */
    const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last, PageDown: at + page, PageUp: at - page };
    if (key === "Enter" || key === " ") this.#open(row.node.path);
    else if (key === "ArrowRight" && row.isParent && !row.isOpen) this.#fold(row.node.path, true);
    else if (key === "ArrowLeft" && row.isOpen) this.#fold(row.node.path, false);
    else if (key === "ArrowRight") this.#move(inner);
    else if (key === "ArrowLeft") this.#move(outer < 0 ? at : outer);
    else if (key in targets) this.#move(Math.min(last, Math.max(0, targets[key])));
    else if (/^\p{L}$/u.test(key)) this.#move(this.#find(key.toLowerCase(), at));
    else return;
    event.preventDefault();
  }

  /**
   * Returns the next row whose name begins with a typed character.
   * @param {string} letter
   * @param {number} at
   */
  #find(letter, at) {
    const from = [...this.#rows.keys()].map((index) => (index + at + 1) % this.#rows.length);
    return from.find((index) => this.#rows[index].name.toLowerCase().startsWith(letter)) ?? at;
  }

  /** @param {number} index */
  #move(index) {
    this.#active = this.#rows[index].node.path;
    this.#top = scrollTo({ top: this.#top, height: this.#height, rowPx: this.#rowPx }, index);
    this.refresh();
    this.#scroller.scrollTop = this.#top;
  }

  /**
   * Returns the agent or the backend's process that an actor keeps, which knows more of it.
   * @param {ActorNode} node
   */
  #view(node) {
    if (this.#past) return null;
    const { agents, backend } = this.state;
    const [, group, id] = node.path.split("/");
    return (group === "agents" && id && agents[id]) || (group === "backend" && !id && backend) || null;
  }

  /** Returns state and tone in words. @param {ActorNode} node */
  #stateOf(node) {
    const view = this.#view(node);
    const trouble = this.#troubleOf(node);
    if (trouble) return trouble;
    const isSuspended = node.suspended || (view && "suspended" in view && view.suspended);
    if (isSuspended) return { state: text("suspended"), tone: "warn" };
    if (node.status === "failed") return { state: text(view && !view.gave_up ? "failed" : "givenUp"), tone: "bad" };
    const own = view && "misses" in view && node.status === "running" ? view.status : null;
    if (own && AGENT_TONES[own]) return { state: text(own), tone: AGENT_TONES[own] };
    return { state: text(node.status), tone: TONES[node.status] ?? "" };
  }

  /** Returns what the connection or the queue says of itself, if that is not well. @param {ActorNode} node */
  #troubleOf({ path, status }) {
    const { connection, queue } = this.state;
    if (this.#past || status !== "running") return null;
    if (path === "root/connection" && /reconnecting|failed/.test(connection?.state ?? ""))
      return { state: text(`link-${connection?.state}`), tone: connection?.state === "failed" ? "bad" : "warn" };
    if (path === "root/queue" && queue?.held) return { state: text("holds", { n: queue.waiting }), tone: "warn" };
    return null;
  }

  /** @param {ActorNode} node */
  #detailOf(node) {
    if (node.restart_at && this.#past) {
      const left = Date.parse(node.restart_at) - Date.parse(this.#past.at);
      return left > 0 ? text("inSeconds", { n: Math.ceil(left / 1000) }) : text("now");
    }
    if (node.restart_at) {
      const agent = this.#view(node);
      const at = agent && "restartAtMs" in agent ? agent.restartAtMs : Date.parse(node.restart_at);
      return this.when(at);
    }
    return node.status === "running" ? "" : (node.last_error ?? "");
  }

  /** @param {{ left: number, max: number } | null} meter */
  #meter(meter) {
    if (!meter) return h("span.pips note", { key: "pips" }, !this.#past && spoken("∞", text("budgetOpen")));
    const { left, max } = meter;
    const words = h("span.spoken", { key: "words" }, `, ${text("budgetLeft", { n: left, max })}`);
    const few = left <= max / 3 ? "few" : "";
    if (max > PIPS_MAX)
      return h(
        `.pips ${few}`,
        { key: "pips" },
        h(".bar", {}, h(".full", { style: `width:${(100 * left) / max}%` })),
        h("span.note num", { "aria-hidden": "true" }, left),
        words,
      );
    const pips = Array.from({ length: max }, (_, index) => h(`span.pip ${index < left ? "" : "spent"}`, { key: index }));
    return h(`.pips ${few}`, { key: "pips" }, pips, h("span.left-of num", { "aria-hidden": "true" }, `${left}/${max}`), words);
  }

  /**
   * @param {TreeRow} row
   * @param {number} index
   */
  #row(row, index) {
    const { node, name, level, place, siblings, rails, isParent, isOpen } = row;
    const { path, generation, mailbox } = node;
    const view = this.#view(node);
    const { state, tone } = this.#stateOf(node);
    const detail = this.#detailOf(node);
    const meter = meterOf(node, view?.budget);
    const process = view && "process" in view ? view.process : null;
    const memory = process?.memory_bytes ? sizeText(process.memory_bytes) : "";
    const isNews = !this.#past && this.#news.has(path);
    const isEnd = place === siblings;
    return h(
      `.node ${isOpen ? "open" : ""} ${path === this.#active ? "active" : ""} ${tone}`,
      {
        key: path,
        id: `n-${path}`,
        role: "treeitem",
        style: `height:${this.#rowPx}px;transform:translateY(${index * this.#rowPx}px);--level:${level - 1}`,
        title: detail ? `${path}\n${detail}` : path,
        "aria-level": level,
        "aria-posinset": place,
        "aria-setsize": siblings,
        "aria-expanded": isParent ? String(isOpen) : null,
        "aria-selected": path === this.getAttribute("current") ? "true" : null,
        "data-path": path,
        onclick: () => this.#open(path),
      },
      h(
        ".name",
        {},
        rails.map((goesOn, at) => h(`span.rail ${goesOn ? "on" : ""}`, { key: `r${at}` })),
        level > 1 && h(`span.rail elbow ${isEnd ? "end" : ""}`, { key: "elbow" }),
        isParent
          ? h("span.fold", {
              key: "fold",
              onclick: (/** @type {Event} */ event) => {
                event.stopPropagation();
                this.#fold(path, !isOpen);
              },
            })
          : h("span.bud", { key: "bud" }),
        h(`span.label ${isParent ? "super" : ""}`, { key: "label" }, name),
        generation > 1 && h("span.gen num", { key: "gen" }, spoken(`#${generation}`, text("incarnation", { n: generation }))),
      ),
      h(
        ".what",
        { key: "what" },
        h("span.mark", { key: "mark" }),
        h("span.state", { key: "state" }, state),
        isNews && h("span.news", { key: "news" }, text("justRestarted")),
        detail && h("span.note num", { key: "detail" }, detail),
      ),
      this.#meter(meter),
      h(
        "span.right num note",
        { key: "mailbox" },
        mailbox != null && spoken(String(mailbox), text("mailbox", { n: mailbox })),
      ),
      h(
        "span.right num note",
        { key: "memory" },
        memory ? spoken(memory, text("memory", { size: memory })) : !this.#past && spoken("–", ""),
      ),
    );
  }

  /** @override */
  refresh() {
    const before = new Map(this.#news);
    super.refresh();
    if (!this.stops.length || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const [path, at] of this.#news) {
      if (before.get(path) === at) continue;
      const row = this.root.getElementById(`n-${path}`);
      const colour = "color-mix(in srgb,var(--a) 38%,transparent)";
      row?.animate([{ background: colour }, { background: "transparent" }], { duration: 1600, easing: "ease-out" });
    }
  }

  /** @override */
  view() {
    const { tree, isLive } = this.state;
    const root = this.#past ? this.#pastTree : tree;
    const rows = this.#list(root);
    this.#age();
    const rowPx = this.#rowPx;
    const { first, end } = rowsInSight({ top: this.#top, height: this.#height, count: rows.length, rowPx });
    const shown = rows.slice(first, end).map((row, index) => this.#row(row, first + index));
    const head = ["", "colState", "colBudget", "colMailbox", "colMemory"];
    return [
      h(
        `.card ${isLive ? "" : "old"} ${this.#past ? "past" : ""}`,
        {},
        h(
          ".cols",
          { "aria-hidden": "true" },
          head.map((key, index) => h(`span.${index > 2 ? "right" : "left"}`, { key: index }, key && !(this.#past && index > 2) && text(key))),
        ),
        h(
          ".scroll",
          {
            role: "tree",
            tabindex: 0,
            "aria-label": text("tree"),
            "aria-activedescendant": this.#active && `n-${this.#active}`,
            onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
            onscroll: () => {
              this.#top = this.#scroller.scrollTop;
              this.plan();
            },
          },
          h(".rows", { role: "presentation", style: `height:${rows.length * rowPx}px` }, shown),
        ),
        !root && h("p.empty", {}, text(this.#past ? "noTreeThen" : "noTree")),
      ),
    ];
  }
}

define("mainstay-tree", Tree);
