/**
 * The supervision tree as a list of rows, with the lines that connect them. Pure.
 *
 * @typedef {import("../../protocol.d.ts").TreeNode} TreeNode
 * @typedef {import("../../protocol.d.ts").HistoryNode} HistoryNode
 * A node of now, or of an earlier moment, which knows less.
 * @typedef {object} ActorMembers
 * @property {string} status
 * @property {number | null} budget_left
 * @property {ActorNode[]} children
 * @typedef {Pick<TreeNode, "path" | "since" | "generation" | "restarts" | "restart_at" | "last_error"> & ActorMembers &
 *   Partial<Omit<TreeNode, "children" | "status" | "budget_left">>} ActorNode
 * @typedef {object} TreeRow
 * @property {ActorNode} node
 * @property {string} name
 * @property {number} level from 1
 * @property {number} place among its siblings, from 1
 * @property {number} siblings
 * @property {boolean[]} rails for each outer level, whether its line goes on below
 * @property {boolean} isParent
 * @property {boolean} isOpen
 * @property {string} parent the path of the supervisor, or an empty text
 */

/** @param {string} path */
export const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);

/**
 * Lists the rows of a tree, without the children of closed nodes.
 * @param {ActorNode | null} root
 * @param {ReadonlySet<string>} closed the paths of closed nodes
 * @returns {TreeRow[]}
 */
export function rowsOf(root, closed) {
  /** @type {TreeRow[]} */
  const rows = [];
  /**
   * @param {ActorNode} node
   * @param {string} parent
   * @param {number} level
   * @param {number} place
   * @param {number} siblings
   * @param {boolean[]} rails
   */
  const visit = (node, parent, level, place, siblings, rails) => {
    const { path, children } = node;
    const isParent = children.length > 0;
    const isOpen = isParent && !closed.has(path);
    rows.push({ node, name: nameOf(path), level, place, siblings, rails, isParent, isOpen, parent });
    if (!isOpen) return;
    const inner = level > 1 ? [...rails, place < siblings] : [];
    children.forEach((child, index) => visit(child, path, level + 1, index + 1, children.length, inner));
  };
  if (root) visit(root, "", 1, 1, 1, []);
  return rows;
}

/**
 * Returns the paths of the actors that were restarted between two trees.
 * @param {ReadonlyMap<string, number>} before the incarnations, by path
 * @param {TreeRow[]} rows
 */
export function restartedIn(before, rows) {
  return rows
    .filter(({ node }) => node.generation > (before.get(node.path) ?? node.generation))
    .map(({ node }) => node.path);
}

/** The statuses of the states that have another name there. @type {Record<string, string>} */
const STATUSES = { up: "running", given_up: "failed" };

/**
 * Returns a node of an earlier moment as one of now, with the children in the order of now.
 * @param {HistoryNode} node
 * @param {ReadonlyMap<string, number>} places the places of the paths in the tree of now
 * @returns {ActorNode}
 */
export function fromHistory({ state, attempt, children, ...node }, places) {
  const place = (/** @type {{ path: string }} */ { path }) => places.get(path) ?? places.size;
  return {
    ...node,
    status: STATUSES[state] ?? state,
    budget_left: attempt ? attempt.max - attempt.number : null,
    attempts: attempt?.number,
    children: children.toSorted((a, b) => place(a) - place(b)).map((child) => fromHistory(child, places)),
  };
}

/**
 * Returns what a meter of a restart budget shows; null without a limit.
 * @param {{ budget_left: number | null, attempts?: number }} node
 * @param {{ max: number } | null | undefined} budget the whole budget, if it is known
 */
export function meterOf({ budget_left: left, attempts = 0 }, budget) {
  if (left == null) return null;
  return { left, max: Math.max(budget?.max ?? left + attempts, left) };
}
