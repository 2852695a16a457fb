/** `<dash-vitals>`: for each agent its last states and the time that its answers took, and the questions that wait. */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { firstOf } from "../src/elements/agents.js";
import { wordsOf } from "../src/elements/agent-conversation.js";
import { more } from "../src/elements/more.js";
import { spanText } from "../src/elements/time-axis.js";
import { Durations, quantile } from "./durations.js";
import "./spark.js";
import { text } from "./texts.js";

/** The agents that are shown; the tree has the others. */
const SHOWN_MAX = 40;
const STATES_MAX = 24;
const CELLS_MIN = 12;
/** @type {Record<string, string>} */
const TONES = { healthy: "good", degraded: "warn", restarting: "warn", starting: "soft", unknown: "warn", failed: "bad", stopped: "soft" };

export class DashVitals extends MainstayElement {
  static css = `${more}
.question{display:flex;gap:.8em;align-items:center;padding:.7em .9em;border:1px solid var(--a);border-radius:var(--r);
background:color-mix(in srgb,var(--a) 9%,var(--b));margin-bottom:.7em}
.vitals{display:grid;grid-template-columns:minmax(5em,auto) minmax(0,1fr) minmax(0,1.3fr) auto;gap:.5em 1em;align-items:center;
padding:.75em .9em;max-height:14rem;overflow:auto}
.id{font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.strip{display:flex;gap:2px;height:1em}.cell{flex:1 1 0;max-width:.55em;border-radius:2px;background:var(--c);
forced-color-adjust:none}.cell.none{background:var(--l);height:25%;align-self:end}.cell.warn{height:70%;align-self:end}.cell.bad{height:45%;align-self:end}
.cell.soft{height:70%;align-self:end}
dash-spark{height:1.7em}.caption{font-size:.82em;color:var(--s)}
@media(max-width:560px){.vitals{grid-template-columns:minmax(4em,auto) minmax(0,1fr) auto}.health{display:none}}
`;
  #durations = new Durations();
  #isBegun = false;

  /** @override @param {import("../src/store.js").State} state */
  select({ agents, isLive }) {
    return [agents, isLive];
  }

  #begin() {
    const runtime = this.state.status?.runtime;
    if (this.#isBegun || !runtime) return;
    this.#isBegun = true;
    this.stops.push(
      this.client.onEvents(
        ({ events }) => {
          this.#durations.add(/** @type {never} */ (events ?? []));
          this.plan();
        },
        { after: `${runtime.run}.${Math.max(0, runtime.seq - 2000)}` },
      ),
    );
  }

  /** @param {string} id */
  #answer(id) {
    this.dispatchEvent(new CustomEvent("dash-answer", { detail: id, bubbles: true, composed: true }));
  }

  /** @param {string} id @param {string} status */
  #health(id, status) {
    const states = (this.#durations.states.get(id) ?? []).slice(-STATES_MAX);
    const past = states.map(({ state }) => state);
    const shown = past.at(-1) === status ? past : [...past, status];
    const rest = Array.from({ length: Math.max(0, CELLS_MIN - shown.length) }, (_, index) => index);
    return h(
      ".strip health",
      { key: `h${id}`, role: "img", "aria-label": text("healthWords", { name: id, list: shown.map((each) => text(each)).join(", ") }) },
      rest.map((index) => h("span.cell none", { key: `rest${index}` })),
      shown.map((state, index) => h(`span.cell ${TONES[state] ?? "soft"}`, { key: index, title: text(state) })),
    );
  }

  /** @param {string} id @param {string} status */
  #vitals(id, status) {
    const times = (this.#durations.answers.get(id) ?? []).slice(-40);
    const last = times.at(-1);
    const middle = quantile(times, 0.5);
    const words =
      last == null || middle == null
        ? text("noLatency")
        : text("latencyWords", { name: id, last: spanText(last), median: spanText(middle), n: times.length });
    return [
      h("span.id", { key: `i${id}`, title: id }, id),
      this.#health(id, status),
      last == null
        ? h("span.note", { key: `n${id}` }, text("noLatency"))
        : h("dash-spark", { key: `s${id}`, label: words, "data-id": id }),
      h("span.note num", { key: `l${id}` }, last == null ? "" : spanText(last)),
    ];
  }

  /** @override */
  refresh() {
    super.refresh();
    for (const spark of this.root.querySelectorAll("dash-spark")) {
      const id = /** @type {HTMLElement} */ (spark).dataset.id ?? "";
      Object.assign(spark, { lines: [{ tone: "accent", values: (this.#durations.answers.get(id) ?? []).slice(-40) }] });
    }
  }

  /** @override */
  view() {
    this.#begin();
    const agents = /** @type {import("../src/store.js").Agent[]} */ (Object.values(this.state.agents));
    const asking = agents.filter(({ questions: list }) => list.length > 0);
    const questions = asking.flatMap(({ id, questions: list }) => list.map((question) => ({ id, question })));
    return [
      questions.length > 0 &&
        h(
          "",
          { key: "questions", role: "group", "aria-label": text("questions") },
          questions.map(({ id, question }) =>
            h(
              ".question",
              { key: `${id} ${question.ask}` },
              h("span.grow", {}, text("asksYou", { name: id, question: wordsOf(question.body) })),
              button("main", text("answerIt"), () => this.#answer(id), { name: text("do-answer_agent", { id }) }),
            ),
          ),
        ),
      agents.length > 0 &&
        h(
          ".card vitals",
          { key: "vitals", role: "group", "aria-label": text("vitals"), tabindex: 0 },
          h("span.caption", { key: "c0" }, ""),
          h("span.caption health", { key: "c1" }, text("vital-health")),
          h("span.caption", { key: "c2" }, text("vital-latency")),
          h("span.caption", { key: "c3" }, ""),
          firstOf(agents, SHOWN_MAX).flatMap(({ id, status }) => this.#vitals(id, status)),
        ),
    ];
  }
}

define("dash-vitals", DashVitals);
