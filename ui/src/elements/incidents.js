/**
 * `<mainstay-incidents>`: what went wrong, newest first, each a story with its chain of causes.
 *
 * Attributes: `actor` shows those of one actor and its descendants, `limit` asks for that many (50), `open` opens one.
 * The event `mainstay-open`, with a path as its detail, says that a person opened an actor. With the attribute `share`, a
 * button copies what its `{id}` becomes: a link of the page.
 *
 * @import { State } from "../store.js"
 * @typedef {import("../../protocol.d.ts").IncidentStory} IncidentStory
 */
import { button, define, h, MainstayElement } from "./base.js";
import { messageOf, more, text } from "./more.js";
import { addText } from "./text.js";
import { spanText } from "./time-axis.js";
import { nameOf } from "./tree-rows.js";

addText({
  incidents: "Incidents",
  noIncidents: "Nothing has gone wrong.",
  incidentsLoading: "The journal is being read …",
  incidentsFailed: "The incidents cannot be read. {reason}",
  ongoing: "goes on",
  overAfter: "over after {time}",
  chain: "What happened",
  policy: "Policy",
  nextStep: "Next step",
  leftOut: "{n} event is left out|{n} events are left out",
  cutOff: "The journal begins later than this incident.",
  lastLines: "Last lines",
  copyText: "Copy as text",
  download: "Download",
  copyLink: "Copy link",
  "total-exits": "{n} exit|{n} exits",
  "total-restarts": "{n} restart|{n} restarts",
  "total-requests_held": "{n} request held|{n} requests held",
  "total-requests_retried": "{n} request retried|{n} requests retried",
  "total-requests_failed": "{n} request failed|{n} requests failed",
  "total-messages_redelivered": "{n} message redelivered|{n} messages redelivered",
  "total-messages_failed": "{n} message failed|{n} messages failed",
  "total-outcomes_unknown": "{n} outcome unknown|{n} outcomes unknown",
  "total-dead_letters": "{n} dead letter|{n} dead letters",
  moreIncidents: "Show more",
});

const READ_MS = 900;
/** The bridge gives no more. */
const LIMIT_MAX = 200;
const LOST = /_failed|unknown|dead_letters/;

/**
 * Returns an incident's title without its actor and without its end, which are shown apart.
 * @param {IncidentStory} incident
 */
export function headlineOf({ title, actor }) {
  const words = title.replace(/ \((not over|over after [^()]*)\)$/, "");
  const name = `${nameOf(actor)}: `;
  return words.startsWith(name) ? words.slice(name.length) : words;
}

/**
 * Returns an incident as text, for a report or a message.
 * @param {IncidentStory} incident
 */
export function textOf({ id, story, events, output = [] }) {
  const lines = events.map(({ at, cursor, actor, summary }) => `${at}  ${cursor}  ${actor}  ${summary}`);
  const parts = [story.join("\n"), lines.join("\n"), output.join("\n")];
  return `${[`Incident ${id}`, ...parts].filter(Boolean).join("\n\n")}\n`;
}

export class Incidents extends MainstayElement {
  static css = `${more}
:host{container-type:inline-size}
.scroll{max-height:var(--mainstay-height,30rem);overflow:auto;outline-offset:-2px}
.incident{border-bottom:1px solid var(--l)}.incident:last-child{border-bottom:0}
.top{display:grid;grid-template-columns:auto minmax(0,1fr) auto;gap:.1em .7em;width:100%;text-align:start;border:0;
border-radius:0;background:none;padding:.75em .9em;white-space:normal;align-items:baseline}
.top:hover{background:var(--h);filter:none}.top:focus-visible{outline-offset:-2px}
.top .mark{translate:0 .05em}
.headline{overflow-wrap:anywhere}.clip .headline{display:-webkit-box;-webkit-line-clamp:2;-webkit-box-orient:vertical;
overflow:hidden}
.chip{font-size:.85em;color:var(--c);border:1px solid currentcolor;border-radius:1em;padding:0 .55em;white-space:nowrap}
.sub{grid-column:2/-1;color:var(--s);font-size:.9em}.sub .lost{color:var(--e)}
.body{padding:.1em .9em 1em 2.35em;display:grid;gap:.9em}
.chain{position:relative}.chain li{position:relative;padding:.18em 0 .18em 1.3em;display:grid;
grid-template-columns:6.4em minmax(0,1fr);gap:0 .8em}
.chain li::before{content:"";position:absolute;inset-inline-start:.05em;top:.62em;width:.5em;height:.5em;border-radius:50%;
background:var(--b);box-shadow:inset 0 0 0 1.5px var(--s);z-index:1}
.chain li::after{content:"";position:absolute;inset-inline-start:.26em;top:.9em;bottom:-.7em;border-inline-start:1.5px solid var(--l)}
.chain li:last-child::after{display:none}.chain .root::before{background:var(--e);box-shadow:none;rotate:45deg;border-radius:1px}
.chain .end::before{background:var(--g);box-shadow:none}
dl{display:grid;grid-template-columns:6.4em minmax(0,1fr);gap:.25em .8em;margin-inline-start:1.3em}dt{color:var(--s)}
dd{margin:0}
.actor{border:0;padding:0;background:none;color:var(--a);font-weight:600;white-space:normal;text-align:start}
.acts{gap:.4em;margin-inline-start:1.1em}.acts button{font-size:.9em;padding:.2em .65em}
h3{font-size:.85em;color:var(--s);font-weight:600;margin-bottom:.3em}
@container (max-width:480px){.body{padding-inline-start:.9em}.chain li,dl{grid-template-columns:minmax(0,1fr)}
dl,.acts{margin-inline-start:0}}
`;
  static observedAttributes = ["actor", "limit", "open"];
  /** @type {IncidentStory[] | null} */
  #list = null;
  /** @type {unknown} */
  #error = null;
  /** @type {Set<string>} */
  #open = new Set();
  /** @type {Map<string, string>} */
  #done = new Map();
  #more = 0;
  #isReading = false;
  #isStale = true;
  #readAt = -Infinity;

  /**
   * @override
   * @param {State} state
   */
  select({ status, isLive }) {
    this.#isStale = true;
    return [status?.runtime.seq, status?.runtime.boot, isLive];
  }

  /**
   * @override
   * @param {string} [name]
   * @param {string | null} [_before]
   * @param {string | null} [value]
   */
  attributeChangedCallback(name, _before, value) {
    if (name === "open" && value) {
      this.#open.add(value);
      this.#isStale = true;
    }
    this.refresh();
    if (name === "open" && value) this.#reveal(value);
  }

  /** Brings an incident into sight. @param {string} id */
  #reveal(id) {
    const row = this.root.getElementById(`i-${id}`);
    row?.scrollIntoView({ block: "nearest" });
    row?.querySelector("button")?.focus({ preventScroll: true });
  }

  get #limit() {
    return Math.min(LIMIT_MAX, this.number("limit", 50) + this.#more);
  }

  async #read() {
    this.#isReading = true;
    this.#isStale = false;
    const isFirst = !this.#list;
    try {
      const { incidents } = await this.client.command({ type: "incidents", limit: this.#limit });
      this.#list = incidents;
      this.#error = null;
    } catch (error) {
      if (this.state.isLive) this.#error = error;
    }
    this.#readAt = Date.now();
    this.#isReading = false;
    this.refresh();
    const open = this.getAttribute("open");
    if (isFirst && open) this.#reveal(open);
  }

  /** @param {string} id */
  #toggle(id) {
    if (!this.#open.delete(id)) this.#open.add(id);
    this.refresh();
  }

  /**
   * Says for a moment that something was done.
   * @param {string} key
   * @param {Promise<unknown>} task
   */
  async #after(key, task) {
    const words = await task.then(
      () => text("copied"),
      () => text("notCopied"),
    );
    this.#done.set(key, words);
    this.refresh();
    setTimeout(() => {
      this.#done.delete(key);
      this.refresh();
    }, 2000);
  }

  /** @param {IncidentStory} incident */
  #save(incident) {
    const url = URL.createObjectURL(new Blob([textOf(incident)], { type: "text/plain" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `incident-${incident.id}.txt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  /** Copies the link to an incident. @param {string} id */
  #share(id) {
    const link = (this.getAttribute("share") ?? "").replace("{id}", id);
    return this.#after(`link${id}`, navigator.clipboard.writeText(link));
  }

  /** @param {string} path */
  #actor(path) {
    this.dispatchEvent(new CustomEvent("mainstay-open", { detail: path, bubbles: true, composed: true }));
  }

  /** @param {string} at */
  #time(at) {
    const date = new Date(at);
    const isToday = date.toDateString() === new Date().toDateString();
    return date.toLocaleString([], isToday ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "medium" });
  }

  /** @param {IncidentStory} incident */
  #totals({ totals }) {
    return Object.entries(totals)
      .filter(([name, n]) => n > 0 && name !== "decisions")
      .map(([name, n]) => h(`span.${LOST.test(name) ? "lost" : "total"}`, { key: name }, " · ", text(`total-${name}`, { n })));
  }

  /** @param {IncidentStory} incident */
  #body(incident) {
    const { id, events, policy, next_step: next, ended_at: endedAt, output = [], events_left_out: left = 0 } = incident;
    const link = `link${id}`;
    const copy = `copy${id}`;
    return h(
      ".body",
      { key: "body", id: `b-${id}` },
      h(
        "",
        { key: "chain" },
        h("h3", {}, text("chain")),
        h(
          "ol.chain",
          {},
          events.map(({ cursor, at, actor, summary }, index) =>
            h(
              `li.${index === 0 ? "root" : index === events.length - 1 && endedAt ? "end" : "step"}`,
              { key: cursor },
              h("span.note num", {}, this.#time(at)),
              h(
                "span.text",
                {},
                h("button.actor", { type: "button", onclick: () => this.#actor(actor), title: actor }, nameOf(actor)),
                " ",
                summary,
              ),
            ),
          ),
        ),
        left > 0 && h("p.note", {}, text("leftOut", { n: left })),
        incident.is_cut && h("p.note", {}, text("cutOff")),
      ),
      (policy || next) &&
        h(
          "dl",
          { key: "facts" },
          next && h("dt", { key: "n" }, text("nextStep")),
          next && h("dd", { key: "nd" }, next),
          policy && h("dt", { key: "p" }, text("policy")),
          policy && h("dd", { key: "pd" }, policy),
        ),
      output.length > 0 &&
        h("", { key: "output" }, h("h3", {}, text("lastLines")), h("pre", { tabindex: 0 }, output.join("\n"))),
      h(
        ".acts row wrap",
        { key: "acts" },
        this.hasAttribute("share") &&
          button("share", this.#done.get(link) ?? text("copyLink"), () => this.#share(id), { key: "link" }),
        button(
          "copy",
          this.#done.get(copy) ?? text("copyText"),
          () => this.#after(copy, navigator.clipboard.writeText(textOf(incident))),
          { key: "copy" },
        ),
        button("save", text("download"), () => this.#save(incident), { key: "save" }),
      ),
    );
  }

  /** @param {IncidentStory} incident */
  #row(incident) {
    const { id, actor, started_at: startedAt, ended_at: endedAt, lasted_ms: lasted, totals } = incident;
    const isOpen = this.#open.has(id);
    const isLost = Object.entries(totals).some(([name, n]) => n > 0 && LOST.test(name));
    const tone = endedAt ? "" : isLost ? "bad" : "warn";
    return h(
      `li.incident ${isOpen ? "open" : "clip"}`,
      { key: id, id: `i-${id}` },
      h(
        `button.top ${tone}`,
        { type: "button", "aria-expanded": String(isOpen), onclick: () => this.#toggle(id) },
        h("span.mark"),
        h("span.headline", {}, h("b", {}, nameOf(actor)), /^the /.test(headlineOf(incident)) ? ": " : " ", headlineOf(incident)),
        h("span.chip num", {}, endedAt ? text("overAfter", { time: spanText(lasted) }) : text("ongoing")),
        h("span.sub num", {}, this.#time(startedAt), this.#totals(incident)),
      ),
      isOpen && this.#body(incident),
    );
  }

  /** @override */
  view() {
    const { isLive } = this.state;
    if (isLive && this.#isStale && !this.#isReading && !document.hidden) {
      const wait = this.#readAt + READ_MS - Date.now();
      if (wait > 0) this.again(wait);
      else void this.#read();
    }
    const actor = this.getAttribute("actor");
    const isOf = (/** @type {string} */ path) => !actor || path === actor || path.startsWith(`${actor}/`);
    const all = this.#list ?? [];
    const list = all.filter((incident) => incident.actors.some(isOf) || isOf(incident.actor));
    const empty = this.#error
      ? text("incidentsFailed", { reason: messageOf(/** @type {never} */ (this.#error)) })
      : text(this.#list ? "noIncidents" : "incidentsLoading");
    return [
      h(
        `.card ${isLive ? "" : "old"}`,
        {},
        list.length > 0
          ? h(
              ".scroll",
              { tabindex: 0, role: "region", "aria-label": text("incidents") },
              h(
                "ul",
                {},
                list.map((incident) => this.#row(incident)),
              ),
              all.length >= this.#limit &&
                this.#limit < LIMIT_MAX &&
                h(
                  ".head",
                  {},
                  button("more", text("moreIncidents"), () => {
                    this.#more += 50;
                    this.#isStale = true;
                    this.refresh();
                  }),
                ),
            )
          : h("p.empty", { role: this.#error ? "alert" : null }, empty),
      ),
    ];
  }
}

define("mainstay-incidents", Incidents);
