/**
 * What all elements share: rendering with keyed nodes, the client and its subscriptions, seconds that count
 * down.
 *
 * @typedef {import("../client.js").Client} Client
 * @typedef {import("../store.js").State} State
 * @typedef {{tag: string, part: string, props: Record<string, unknown>, kids: Kid[]}} VNode
 * @typedef {VNode | string | number | false | null | undefined | (VNode | false)[]} Kid
 * What a node remembers of its last rendering:
 * @typedef {{shown?: Map<unknown, Node>, props?: Record<string, unknown>}} Patched
 */
import { pageClient } from "../client.js";
import { shared, sheetOf } from "./style.js";
import { onText, text } from "./text.js";

// On a server there is no HTMLElement. The modules load there, and define nothing.
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * Describes a node. `"li.agent"` is a `li` whose class and part are `agent`; without a tag it is a `div`.
 * A `key` keeps a node in a list; a function is a listener.
 * @param {string} spec
 * @param {Record<string, unknown>} [props]
 * @param {...Kid} kids
 * @returns {VNode}
 */
export function h(spec, props = {}, ...kids) {
  const [tag, part = ""] = spec.split(".");
  return { tag: tag || "div", part, props, kids };
}

/**
 * @param {HTMLElement & Record<string, unknown>} node
 * @param {string} name
 * @param {unknown} value
 */
function setProp(node, name, value) {
  if (typeof value === "function" || /^(value|client)$/.test(name)) node[name] = value;
  else if (name === "style") node.style.cssText = String(value);
  else if (value == null || value === false) node.removeAttribute(name);
  else node.setAttribute(name, String(value));
}

/**
 * Brings a node's text in line. What is only appended leaves a selection alone.
 * @param {Text} node
 * @param {string} value
 */
function setData(node, value) {
  if (node.data === value) return;
  if (value.startsWith(node.data)) node.appendData(value.slice(node.length));
  else node.data = value;
}

/**
 * Brings an element's attributes and children in line. A node with the same key stays the same node.
 * @param {Node & Patched} parent
 * @param {Kid[]} kids
 */
export function patch(parent, kids) {
  const old = parent.shown ?? new Map();
  /** @type {Map<unknown, Node>} */
  const shown = new Map();
  /** @type {[Node, Exclude<Kid, unknown[]>][]} */
  const list = [];
  parent.shown = shown;
  kids.forEach((slot, index) =>
    [slot].flat().forEach((kid) => {
      if (!kid && kid !== 0) return;
      const vnode = typeof kid === "object" ? kid : null;
      const key = vnode?.props.key ?? index + (vnode?.tag ?? "");
      const node = old.get(key) ?? (vnode ? document.createElement(vnode.tag) : new Text());
      old.delete(key);
      shown.set(key, node);
      list.push([node, kid]);
    }),
  );
  for (const node of old.values()) /** @type {ChildNode} */ (node).remove();
  let next = parent.firstChild;
  for (const [node, kid] of list) {
    if (typeof kid === "object" && kid) patchElement(/** @type {HTMLElement} */ (node), kid);
    else setData(/** @type {Text} */ (node), String(kid));
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
}

/**
 * @param {HTMLElement & Patched} node
 * @param {VNode} vnode
 */
function patchElement(node, { part, props, kids }) {
  patch(node, kids);
  const old = node.props ?? {};
  const all = (node.props = part ? { class: part, part, ...props } : props);
  for (const name of Object.keys({ ...old, ...all })) {
    if (name !== "key" && old[name] !== all[name]) setProp(/** @type {never} */ (node), name, all[name]);
  }
}

/**
 * Describes a button, whose parts are `button` and its own. A busy one keeps the focus, and
 * takes no click, like one that is off.
 * @param {string} part
 * @param {string} label
 * @param {() => unknown} act
 * @param {{isBusy?: boolean, isOff?: boolean, isPressed?: boolean, name?: string, key?: string}} [options]
 */
export const button = (part, label, act, { isBusy, isOff = isBusy, isPressed, name, key = label } = {}) =>
  h(
    `button.button ${part}`,
    {
      key,
      type: "button",
      "aria-label": name,
      "aria-busy": isBusy,
      "aria-disabled": isOff,
      "aria-pressed": isPressed == null ? null : String(isPressed),
      onclick: () => isOff || void act(),
    },
    label,
  );

/** The base of all elements. */
export class MainstayElement extends Base {
  static css = "";
  /** @type {Client | null} */
  #client = null;
  /** Gives the page's client back. @type {(() => void) | null} */
  #release = null;
  /** @type {(() => void)[]} */
  stops = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  #due = Infinity;
  #frame = 0;

  constructor() {
    super();
    const { css } = /** @type {typeof MainstayElement} */ (this.constructor);
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [shared, css].map(sheetOf);
  }

  /** Returns the shadow root. */
  get root() {
    return /** @type {ShadowRoot} */ (this.shadowRoot);
  }

  /**
   * Returns the first node of a selector.
   * @param {string} selector
   */
  find(selector) {
    return /** @type {HTMLElement} */ (this.root.querySelector(selector));
  }

  /**
   * Returns a number of an attribute, or its default.
   * @param {string} name
   * @param {number} other
   */
  number(name, other) {
    return Number(this.getAttribute(name) ?? other);
  }

  /** Returns the client: the one that was set, else the page's. Only an element in a page counts as a use. */
  get client() {
    if (this.#client) return this.#client;
    const client = pageClient();
    if (this.isConnected) {
      this.#client = client;
      this.#release = client.hold(() => {
        this.disconnectedCallback();
        return () => this.isConnected && this.connectedCallback();
      });
    } else client.hold()();
    return client;
  }

  set client(client) {
    if (client === this.#client) return;
    const { isConnected } = this;
    if (isConnected) this.disconnectedCallback();
    this.#client = client;
    if (isConnected) this.connectedCallback();
  }

  /** Returns the state. */
  get state() {
    return this.client.store.getState();
  }

  /**
   * Picks what this element shows. It renders when one of these changes.
   * @param {State} state
   * @returns {unknown[]}
   */
  select(state) {
    return [state];
  }

  /** Begins what goes on while the element is in a page: here, to render when what it shows changes. */
  start() {
    this.stops.push(
      this.client.store.select(
        (state) => this.select(state),
        () => this.refresh(),
        (a, b) => a.every((value, index) => value === b[index]),
      ),
    );
  }

  /**
   * Describes what to show.
   * @returns {Kid[]}
   */
  view() {
    return [];
  }

  connectedCallback() {
    // A property that was set before the class was known hides the accessor.
    if (Object.hasOwn(this, "client")) {
      const { client } = this;
      Reflect.deleteProperty(this, "client");
      this.client = client;
    }
    if (this.stops.length) return;
    const render = () => this.refresh();
    this.listen(document, "visibilitychange", render);
    this.stops.push(onText(render));
    this.start();
    render();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    for (const stop of this.stops.splice(0)) stop();
    if (!this.#release) return;
    this.#release();
    this.#release = this.#client = null;
  }

  attributeChangedCallback() {
    this.refresh();
  }

  /**
   * Listens until the element leaves the page.
   * @param {EventTarget} target
   * @param {string} type
   * @param {(event: never) => void} listener
   */
  listen(target, type, listener) {
    const own = /** @type {EventListener} */ (listener);
    target.addEventListener(type, own);
    this.stops.push(() => target.removeEventListener(type, own));
  }

  /** Renders now, and drops the planned rendering. */
  refresh() {
    clearTimeout(this.#timer);
    this.#due = Infinity;
    if (this.stops.length) patch(this.root, this.view());
  }

  /** Renders with the next frame, however often it is called before. */
  plan() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.refresh();
    });
  }

  /**
   * Renders again after a delay, or earlier if that is planned. A hidden page renders once it is visible.
   * @param {number} ms
   */
  again(ms) {
    const due = Date.now() + ms;
    if (due >= this.#due || document.hidden) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.refresh(), ms);
  }

  /**
   * Returns "in 4 s", or "now", and renders again when that changes.
   * @param {number | null | undefined} at
   */
  when(at) {
    const left = (at ?? 0) - Date.now();
    if (left <= 0) return text("now");
    this.again(left % 1000 || 1000);
    return text("inSeconds", { n: Math.ceil(left / 1000) });
  }
}

/**
 * Defines an element once, also if its module is loaded again.
 * @param {string} name
 * @param {CustomElementConstructor} element
 */
export function define(name, element) {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, element);
}
