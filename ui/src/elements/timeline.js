/**
 * `<mainstay-timeline>`: a lane for each actor with its states, exits and decisions, and a scrubber.
 *
 * The event `mainstay-moment` has as its detail what was then, `{ at, cursor, verdict, tree }`, or null for now. The journal is
 * read by the runtime; this element asks it for lanes and for moments.
 *
 * @import { State } from "../store.js"
 * @typedef {import("./time-axis.js").Range} Range
 * @typedef {import("../../protocol.d.ts").HistoryLanes} Lanes
 * @typedef {import("../../protocol.d.ts").HistoryMoment} Moment
 * @typedef {import("../../protocol.d.ts").HistoryState} HistoryState
 * @typedef {import("../../protocol.d.ts").Lane} Lane
 * @typedef {import("../../protocol.d.ts").LaneMark} LaneMark
 * @typedef {import("../../protocol.d.ts").LaneSpan} LaneSpan
 */
import { button, define, h, MainstayElement } from "./base.js";
import { messageOf, more, text } from "./more.js";
import { addText } from "./text.js";
import { keepWithin, placeOf, spanText, ticksOf, zoom } from "./time-axis.js";
import { nameOf, rowsOf } from "./tree-rows.js";
import { rowsInSight } from "./windowed.js";

addText({
  timeline: "Timeline",
  "lane-up": "up",
  "lane-starting": "starting",
  "lane-degraded": "degraded",
  "lane-restarting": "restarting",
  "lane-down": "down",
  "lane-given_up": "given up",
  "lane-stopped": "stopped",
  "mark-actor_exited": "exit",
  "mark-decision": "decision",
  "mark-gave_up": "given up",
  laneWords: "{name}: now {state}. In sight: {list}",
  laneNone: "nothing is known",
  laneExits: "{n} exit|{n} exits",
  laneDecisions: "{n} decision|{n} decisions",
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  panBack: "Earlier",
  panOn: "Later",
  fit: "All",
  fitAll: "All: the whole journal",
  previousMark: "Previous mark",
  nextMark: "Next mark",
  live: "Live",
  backToLive: "Back to live",
  moment: "Moment",
  momentAt: "{time}, {ago} ago",
  momentHint: "drag over the lanes to look back",
  timelineLoading: "The journal is being read …",
  timelineEmpty: "The journal has no actor yet.",
  timelineFailed: "The timeline cannot be read. {reason}",
  gap: "the runtime did not run",
  lanesLeftOut: "{n} more actor without a mark|{n} more actors, most without a mark",
});

const LANE_PX = 30;
/** The width of a tick's time. */
const TICK_PX = 68;
const DEFAULT_MS = 5 * 60_000;
const READ_MS = 900;
const MARKS_PER_LANE = 160;
/** The mark of the greatest weight is drawn where several fall together. @type {Record<string, number>} */
const WEIGHT = { decision: 0, actor_exited: 1, gave_up: 2 };
/** @type {HistoryState[]} */
const STATES = ["up", "starting", "degraded", "restarting", "down", "given_up", "stopped"];

/**
 * Returns the marks to draw: one for each place.
 * @param {LaneMark[]} marks
 * @param {Range} range
 */
export function thinMarks(marks, range) {
  /** @type {Map<number, LaneMark>} */
  const places = new Map();
  for (const mark of marks) {
    const place = placeOf(range, Date.parse(mark.at));
    if (place < 0 || place > 100) continue;
    const slot = Math.round((place / 100) * MARKS_PER_LANE);
    const other = places.get(slot);
    if (!other || WEIGHT[mark.kind] >= WEIGHT[other.kind]) places.set(slot, mark);
  }
  return [...places.values()];
}

export class Timeline extends MainstayElement {
  static css = `${more}
:host{container-type:inline-size}
.bar{padding:.55em .9em;border-bottom:1px solid var(--l);gap:.4em .5em}
.bar button{padding:.15em .6em;font-size:.92em}
.bar .when{min-width:0;flex-basis:4em}.when b{font-weight:650}
.live{color:var(--g)}.then{color:var(--a)}
.plot{position:relative;outline-offset:-2px;--label:10.5em;touch-action:pan-y;user-select:none}
.axis{position:relative;height:1.9em;margin-inline-start:var(--label);border-bottom:1px solid var(--l);overflow:hidden}
.tick{position:absolute;top:.3em;translate:-50%;white-space:nowrap;font-size:.82em;color:var(--s)}
.scroll{max-height:calc(var(--mainstay-height,30rem) - 1.9em);overflow:hidden auto}
.lanes{position:relative}
.lane{position:absolute;inset:0 0 auto;height:${LANE_PX}px;display:flex;align-items:center;contain:strict}
.lane:nth-child(odd) .track{background:color-mix(in srgb,var(--h) 70%,transparent)}
.who{flex:none;width:var(--label);padding-inline:.9em .6em;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;
border:0;background:none;text-align:start;border-radius:0}
.who:hover{text-decoration:underline;filter:none}
.track{position:relative;flex:1;align-self:stretch;overflow:hidden}
.span{position:absolute;top:7px;bottom:7px;min-width:2px;border-radius:3px;background:var(--k);forced-color-adjust:none;
--k:var(--s)}
.span.up{--k:color-mix(in srgb,var(--g) 50%,var(--b));top:11px;bottom:11px;border-radius:2px}.span.starting,.key.starting{--k:color-mix(in srgb,var(--a) 60%,var(--b))}
.span.degraded{--k:color-mix(in srgb,var(--w) 75%,var(--b));top:9px;bottom:9px}
.span.restarting,.key.restarting{--k:var(--w);background:repeating-linear-gradient(115deg,var(--k) 0 5px,
color-mix(in srgb,var(--k) 45%,var(--b)) 5px 9px)}
.span.down{--k:color-mix(in srgb,var(--e) 80%,var(--b))}
.span.given_up,.key.given_up{--k:var(--e);background:repeating-linear-gradient(90deg,var(--k) 0 4px,
color-mix(in srgb,var(--k) 55%,var(--b)) 4px 6px)}
.span.stopped{background:none;box-shadow:inset 0 0 0 1.5px var(--s)}
.mark{position:absolute;top:50%;width:9px;height:9px;translate:-50% -50%;box-shadow:0 0 0 1.5px var(--b);border-radius:50%;
background:var(--t);z-index:1}
.mark.actor_exited{background:var(--e);border-radius:1px;rotate:45deg}.mark.gave_up{background:var(--e);border-radius:0;
width:11px;height:11px}
.mark.decision{background:var(--t);width:6px;height:6px}
.over{position:absolute;inset:0 0 0 var(--label);pointer-events:none;overflow:hidden;z-index:2}
.cursor{position:absolute;top:0;bottom:0;border-inline-start:2px solid var(--a);translate:-1px}
.cursor::before{content:"";position:absolute;top:0;inset-inline-start:-7px;border:6px solid transparent;
border-top:9px solid var(--a)}
.run{position:absolute;top:1.9em;bottom:0;background:repeating-linear-gradient(135deg,var(--l) 0 1px,transparent 1px 7px)}
.grid{position:absolute;top:1.9em;bottom:0;border-inline-start:1px solid color-mix(in srgb,var(--l) 60%,transparent)}
.legend{padding:.5em .9em;border-top:1px solid var(--l);font-size:.85em;gap:.3em .75em}
.key{position:static;width:1.6em;height:.75em;border-radius:3px;background:var(--k);--k:var(--s);flex:none}
.key.up{--k:color-mix(in srgb,var(--g) 50%,var(--b))}.key.degraded{--k:color-mix(in srgb,var(--w) 75%,var(--b))}
.key.down{--k:color-mix(in srgb,var(--e) 80%,var(--b))}
.key.stopped{background:none;box-shadow:inset 0 0 0 1.5px var(--s)}
.legend .mark{position:static;translate:none;box-shadow:none}
@container (max-width:520px){.plot{--label:7.2em}.who{padding-inline:.7em .3em;font-size:.9em}.wide{display:none}}
`;
  /** @type {Lanes | null} */
  #data = null;
  /** @type {unknown} */
  #error = null;
  /** @type {Range} */
  #range = { from: 0, to: 0 };
  #isFollowing = true;
  #skew = 0;
  #isReading = false;
  #isStale = true;
  #readAt = -Infinity;
  /** @type {number | null} */
  #at = null;
  #isAsking = false;
  /** The earliest time of the journal. */
  #first = Infinity;
  #top = 0;
  #width = 600;
  #height = 400;

  /**
   * @override
   * @param {State} state
   */
  select({ status, tree, isLive }) {
    this.#isStale = true;
    return [status?.runtime.seq, status?.runtime.boot, tree, isLive];
  }

  /** @override */
  start() {
    super.start();
    this.refresh();
    const resize = new ResizeObserver(() => {
      this.#width = this.find(".axis").clientWidth || 600;
      this.#height = this.find(".scroll").clientHeight || 400;
      this.plan();
    });
    resize.observe(this);
    resize.observe(this.find(".scroll"));
    this.find(".plot").addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.stops.push(() => resize.disconnect());
  }

  /** The present time of the runtime's clock. */
  get #now() {
    return Date.now() + this.#skew;
  }

  /** The moment that is shown, in milliseconds of the runtime's clock; null for now. */
  get at() {
    return this.#at;
  }

  /** Reads the lanes of what is in sight, one reading at a time. */
  async #read() {
    this.#isReading = true;
    this.#isStale = false;
    const { from, to } = this.#range;
    const margin = (to - from) / 2;
    const isFirst = !this.#data;
    const iso = (/** @type {number} */ ms) => new Date(ms).toISOString();
    try {
      if (isFirst) this.#skew = Date.parse((await this.client.hello()).now) - Date.now();
      const data = await this.client.command({
        type: "history",
        action: "lanes",
        from: isFirst ? null : iso(from - margin),
        to: isFirst || this.#isFollowing ? null : iso(to + margin),
      });
      const starts = [...data.runs.map((run) => run.from), ...(data.from ? [data.from] : [])].map((at) => Date.parse(at));
      // A reading of a part knows nothing of what was before.
      this.#first = Math.min(this.#first, ...starts);
      this.#data = { ...data, lanes: this.#inOrder(data.lanes) };
      this.#error = null;
      if (isFirst) this.#begin();
    } catch (error) {
      if (this.state.isLive) this.#error = error;
    }
    this.#readAt = Date.now();
    this.#isReading = false;
    this.refresh();
  }

  /** Returns lanes in the order of the tree, and those of actors that are gone after them. @param {Lane[]} lanes */
  #inOrder(lanes) {
    const places = new Map(rowsOf(this.state.tree, new Set()).map(({ node }, index) => [node.path, index]));
    const place = (/** @type {Lane} */ { actor }) => places.get(actor) ?? Infinity;
    return [...lanes].sort((a, b) => place(a) - place(b) || 0);
  }

  /** Shows the last minutes, or all if there is less. */
  #begin() {
    const now = this.#now;
    const width = Math.min(DEFAULT_MS, Math.max(60_000, (now - this.#first) * 1.05));
    this.#range = { from: now - width, to: now };
  }

  /** @param {Range} range */
  #show(range) {
    const now = this.#now;
    this.#range = keepWithin(range, { from: Math.min(this.#first, now - 60_000), to: now });
    this.#isFollowing = this.#range.to >= now - 50;
    this.#isStale = true;
    this.refresh();
  }

  /** @param {number} factor @param {number} [around] */
  #zoom(factor, around) {
    const { from, to } = this.#range;
    const centre = around ?? this.#at ?? (this.#isFollowing ? to : (from + to) / 2);
    this.#show(zoom(this.#range, factor, centre, this.#now - this.#first));
  }

  /** @param {number} share of the width */
  #pan(share) {
    const { from, to } = this.#range;
    const by = (to - from) * share;
    this.#show({ from: from + by, to: to + by });
  }

  #fit() {
    this.#show({ from: this.#first, to: this.#now });
  }

  /** Shows a moment, or now. @param {number | null} at */
  goTo(at) {
    const now = this.#now;
    this.#at = at == null || at >= now ? null : Math.max(this.#first, at);
    if (this.#at == null) {
      const { from, to } = this.#range;
      this.#show({ from: now - (to - from), to: now });
      return this.#tell(null);
    }
    const { from, to } = this.#range;
    if (this.#at < from || this.#at > to) this.#show({ from: this.#at - (to - from) / 2, to: this.#at + (to - from) / 2 });
    this.#isFollowing = false;
    this.refresh();
    if (!this.#isAsking) void this.#ask();
  }

  /** Asks what was then, one question at a time, until the answer fits the scrubber. */
  async #ask() {
    this.#isAsking = true;
    let asked = null;
    try {
      while (this.#at != null && asked !== this.#at) {
        asked = this.#at;
        const moment = await this.client.command({ type: "history", action: "at", at: new Date(asked).toISOString() });
        if (this.#at != null) this.#tell(moment);
      }
      this.#error = null;
    } catch (error) {
      this.#error = error;
    }
    this.#isAsking = false;
    this.refresh();
  }

  /** @param {Moment | null} moment */
  #tell(moment) {
    this.dispatchEvent(new CustomEvent("mainstay-moment", { detail: moment, bubbles: true, composed: true }));
  }

  /** Goes to the mark before or after the moment. @param {1 | -1} direction */
  #step(direction) {
    const times = (this.#data?.lanes ?? []).flatMap(({ marks }) => marks.map(({ at }) => Date.parse(at)));
    const at = this.#at ?? this.#now;
    const next = times
      .filter((time) => (direction > 0 ? time > at : time < at))
      .sort((a, b) => direction * (a - b))[0];
    if (next != null) this.goTo(next);
    else if (direction > 0) this.goTo(null);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { from, to } = this.#range;
    const step = (to - from) / (event.shiftKey ? 10 : 100);
    const at = this.#at ?? this.#now;
    /** @type {Record<string, () => void>} */
    const acts = {
      ArrowLeft: () => this.goTo(at - step),
      ArrowRight: () => this.#at != null && this.goTo(at + step),
      ArrowUp: () => this.#step(1),
      ArrowDown: () => this.#step(-1),
      PageUp: () => this.#pan(-0.5),
      PageDown: () => this.#pan(0.5),
      Home: () => this.goTo(this.#first),
      End: () => this.goTo(null),
      Escape: () => this.goTo(null),
      "+": () => this.#zoom(0.5),
      "=": () => this.#zoom(0.5),
      "-": () => this.#zoom(2),
      0: () => this.#fit(),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    const isZoom = event.ctrlKey || event.metaKey || this.root.activeElement === this.find(".axis");
    const isPan = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!isZoom && !isPan) return;
    event.preventDefault();
    if (isPan) this.#pan((event.deltaX || event.deltaY) / 800);
    else this.#zoom(Math.exp(event.deltaY / 300), this.#timeAt(event.clientX));
  }

  /** @param {number} x in the window */
  #timeAt(x) {
    const box = this.find(".axis").getBoundingClientRect();
    const { from, to } = this.#range;
    return from + Math.min(1, Math.max(0, (x - box.left) / box.width)) * (to - from);
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    const plot = this.find(".plot");
    const isName = event.target instanceof Element && event.target.closest(".who");
    if (event.button !== 0 || isName || event.clientX < this.find(".axis").getBoundingClientRect().left) return;
    event.preventDefault();
    this.find(".axis").focus({ preventScroll: true });
    plot.setPointerCapture(event.pointerId);
    plot.onpointermove = ({ clientX }) => this.goTo(this.#timeAt(clientX));
    plot.onpointerup = plot.onpointercancel = () => (plot.onpointermove = null);
    this.goTo(this.#timeAt(event.clientX));
  }

  /** @param {number} at @param {number} step */
  #clock(at, step = 1000) {
    const day = step >= 86_400_000;
    return new Date(at).toLocaleString([], day ? { dateStyle: "short" } : { timeStyle: step < 60_000 ? "medium" : "short" });
  }

  /** Returns a lane in words. @param {Lane} lane */
  #words({ actor, spans, marks }) {
    const range = this.#range;
    /** @type {Map<string, number>} */
    const sums = new Map();
    for (const { from, to, state } of spans) {
      const start = Math.max(range.from, Date.parse(from));
      const end = Math.min(range.to, to ? Date.parse(to) : this.#now);
      if (end > start) sums.set(state, (sums.get(state) ?? 0) + end - start);
    }
    const list = [...sums].map(([state, ms]) => `${text(`lane-${state}`)} ${spanText(ms)}`);
    const seen = marks.filter(({ at }) => Date.parse(at) >= range.from && Date.parse(at) <= range.to);
    const exits = seen.filter(({ kind }) => kind === "actor_exited").length;
    const decisions = seen.filter(({ kind }) => kind === "decision").length;
    if (exits) list.push(text("laneExits", { n: exits }));
    if (decisions) list.push(text("laneDecisions", { n: decisions }));
    const last = spans.at(-1)?.state;
    return text("laneWords", {
      name: nameOf(actor),
      state: last ? text(`lane-${last}`) : "",
      list: list.join(", ") || text("laneNone"),
    });
  }

  /** @param {LaneSpan} span */
  #span({ from, to, state }) {
    const start = Date.parse(from);
    const end = to ? Date.parse(to) : this.#now;
    const { from: first, to: last } = this.#range;
    if (end < first || start > last) return null;
    const left = Math.max(-1, placeOf(this.#range, start));
    const right = Math.min(101, placeOf(this.#range, end));
    return h(`.span ${state}`, {
      key: from + state,
      style: `left:${left.toFixed(3)}%;width:${(right - left).toFixed(3)}%`,
      title: `${text(`lane-${state}`)}, ${this.#clock(start)}${to ? ` – ${this.#clock(end)}` : ""} (${spanText(end - start)})`,
    });
  }

  /**
   * @param {Lane} lane
   * @param {number} index
   */
  #lane(lane, index) {
    const { actor, spans, marks } = lane;
    return h(
      ".lane",
      { key: actor, role: "listitem", "aria-label": this.#words(lane), style: `transform:translateY(${index * LANE_PX}px)` },
      h(
        "button.who",
        {
          type: "button",
          tabindex: -1,
          title: actor,
          onclick: () =>
            this.dispatchEvent(new CustomEvent("mainstay-open", { detail: actor, bubbles: true, composed: true })),
        },
        nameOf(actor),
      ),
      h(
        ".track",
        {},
        spans.map((span) => this.#span(span) ?? false),
        thinMarks(marks, this.#range).map(({ at, cursor, kind, summary }) =>
          h(`span.mark ${kind}`, {
            key: cursor,
            style: `left:${placeOf(this.#range, Date.parse(at)).toFixed(3)}%`,
            title: `${this.#clock(Date.parse(at))} ${summary}`,
          }),
        ),
      ),
    );
  }

  #bar() {
    const at = this.#at;
    const first = this.#first;
    return h(
      ".bar row wrap",
      {},
      h(
        ".when grow num",
        { role: "status" },
        at == null
          ? h("b.live", { key: "live" }, text("live"))
          : h("b.then", { key: "then" }, text("momentAt", { time: this.#clock(at), ago: spanText(this.#now - at) })),
        at == null && h("span.note wide", { key: "hint" }, " · ", text("momentHint")),
      ),
      at != null && button("main", text("backToLive"), () => this.goTo(null), { key: "back" }),
      button("bare", "◂", () => this.#step(-1), { name: text("previousMark"), key: "previous" }),
      button("bare", "▸", () => this.#step(1), { name: text("nextMark"), key: "next", isOff: at == null }),
      button("bare", "−", () => this.#zoom(2), { name: text("zoomOut"), key: "out" }),
      button("bare", "+", () => this.#zoom(0.5), { name: text("zoomIn"), key: "in" }),
      button("bare", text("fit"), () => this.#fit(), { name: text("fitAll"), key: "fit", isOff: first === Infinity }),
    );
  }

  #over() {
    const { step, ticks } = ticksOf(this.#range, this.#width / 90);
    const runs = this.#data?.runs ?? [];
    const gaps = runs.slice(1).map(({ from }, index) => ({ from: runs[index].to ?? from, to: from }));
    return [
      ...ticks.map((at) => h(".grid", { key: `g${at}`, style: `left:${placeOf(this.#range, at)}%` })),
      ...gaps.map(({ from, to }) => {
        const left = placeOf(this.#range, Date.parse(from));
        const width = Math.max(0.2, placeOf(this.#range, Date.parse(to)) - left);
        return h(".run", { key: `r${to}`, title: text("gap"), style: `left:${left}%;width:${width}%` });
      }),
      this.#at != null && h(".cursor", { key: "cursor", style: `left:${placeOf(this.#range, this.#at)}%` }),
      step > 0 && h("span", { key: "end" }),
    ];
  }

  /** Plans the next reading and rendering. */
  #plan() {
    const { isLive } = this.state;
    if (this.#isFollowing && this.#data) {
      const { from, to } = this.#range;
      const now = this.#now;
      if (isLive) this.#range = { from: now - (to - from), to: now };
      if (isLive) this.again(1000);
    }
    if (!isLive || document.hidden || this.#isReading || !this.#isStale) return;
    const wait = this.#readAt + READ_MS - Date.now();
    if (wait > 0) this.again(wait);
    else void this.#read();
  }

  /** @override */
  view() {
    this.#plan();
    const lanes = this.#data?.lanes ?? [];
    const { ticks, step } = ticksOf(this.#range, this.#width / 90);
    const { first, end } = rowsInSight({ top: this.#top, height: this.#height, count: lanes.length, rowPx: LANE_PX });
    const now = this.#now;
    const at = this.#at ?? now;
    const empty = this.#error
      ? text("timelineFailed", { reason: messageOf(/** @type {never} */ (this.#error)) })
      : text(this.#data ? "timelineEmpty" : "timelineLoading");
    return [
      h(
        `.card ${this.state.isLive ? "" : "old"}`,
        {},
        this.#bar(),
        h(
          ".plot",
          { onpointerdown: (/** @type {PointerEvent} */ event) => this.#grab(event) },
          h(
            ".axis num",
            {
              role: "slider",
              tabindex: 0,
              "aria-label": text("moment"),
              "aria-valuemin": 0,
              "aria-valuemax": Math.max(0, Math.round((now - Math.min(this.#first, now)) / 1000)),
              "aria-valuenow": Math.max(0, Math.round((at - Math.min(this.#first, now)) / 1000)),
              "aria-valuetext":
                this.#at == null ? text("live") : text("momentAt", { time: this.#clock(at), ago: spanText(now - at) }),
              onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
            },
            lanes.length > 0 &&
              ticks
                .filter((tick) => Math.abs(placeOf(this.#range, tick) - 50) < 50 - TICK_PX / 2 / (this.#width / 100))
                .map((tick) => h("span.tick", { key: tick, style: `left:${placeOf(this.#range, tick)}%` }, this.#clock(tick, step))),
          ),
          h(
            ".scroll",
            {
              tabindex: lanes.length * LANE_PX > this.#height ? 0 : null,
              role: "group",
              "aria-label": text("timeline"),
              onscroll: () => {
                this.#top = this.find(".scroll").scrollTop;
                this.plan();
              },
            },
            h(
              ".lanes",
              { role: "list", style: `height:${lanes.length * LANE_PX}px` },
              lanes.slice(first, end).map((lane, index) => this.#lane(lane, first + index)),
            ),
          ),
          h(".over", {}, lanes.length > 0 && this.#over()),
        ),
        (!lanes.length || !!this.#error) && h("p.empty", { role: this.#error ? "alert" : null }, empty),
        (this.#data?.lanes_left_out ?? 0) > 0 && h("p.head soft", {}, text("lanesLeftOut", { n: this.#data?.lanes_left_out })),
        h(
          ".legend row wrap soft",
          { "aria-hidden": "true" },
          STATES.map((state) => h(".row", { key: state }, h(`span.key ${state}`), text(`lane-${state}`))),
          ["actor_exited", "decision"].map((kind) =>
            h(".row", { key: kind }, h(`span.mark ${kind}`), text(`mark-${kind}`)),
          ),
        ),
      ),
    ];
  }
}

define("mainstay-timeline", Timeline);
