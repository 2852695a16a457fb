/** `<dash-tour>`: five steps, each beside the part that it is about. A step may do something by one click. */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { text } from "./texts.js";

/** The part of each step, and the faults that it makes. @type {{ part: string, faults: string[] }[]} */
const STEPS = [
  { part: "dash-verdict", faults: [] },
  { part: "#tree", faults: ["crash"] },
  { part: "#timeline", faults: [] },
  { part: "#incidents", faults: [] },
  { part: "#requests", faults: ["drop", "flood"] },
];

export class DashTour extends MainstayElement {
  static css = `${more}
:host{position:fixed;z-index:40;inset:auto 1rem 5.5rem auto;width:min(26rem,100% - 2rem)}
:host(:not([open])){display:none}
.card{padding:1em 1.1em;border-color:var(--a)}p{margin:.35em 0 .9em}.step{color:var(--a);font-weight:600;font-size:.9em}
`;
  #at = 0;

  /** @override */
  select() {
    return [];
  }

  /** @override */
  start() {
    super.start();
    this.listen(this, "keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.end();
    });
  }

  begin() {
    this.toggleAttribute("open", true);
    this.#go(0);
  }

  end() {
    this.removeAttribute("open");
    this.#mark(null);
  }

  /** @param {string | null} part */
  #mark(part) {
    for (const node of document.querySelectorAll("[data-tour]")) node.removeAttribute("data-tour");
    const node = part ? document.querySelector(part) : null;
    node?.setAttribute("data-tour", "");
    const smooth = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    node?.scrollIntoView({ block: "center", behavior: smooth ? "smooth" : "auto" });
  }

  /** @param {number} at */
  #go(at) {
    this.#at = at;
    this.refresh();
    this.#mark(STEPS[at].part);
    this.find(".next").focus({ preventScroll: true });
  }

  #try() {
    for (const name of STEPS[this.#at].faults)
      this.dispatchEvent(new CustomEvent("dash-fault", { detail: name, bubbles: true, composed: true }));
  }

  /** @override */
  view() {
    const n = this.#at + 1;
    const max = STEPS.length;
    const isLast = n === max;
    return [
      h(
        ".card raised",
        { role: "dialog", "aria-label": text("tour"), "aria-describedby": "words" },
        h(".step num", {}, text("tourStep", { n, max })),
        h("p", { id: "words", "aria-live": "polite" }, text(`tour-${n}`)),
        h(
          ".row wrap",
          {},
          STEPS[this.#at].faults.length > 0 && button("main try", text("tourTry"), () => this.#try(), { key: "try" }),
          button(isLast ? "next" : "next", isLast ? text("tourEnd") : text("tourNext"), () => (isLast ? this.end() : this.#go(n)), {
            key: "next",
          }),
          n > 1 && button("back", text("tourBack"), () => this.#go(n - 2), { key: "back" }),
          !isLast && button("bare end", text("tourEnd"), () => this.end(), { key: "end" }),
        ),
      ),
    ];
  }
}

define("dash-tour", DashTour);
