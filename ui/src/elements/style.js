/**
 * The style that all elements share. Colours follow the `color-scheme` of the page; `--mainstay-*` replaces
 * each.
 *
 * Classes are parts as well.
 */
export const shared = `
:host{--t:var(--mainstay-text,light-dark(#1b2028,#e9ecf1));
--s:var(--mainstay-soft,light-dark(#586172,#a3adbc));--b:var(--mainstay-surface,light-dark(#fff,#1b1f27));
--l:var(--mainstay-line,light-dark(#dce0e6,#353b47));--h:var(--mainstay-hover,light-dark(#f3f5f8,#252a34));
--a:var(--mainstay-accent,light-dark(#2354c4,#8fb3ff));--g:var(--mainstay-good,light-dark(#13733c,#54cc87));
--w:var(--mainstay-warn,light-dark(#8a5700,#f0b65a));--e:var(--mainstay-bad,light-dark(#b3261e,#ff8e84));
--r:var(--mainstay-radius,10px);--c:var(--s);display:block;color:var(--t);
font:var(--mainstay-font,14px/1.45 system-ui,sans-serif);text-align:start}
:host([hidden]){display:none}
*{box-sizing:border-box;margin:0;overflow-wrap:break-word}
ul,ol{list-style:none;padding:0}b{font-weight:600}
button,.field{font:inherit;color:inherit;background:var(--b);border:1px solid var(--l);border-radius:6px;
padding:.3em .75em}
button{cursor:pointer;white-space:nowrap}button:hover{filter:brightness(.95)}
.main{background:var(--a);border-color:transparent;color:var(--b)}
.bare{border-color:transparent;background:none;color:var(--s)}
[aria-disabled]{opacity:.6;cursor:default}
:focus-visible{outline:2px solid var(--a);outline-offset:2px}
.card{background:var(--b);border:1px solid var(--l);border-radius:var(--r)}
.raised{box-shadow:0 4px 20px rgb(0 0 0/.15)}
.row{display:flex;align-items:center;gap:.5em .6em}.wrap{flex-wrap:wrap}
.grow{flex:1;min-width:0}.wrap>.grow{flex-basis:12em}
.soft,.note{color:var(--s)}.note{font-size:.93em}.error{color:var(--e)}
.num{font-variant-numeric:tabular-nums}
.spoken{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.mark{flex:none;forced-color-adjust:none;width:.65em;height:.65em;border-radius:50%;
box-shadow:inset 0 0 0 .14em var(--c)}
.good{--c:var(--g)}.warn{--c:var(--w)}.bad{--c:var(--e)}
.good .mark,.warn .mark,.bad .mark{background:var(--c)}
.warn .mark{border-radius:0;clip-path:polygon(50% 0,100% 100%,0 100%)}.bad .mark{border-radius:1px;
rotate:45deg;scale:.85}
pre{font:.88em/1.5 ui-monospace,monospace;white-space:pre-wrap;unicode-bidi:plaintext;max-height:12em;
overflow:auto}
@media(prefers-reduced-motion){*{animation:none!important}}
`;

/** @type {Map<string, CSSStyleSheet>} */
const sheets = new Map();

/**
 * Returns the sheet of a style, the same one for all elements.
 * @param {string} css
 */
export function sheetOf(css) {
  const sheet = sheets.get(css) ?? new CSSStyleSheet();
  if (!sheets.has(css)) sheet.replaceSync(css);
  sheets.set(css, sheet);
  return sheet;
}
