/**
 * `<dash-spark>`: numbers as a small line, oldest first, or as two lines over one scale. It is a picture with words.
 *
 * Property `lines`: `[{ tone, values }]`. Attribute `label` has the words.
 *
 * @typedef {{ tone: "accent" | "soft" | "warn", values: number[] }} SparkLine
 */
import { define, h, MainstayElement } from "../src/elements/base.js";

const WIDTH = 100;
const HEIGHT = 28;
const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns the path of values within 100 × 28.
 * @param {number[]} values
 * @param {number} max
 */
export function pathOf(values, max) {
  const step = WIDTH / Math.max(1, values.length - 1);
  const y = (/** @type {number} */ value) => HEIGHT - 2 - (value / (max || 1)) * (HEIGHT - 4);
  return values.map((value, index) => `${index ? "L" : "M"}${(index * step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

export class DashSpark extends MainstayElement {
  static css = `
:host{display:block;min-width:0}svg{display:block;width:100%;height:100%;overflow:visible}
path{fill:none;stroke-width:1.6;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke:var(--a)}
.soft{stroke:var(--s)}.warn{stroke:var(--w)}
.area{stroke:none;fill:color-mix(in srgb,var(--a) 14%,transparent)}
`;
  static observedAttributes = ["label"];
  /** @type {SparkLine[]} */
  #lines = [];
  /** @type {SVGSVGElement | null} */
  #svg = null;

  set lines(lines) {
    this.#lines = lines;
    this.refresh();
  }

  get lines() {
    return this.#lines;
  }

  /** @override */
  start() {}

  /** @override */
  refresh() {
    super.refresh();
    if (!this.stops.length) return;
    if (!this.#svg) {
      this.#svg = document.createElementNS(SVG, "svg");
      this.#svg.setAttribute("aria-hidden", "true");
      this.#svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
      this.#svg.setAttribute("preserveAspectRatio", "none");
      this.find(".picture").append(this.#svg);
    }
    const max = Math.max(1, ...this.#lines.flatMap(({ values }) => values));
    const paths = this.#lines.flatMap(({ tone, values }, index) => {
      const shown = values.length === 1 ? [values[0], values[0]] : values;
      if (!shown.length) return [];
      const line = pathOf(shown, max);
      const area = { class: "area", d: `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z` };
      return index ? [{ class: tone, d: line }] : [area, { class: tone, d: line }];
    });
    while (this.#svg.childElementCount > paths.length) this.#svg.lastChild?.remove();
    paths.forEach(({ class: name, d }, index) => {
      const node = this.#svg?.children[index] ?? this.#svg?.appendChild(document.createElementNS(SVG, "path"));
      node?.setAttribute("class", name);
      node?.setAttribute("d", d);
    });
  }

  /** @override */
  view() {
    return [h(".picture", { role: "img", "aria-label": this.getAttribute("label") ?? "", style: "height:100%" })];
  }
}

define("dash-spark", DashSpark);
