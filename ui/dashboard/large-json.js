/**
 * Reads a large JSON text, and says what is new in its lists. An element whose text is the same as before is neither parsed nor
 * sent again. Pure but for the lists that it remembers, of which the receiver has the same.
 */

/**
 * A list or an object in the text. `inner` has those directly within it; a small one is parsed at once, and has none.
 * @typedef {{ start: number, end: number, inner: Span[] | null }} Span
 */
/**
 * A list of the text: the names that lead to it, the place by which it is remembered, its length, and what is new.
 * @typedef {{ path: string[], place: string, length: number, changed: [index: number, value: unknown][] }} ListChange
 */

/** What is smaller is parsed at once. */
const SMALL_CHARS = 16_384;
/** The names that lead to the lists that come again and again: those of the status and of the tree. */
const NAMES = ["ok", "snapshot", "status", "tree", "agents", "children"];
/** The path of such a list, from whose place the root is left out: a snapshot has the same lists as the replies after it. */
const REMEMBERED = /^\[(?:"ok"|"snapshot","(?:status|tree)"),("agents"|(?:"children","\d+",)*"children")\]$/;
const [QUOTE, BACKSLASH] = [34, 92];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [91, 93, 123, 125];

/**
 * Returns the place of a closing quote; -1 without one.
 * @param {string} text
 * @param {number} from the place of the opening quote
 */
function closingQuote(text, from) {
  for (let at = text.indexOf('"', from + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}

/**
 * Finds the outermost list or object. Returns null if the brackets do not match.
 * @param {string} text
 * @returns {Span | null}
 */
function scan(text) {
  /** @type {{ start: number, inner: Span[] }[]} */
  const open = [];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = closingQuote(text, at);
      if (at < 0) return null;
    } else if (code === OPEN_OBJECT || code === OPEN_LIST) open.push({ start: at, inner: [] });
    else if (code === CLOSE_OBJECT || code === CLOSE_LIST) {
      const last = open.pop();
      if (!last) return null;
      const span = { start: last.start, end: at + 1, inner: at - last.start < SMALL_CHARS ? null : last.inner };
      const outer = open.at(-1);
      if (!outer) return span;
      outer.inner.push(span);
    }
  }
  return null;
}

/**
 * Returns the name of the member whose value begins at a place; null if it is not written plainly.
 * @param {string} text
 * @param {number} start
 */
const nameBefore = (text, start) => /[{,]\s*"([^"\\]*)"\s*:\s*$/.exec(text.slice(Math.max(0, start - 128), start))?.[1] ?? null;

/**
 * Returns whether nothing but commas stands before and between the parts of a list.
 * @param {string} text
 * @param {number} start
 * @param {Span[]} inner
 */
const isClose = (text, start, inner) =>
  inner.every((span, index) => text.slice(index ? inner[index - 1].end : start + 1, span.start).trim() === (index ? "," : ""));

/**
 * Returns whether a list has nothing but these small objects.
 * @param {string} text
 * @param {Span} list
 * @param {Span[]} inner
 */
function isListOf(text, { start, end }, inner) {
  return (
    text.charCodeAt(start) === OPEN_LIST &&
    inner.every((span) => !span.inner) &&
    isClose(text, start, inner) &&
    text.slice(inner.at(-1)?.end, end).trim() === "]"
  );
}

/**
 * Remembers the lists of a whole message. They replace all of the last status, or of the last tree.
 * @template T
 * @param {Map<string, T>} known
 * @param {Map<string, T>} fresh
 */
function remember(known, fresh) {
  const kindOf = (/** @type {string} */ place) => place.split(",")[0];
  const kinds = new Set([...fresh.keys()].map(kindOf));
  for (const place of [...known.keys()]) if (kinds.has(kindOf(place))) known.delete(place);
  for (const [place, list] of fresh) known.set(place, list);
}

/** Creates a reader of texts. */
export function createReader() {
  /** The texts of the elements, by place. @type {Map<string, string[]>} */
  const known = new Map();

  /**
   * Returns the value of a text, in which each list that is remembered is empty, and these lists.
   * @param {string} text
   */
  return (text) => {
    /** @type {ListChange[]} */
    const lists = [];
    /** The lists of this text. They count once all of it is read. @type {typeof known} */
    const fresh = new Map();
    /**
     * @param {string} place
     * @param {Span[]} inner
     * @param {string[]} path
     */
    const readList = (place, inner, path) => {
      const before = known.get(place) ?? [];
      // The new text is kept also if it is the same: an old one would keep the whole text that it is a part of.
      const texts = inner.map(({ start, end }) => text.slice(start, end));
      fresh.set(place, texts);
      const changed = texts.flatMap((own, index) =>
        own === before[index] ? [] : [/** @type {[number, unknown]} */ ([index, JSON.parse(own)])],
      );
      lists.push({ path, place, length: texts.length, changed });
      return [];
    };
    /**
     * @param {Span} span
     * @param {string[]} path
     * @returns {unknown}
     */
    const read = (span, path) => {
      const { start, end, inner } = span;
      if (inner?.length && isListOf(text, span, inner)) {
        const place = REMEMBERED.exec(JSON.stringify(path))?.[1];
        if (place && !fresh.has(place)) return readList(place, inner, path);
      }
      const isObject = text.charCodeAt(start) === OPEN_OBJECT;
      const nameOf = (/** @type {Span} */ each, /** @type {number} */ index) =>
        isObject ? (nameBefore(text, each.start) ?? "") : String(index);
      const isLeading = (/** @type {string} */ name) => (isObject ? NAMES.includes(name) : path.at(-1) === "children");
      const large = (inner ?? [])
        .flatMap((each, index) => (each.inner ? [{ ...each, name: nameOf(each, index) }] : []))
        .filter(({ name }) => isLeading(name));
      const names = new Set(large.map(({ name }) => name));
      const isPlain = isObject || (inner && isClose(text, start, inner));
      if (!large.length || names.size < large.length || !isPlain) return JSON.parse(text.slice(start, end));
      const edges = [start, ...large.flatMap((each) => [each.start, each.end]), end];
      const frame = edges.flatMap((edge, index) => (index % 2 ? [text.slice(edges[index - 1], edge)] : []));
      const value = JSON.parse(frame.join("null"));
      // A name that stands twice has the value that is last, which may be a small one.
      if (large.some(({ name }) => value[name] !== null)) return JSON.parse(text.slice(start, end));
      for (const { name, ...each } of large) value[name] = read(each, [...path, name]);
      return value;
    };
    const span = scan(text);
    const isWhole = span && !text.slice(span.end).trim() && !text.slice(0, span.start).trim();
    // What is no JSON fails here, with the words of the parser.
    const value = isWhole ? read(span, []) : JSON.parse(text);
    remember(known, fresh);
    return { value, lists };
  };
}

/** Creates the counterpart of a reader, which has the values of its lists. */
export function createWriter() {
  /** @type {Map<string, unknown[]>} */
  const known = new Map();
  /** The lists of a message of which only parts came. @type {typeof known} */
  let fresh = new Map();
  return {
    /** Takes what is new in a list. @param {ListChange} change */
    change({ place, length, changed }) {
      const list = fresh.get(place) ?? (known.get(place) ?? []).slice(0, length);
      for (const [index, value] of changed) list[index] = value;
      fresh.set(place, list);
    },
    /**
     * Returns the value of a text with its lists. Each text is completed, also one that is not needed any more.
     * @param {any} value
     * @param {Pick<ListChange, "path" | "place">[]} lists
     */
    complete(value, lists) {
      remember(known, fresh);
      fresh = new Map();
      for (const { path, place } of lists) {
        const owner = path.slice(0, -1).reduce((each, name) => each[name], value);
        owner[path.at(-1) ?? ""] = known.get(place);
      }
      return value;
    },
  };
}
