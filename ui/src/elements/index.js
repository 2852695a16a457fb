/**
 * The elements. `<mainstay-connection-status>` and `toast` are there at once: they are needed when contact is
 * lost. The module of another element is loaded when that is first in the page. In a shadow tree
 * `loadElements(root)` does it; `all.js` loads all at once.
 */
import { toast } from "./error-toast.js";

export { ConnectionStatus } from "./connection-status.js";
export { ErrorToast, toast } from "./error-toast.js";
export { setText } from "./text.js";

const UNDEFINED = ":not(:defined)";

/**
 * Loads the modules of the elements in a document, an element or a shadow tree.
 * @param {ParentNode} root
 */
export async function loadElements(root) {
  const isThere = (root instanceof Element && root.matches(UNDEFINED)) || root.querySelector(UNDEFINED);
  if (isThere) await (await import("./load.js")).load(root);
}

if (globalThis.document) {
  const load = (/** @type {ParentNode} */ root) => {
    const retry = () => loadElements(root);
    retry().catch((error) => toast(error, { retry }));
  };
  new MutationObserver((records) => {
    for (const node of records.flatMap(({ addedNodes }) => [...addedNodes]))
      if (node instanceof Element) load(node);
  }).observe(document, { childList: true, subtree: true });
  load(document);
}
