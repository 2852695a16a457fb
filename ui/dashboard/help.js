/** `<dash-help>`: the keys, in a dialog. `?` opens it. */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { text } from "./texts.js";

/** @type {[string, string][]} */
const KEYS = [
  ["/", "search"],
  ["?", "help"],
  ["1 … 8", "parts"],
  ["Esc", "close"],
  ["↑ ↓ ← →", "tree"],
  ["Enter", "open"],
  ["← →", "scrub"],
  ["↑ ↓", "marks"],
  ["+ − 0", "zoom"],
  ["PgUp PgDn", "pan"],
  ["End", "live"],
  ["↑ ↓", "events"],
];

export class DashHelp extends MainstayElement {
  static css = `${more}
dialog{color:inherit;margin:auto;padding:1.3em 1.5em;width:min(34rem,100% - 2rem)}::backdrop{background:rgb(0 0 0/.4)}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.5em 1.2em;margin:1em 0 1.3em}dd{margin:0}
kbd{font:.9em ui-monospace,monospace;border:1px solid var(--l);border-bottom-width:2px;border-radius:5px;padding:.05em .45em;
background:var(--h);white-space:nowrap}
h2{font-size:1.2em}
`;

  /** @override */
  select() {
    return [];
  }

  open() {
    const dialog = /** @type {HTMLDialogElement} */ (this.find("dialog"));
    if (!dialog.open) dialog.showModal();
  }

  /** @override */
  view() {
    return [
      h(
        "dialog.card raised",
        { "aria-labelledby": "keys" },
        h("h2", { id: "keys" }, text("help")),
        h(
          "dl",
          {},
          KEYS.flatMap(([keys, key]) => [
            h("dt", { key }, keys.split(" ").map((each, index) => (h(each === "…" ? "span" : "kbd", { key: index }, each)))),
            h("dd", { key: `${key}=` }, text(`key-${key}`)),
          ]),
        ),
        button("main", text("closeHelp"), () => /** @type {HTMLDialogElement} */ (this.find("dialog")).close()),
      ),
    ];
  }
}

define("dash-help", DashHelp);
