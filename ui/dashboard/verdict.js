/**
 * `<dash-verdict>`: how things are in one sentence, with the one button that helps. It is grey while the runtime is silent.
 *
 * @import { VerdictAction } from "../protocol.d.ts"
 * @typedef {import("../src/elements/timeline.js").Moment} Moment
 */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { toast } from "../src/elements/error-toast.js";
import { spanText } from "../src/elements/time-axis.js";
import { showInTab } from "./favicon.js";
import { text } from "./texts.js";
import { verdictWords } from "./verdict-words.js";

export class DashVerdict extends MainstayElement {
  static css = `
:host{position:sticky;top:0;z-index:20}
.verdict{display:flex;align-items:center;gap:.5rem .9rem;padding:.85rem clamp(.9rem,2vw,1.6rem);
--k:var(--s);background:color-mix(in srgb,var(--k) 11%,var(--b));border-bottom:1px solid color-mix(in srgb,var(--k) 40%,var(--l));
box-shadow:inset 5px 0 0 var(--k)}
.ok{--k:var(--g)}.notice{--k:var(--a)}.warning{--k:var(--w)}.error{--k:var(--e)}
.past{--k:var(--a);background:repeating-linear-gradient(135deg,color-mix(in srgb,var(--a) 13%,var(--b)) 0 10px,
color-mix(in srgb,var(--a) 8%,var(--b)) 10px 20px)}
.icon{flex:none;width:1.35rem;height:1.35rem;color:var(--k);forced-color-adjust:none}
.icon::before{content:"";display:block;box-sizing:border-box;width:100%;height:100%;background:currentcolor;border-radius:50%}
.notice .icon::before,.lost .icon::before{background:none;border:.3rem solid currentcolor}
.lost .icon::before{border-style:dashed;border-width:.2rem}
.warning .icon::before{border-radius:0;clip-path:polygon(50% 4%,100% 96%,0 96%)}
.error .icon::before{border-radius:2px;rotate:45deg;scale:.78}
h1{color:var(--t);font-size:clamp(1.05rem,.85rem + .9vw,1.45rem);font-weight:650;letter-spacing:-.01em;line-height:1.25;text-wrap:balance}
.main{background:var(--k);font-weight:600;padding:.45em 1.05em;font-size:1rem}
.notice .main,.past .main{background:var(--a)}
.outcome{font-size:.92em;color:var(--s)}
@media(max-width:560px){.verdict{flex-wrap:wrap}.grow{flex:1 1 70%}.main{flex:1 1 auto}}
`;
  /** @type {Moment | null} */
  #past = null;
  /** @type {import("./liveness.js").Liveness | null} */
  liveness = null;
  #isBusy = false;
  #done = "";

  /** What was at an earlier moment, or null for now. */
  get past() {
    return this.#past;
  }

  set past(moment) {
    this.#past = moment;
    this.refresh();
  }

  /** @override @param {import("../src/store.js").State} state */
  select({ status, isLive, session }) {
    return [status?.verdict, isLive, session.state, session.error];
  }

  /** @param {VerdictAction} action */
  async #act(action) {
    const { client } = this;
    const id = "id" in action ? action.id : "";
    const what = text(`do-${action.type}`, { id });
    if (action.type === "answer_agent")
      return this.dispatchEvent(new CustomEvent("dash-answer", { detail: id, bubbles: true, composed: true }));
    /** @type {Record<string, () => Promise<unknown>>} */
    const acts = {
      reconnect: () => client.connection.reconnect(),
      start_backend: () => client.backend.start(),
      reset_backend: () => client.backend.reset(),
      restart_backend: () => client.backend.restart(),
      restart_agent: () => client.agent(id).restart(),
      start_agent: () => client.agent(id).start(),
      reset_agent: () => client.agent(id).reset(),
    };
    this.#isBusy = true;
    this.#done = "";
    this.refresh();
    try {
      await acts[action.type]();
      this.#done = text("done", { what });
      setTimeout(() => {
        this.#done = "";
        this.refresh();
      }, 5000);
    } catch (error) {
      toast(error, { title: what, retry: () => this.#act(action) });
    }
    this.#isBusy = false;
    this.refresh();
  }

  /** Returns what is said: the level, the sentence, and the time that it counts down to. */
  #sentence() {
    const { status, session, isLive } = this.state;
    const now = Date.now();
    const { isLost, hasAnswered, lastSeenAt, skewMs } = this.liveness ?? { isLost: false, hasAnswered: false, lastSeenAt: now, skewMs: 0 };
    if (session.error?.reason === "unauthenticated" || (!isLive && session.state === "closed"))
      return { level: "lost", words: text("verdict-no-token"), until: null, isLost: true };
    if (isLost) {
      this.again(1000);
      const ago = spanText(Math.round((now - lastSeenAt) / 1000) * 1000);
      const words = hasAnswered || status ? text("verdict-lost", { ago }) : text("verdict-never");
      return { level: "lost", words, until: null, isLost: true };
    }
    if (!status) return { level: "lost", words: text("verdict-loading"), until: null, isLost: false };
    const toPage = (/** @type {string} */ at) => Date.parse(at) - skewMs;
    return { level: status.verdict.level, isLost: false, ...verdictWords(status.verdict, { now, toPage }) };
  }

  /** @param {Moment} moment */
  #pastSentence({ at, verdict }) {
    const time = new Date(at).toLocaleTimeString([], { timeStyle: "medium" });
    if (!verdict) return text("verdict-past", { time, sentence: text("verdict-none") });
    const { words } = verdictWords(verdict, { now: Date.parse(at), toPage: (each) => Date.parse(each) });
    return text("verdict-past", { time, sentence: words });
  }

  /** @override */
  view() {
    const { level, words, until, isLost } = this.#sentence();
    showInTab(level, isLost ? `${text("title-lost")} · Mainstay` : `${words} · Mainstay`);
    document.documentElement.toggleAttribute("data-lost", isLost);
    if (until != null && until > Date.now()) this.again((until - Date.now()) % 1000 || 1000);
    const past = this.#past;
    const action = this.state.status?.verdict.action;
    const label = action ? text(`do-${action.type}`, { id: "id" in action ? action.id : "" }) : "";
    return [
      h(
        `.verdict ${past ? `past ${past.verdict?.level ?? "lost"}` : level}`,
        { role: "region", "aria-label": text("verdict") },
        h("span.icon", { "aria-hidden": "true" }),
        h(
          ".grow",
          {},
          h("h1.sentence num", { key: "now" }, past ? this.#pastSentence(past) : words),
          h(".outcome", { key: "outcome", role: "status" }, this.#done),
        ),
        past &&
          button("main", text("backToNow"), () =>
            this.dispatchEvent(new CustomEvent("dash-live", { bubbles: true, composed: true })),
          ),
        !past && isLost && button("main", text("do-retry"), () => this.client.retryNow(), { key: "retry" }),
        !past &&
          !isLost &&
          action &&
          button("main act", label, () => this.#act(action), { isBusy: this.#isBusy, key: "act" }),
        h(".spoken", { key: "spoken", role: "status" }, until == null ? words : words.replace(/\d+ m?s(?!\w)/, "…")),
      ),
    ];
  }
}

define("dash-verdict", DashVerdict);
