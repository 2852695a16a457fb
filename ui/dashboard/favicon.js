/** The icon and the title of the tab. Each level has a shape of its own beside its colour. */

/** @type {Record<string, { colour: string, shape: string }>} */
const ICONS = {
  ok: { colour: "#1f9d55", shape: '<circle cx="16" cy="16" r="11"/>' },
  notice: { colour: "#3b74e0", shape: '<circle cx="16" cy="16" r="9" fill="none" stroke-width="5" stroke="#3b74e0"/>' },
  warning: { colour: "#d98a00", shape: '<path d="M16 4 30 28H2z"/>' },
  error: { colour: "#d93025", shape: '<path d="M16 2 30 16 16 30 2 16z"/>' },
  lost: {
    colour: "#8a93a3",
    shape: '<circle cx="16" cy="16" r="11" fill="none" stroke="#8a93a3" stroke-width="4" stroke-dasharray="6 5"/>',
  },
};

/** Returns the address of a level's icon. @param {string} level */
export function iconOf(level) {
  const { colour, shape } = ICONS[level] ?? ICONS.lost;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="${colour}">${shape}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/**
 * Shows a verdict in the tab.
 * @param {string} level
 * @param {string} title
 */
export function showInTab(level, title) {
  if (document.title !== title) document.title = title;
  const link = /** @type {HTMLLinkElement} */ (document.querySelector('link[rel="icon"]'));
  const href = iconOf(level);
  if (link && link.getAttribute("href") !== href) link.href = href;
}
