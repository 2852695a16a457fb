/** `<dash-search>`: one field for actors, incidents and parts of the page. `/` goes there. */
import { headlineOf } from "../src/elements/incidents.js";
import { define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { nameOf, rowsOf } from "../src/elements/tree-rows.js";
import { go } from "./route.js";
import { text } from "./texts.js";

const FOUND_MAX = 12;
const PARTS = ["tree", "timeline", "incidents", "agents", "conversation", "requests", "limits", "events"];
/** @typedef {{ kind: "actor" | "incident" | "part", key: string, label: string, note: string, open: () => void }} Found */

/** Goes to a part of the page, and to what takes the focus in it. @param {string} id */
export function goToPart(id) {
  const part = document.getElementById(id);
  const heading = part?.querySelector("h2");
  part?.scrollIntoView({ block: "start" });
  const inner = [...(part?.querySelectorAll("*") ?? [])]
    .flatMap(({ shadowRoot: root }) => root?.querySelector('[tabindex="0"]') ?? root?.querySelector("button,input,select") ?? [])
    .at(0);
  /** @type {HTMLElement | null | undefined} */ (inner ?? heading)?.focus({ preventScroll: true });
}

export class DashSearch extends MainstayElement {
  static css = `${more}
:host{position:relative;flex:1 1 16rem;max-width:30rem}
input{width:100%;padding:.42em .8em;text-overflow:ellipsis}
.found{position:absolute;inset:calc(100% + .35rem) 0 auto;min-width:min(24rem,90vw);max-height:70vh;overflow:auto;padding:.3em;
z-index:50}
.hit{display:grid;grid-template-columns:5.2em minmax(0,1fr);gap:.1em .8em;padding:.45em .7em;border-radius:6px;cursor:pointer}
.hit[aria-selected=true],.hit:hover{background:color-mix(in srgb,var(--a) 14%,var(--b))}
.hit .words{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.none{padding:.7em;color:var(--s)}
`;
  #query = "";
  #at = 0;
  /** @type {import("../protocol.d.ts").IncidentStory[]} */
  #incidents = [];
  #isOpen = false;

  /** @override @param {import("../src/store.js").State} state */
  select({ tree }) {
    return [this.#isOpen && tree];
  }

  /** @override */
  focus() {
    this.find("input").focus();
    /** @type {HTMLInputElement} */ (this.find("input")).select();
  }

  /** Reads the incidents when a search begins. */
  async #begin() {
    this.#isOpen = true;
    this.refresh();
    const reply = await this.client.command({ type: "incidents", limit: 200 }).catch(() => null);
    this.#incidents = reply?.incidents ?? this.#incidents;
    this.refresh();
  }

  /** @returns {Found[]} */
  #found() {
    const query = this.#query.toLowerCase();
    if (!query) return [];
    const actors = rowsOf(this.state.tree, new Set()).map(({ node: { path } }) => ({
      kind: /** @type {const} */ ("actor"),
      key: path,
      label: nameOf(path),
      note: path,
      open: () => go({ actor: path }),
    }));
    const incidents = this.#incidents.map((incident) => ({
      kind: /** @type {const} */ ("incident"),
      key: incident.id,
      label: `${nameOf(incident.actor)} ${headlineOf(incident)}`,
      note: incident.id,
      open: () => go({ incident: incident.id }),
    }));
    const parts = PARTS.map((part) => ({
      kind: /** @type {const} */ ("part"),
      key: part,
      label: text(`head-${part}`),
      note: "",
      open: () => goToPart(part),
    }));
    return [...actors, ...parts, ...incidents]
      .filter(({ label, note }) => `${label} ${note}`.toLowerCase().includes(query))
      .slice(0, FOUND_MAX);
  }

  #close() {
    this.#isOpen = false;
    this.#query = "";
    const input = /** @type {HTMLInputElement} */ (this.find("input"));
    input.value = "";
    this.refresh();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const found = this.#found();
    if (event.key === "ArrowDown") this.#at = Math.min(found.length - 1, this.#at + 1);
    else if (event.key === "ArrowUp") this.#at = Math.max(0, this.#at - 1);
    else if (event.key === "Enter" && found[this.#at]) {
      const { open } = found[this.#at];
      this.#close();
      open();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      this.#close();
      this.find("input").blur();
    } else return;
    event.preventDefault();
    this.refresh();
  }

  /** @override */
  view() {
    const found = this.#isOpen ? this.#found() : [];
    const isShown = this.#isOpen && this.#query !== "";
    this.#at = Math.max(0, Math.min(this.#at, found.length - 1));
    const label = text("searchAll");
    return [
      h("input.field", {
        type: "search",
        role: "combobox",
        placeholder: label,
        "aria-label": label,
        "aria-expanded": String(isShown && found.length > 0),
        "aria-controls": "found",
        "aria-autocomplete": "list",
        "aria-activedescendant": isShown && found.length ? `f${this.#at}` : null,
        onfocus: () => void this.#begin(),
        oninput: (/** @type {Event} */ { target }) => {
          this.#query = /** @type {HTMLInputElement} */ (target).value.trim();
          this.#at = 0;
          this.refresh();
        },
        onblur: () => setTimeout(() => this.isConnected && this.root.activeElement == null && this.#close(), 150),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      }),
      isShown &&
        h(
          ".found card raised",
          { key: "found", ...(found.length && { id: "found", role: "listbox", "aria-label": text("searchResults") }) },
          found.map(({ kind, key, label: words, open }, index) =>
            h(
              ".hit",
              {
                key: kind + key,
                id: `f${index}`,
                role: "option",
                "aria-selected": String(index === this.#at),
                onmousedown: (/** @type {Event} */ event) => event.preventDefault(),
                onclick: () => {
                  this.#close();
                  open();
                },
              },
              h("span.note", {}, text(`found-${kind}`)),
              h("span.words", {}, words),
            ),
          ),
          !found.length && h("p.none", { key: "none" }, text("searchNone")),
        ),
    ];
  }
}

define("dash-search", DashSearch);
