/** Merges raw changes of files into one per file, and selects them by folder and glob. */

/** @import { FileChange } from "../protocol.d.ts" */

/**
 * @typedef {object} MergedChange
 * @property {string} path
 * @property {"created" | "modified" | "removed" | "renamed" | "rescan"} kind `rescan`: changes are lost,
 *   so read the folder again
 * @property {string} root the watched folder
 * @property {string} [from] the path before, of something that was renamed
 * @property {number} at the time of the last raw change
 */

/**
 * @typedef {object} Net
 * @property {boolean | null} before whether the file was there before the batch; null if that is not known
 * @property {boolean} after
 * @property {string | null} from
 * @property {string} root
 * @property {number} at
 */

/**
 * Collects raw changes. Editors write a file several times per save, also by way of another name.
 */
export function createMerge() {
  /** @type {Map<string, Net>} */
  const files = new Map();
  /** @type {Map<string, number>} */
  const rescans = new Map();

  /** @type {(path: string, change: Omit<Net, "from"> & {from?: string | null}) => void} */
  const note = (path, { before, after, from = null, root, at }) => {
    const known = files.get(path);
    // A new end: the order is that of the last changes.
    files.delete(path);
    files.set(path, {
      before: known ? known.before : before,
      after,
      from: from ?? known?.from ?? null,
      root,
      at,
    });
  };

  const add = (/** @type {FileChange} */ { kind, root, path, from }, /** @type {number} */ at) => {
    if (kind === "rescan") rescans.set(root, at);
    else if (kind === "renamed" && from !== undefined) {
      note(from, { before: true, after: false, root, at });
      note(path, { before: null, after: true, from, root, at });
    } else {
      note(path, { before: kind !== "created", after: kind !== "removed", root, at });
    }
  };

  /** @type {(path: string, net: Net) => MergedChange | null} */
  const toChange = (path, { before, after, from, root, at }) => {
    // A name that a file got and lost within the batch, such as an editor's backup, was not there before.
    if (!after) return before ? { path, kind: "removed", root, at } : null;
    const origin = from === null ? undefined : files.get(from);
    const isRename = origin?.before === true && !origin.after && before !== true;
    if (isRename && from !== null) return { path, kind: "renamed", root, from, at };
    return { path, kind: before === false ? "created" : "modified", root, at };
  };

  /** Returns the changes so far, one per file, and begins again. */
  const take = () => {
    const found = [...files].map(([path, net]) => toChange(path, net)).filter((change) => change !== null);
    const renamed = new Set(found.filter(({ kind }) => kind === "renamed").map(({ from }) => from));
    const kept = found.filter(({ kind, path }) => kind !== "removed" || !renamed.has(path));
    const again = [...rescans].map(([root, at]) => ({
      path: root,
      kind: /** @type {const} */ ("rescan"),
      root,
      at,
    }));
    files.clear();
    rescans.clear();
    return [...again, ...kept];
  };
  return { add, take };
}

/**
 * Returns a path with slashes alone, without one at its end.
 *
 * @param {string} path
 */
function plain(path) {
  return path.replaceAll("\\", "/").replace(/(?<=.)\/+$/, "");
}

/**
 * Returns whether a path is a folder or lies below it.
 *
 * @param {string} path
 * @param {string} folder
 */
export function isWithin(path, folder) {
  const [inner, outer] = [plain(path), plain(folder)];
  return inner === outer || inner.startsWith(outer.endsWith("/") ? outer : `${outer}/`);
}

/** The pieces of a glob, each with its regular expression. */
const PIECES = /\*\*\/|\*\*|\*|\?|\{([^{}]*)\}|[^*?{}]+|[{}]/g;

/**
 * Turns a glob into the source of a regular expression: `*` and `?` within a name, `**` across folders, `{a,b}` for
 * alternatives.
 *
 * @param {string} glob
 * @returns {string}
 */
export function globSource(glob) {
  return glob.replace(PIECES, (piece, alternatives) => {
    if (piece === "**/") return "(?:.*/)?";
    if (piece === "**") return ".*";
    if (piece === "*") return "[^/]*";
    if (piece === "?") return "[^/]";
    if (alternatives !== undefined) return `(?:${alternatives.split(",").map(globSource).join("|")})`;
    return piece.replace(/[.+^$()|[\]\\{}]/g, "\\$&");
  });
}

/**
 * Returns a test for paths. A glob without a slash matches the name, and another one the path below the
 * folder. A glob that begins with `!` excludes.
 *
 * @param {readonly string[]} globs
 * @returns {(path: string, root: string) => boolean}
 */
export function createGlob(globs) {
  const compiled = globs.map((glob) => {
    const isExcluded = glob.startsWith("!");
    const pattern = isExcluded ? glob.slice(1) : glob;
    const prefix = pattern.includes("/") ? "" : "(?:.*/)?";
    return { isExcluded, test: new RegExp(`^${prefix}${globSource(pattern)}$`) };
  });
  const wanted = compiled.filter(({ isExcluded }) => !isExcluded);
  const excluded = compiled.filter(({ isExcluded }) => isExcluded);
  return (path, root) => {
    const whole = plain(path);
    const base = plain(root);
    const below = isWithin(whole, base) ? whole.slice(base.length).replace(/^\//, "") : whole;
    const matches = wanted.length === 0 || wanted.some(({ test }) => test.test(below));
    return matches && !excluded.some(({ test }) => test.test(below));
  };
}
