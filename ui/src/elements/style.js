/**
 * The style of all elements. Colours follow the `color-scheme` of the page; `--mainstay-*` replaces each.
 *
 * One sheet for all, so that rules are shared. Classes are parts as well.
 */
export const css = `
:host{--t:var(--mainstay-text,light-dark(#1b2028,#e9ecf1));--s:var(--mainstay-soft,light-dark(#586172,#a3adbc));
--b:var(--mainstay-surface,light-dark(#fff,#1b1f27));--l:var(--mainstay-line,light-dark(#dce0e6,#353b47));
--h:var(--mainstay-hover,light-dark(#f3f5f8,#252a34));--a:var(--mainstay-accent,light-dark(#2354c4,#8fb3ff));
--g:var(--mainstay-good,light-dark(#13733c,#54cc87));--w:var(--mainstay-warn,light-dark(#8a5700,#f0b65a));
--e:var(--mainstay-bad,light-dark(#b3261e,#ff8e84));--r:var(--mainstay-radius,10px);--c:var(--s);
display:block;color:var(--t);font:var(--mainstay-font,14px/1.45 system-ui,sans-serif);text-align:start}
:host([hidden]),[hidden]{display:none!important}
*{box-sizing:border-box;margin:0;overflow-wrap:anywhere}
ul,ol{list-style:none;padding:0}b,h2{font-weight:600;font-size:1em}
button,select,input,textarea{font:inherit;color:inherit;background:var(--b);border:1px solid var(--l);
border-radius:calc(var(--r)*.6);padding:.3em .75em}
button{cursor:pointer;white-space:nowrap}
button:hover,.prompt,.held,.question,.count,.event:hover{background:var(--h)}
.main,.risk{background:var(--a);border-color:transparent;color:var(--b)}.risk{background:var(--e)}
.main:hover,.risk:hover{background:var(--a);filter:brightness(1.1)}.risk:hover{background:var(--e)}
.bare{border-color:transparent;background:none;color:var(--s)}
[aria-disabled]{opacity:.6;cursor:default}
:focus-visible{outline:2px solid var(--a);outline-offset:2px}
.card,.item,dialog{background:var(--b);border:1px solid var(--l);border-radius:var(--r)}
.row,.head,.composer,.held{display:flex;align-items:center;gap:.6em}
.head,.held,.agent,.request,.question,.composer{padding:.7em .9em}
.head,.held,.agent:not(:last-child),.request:not(:last-child){border-bottom:1px solid var(--l)}
.grow{flex:1;min-width:0}
.soft,.time,.attempt,.countdown{color:var(--s)}
.note,.reason,.facts,.words,.time{color:var(--s);font-size:.93em}.error{color:var(--e)}
.num,.time,.countdown{font-variant-numeric:tabular-nums}
.spoken{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.empty{padding:1.5em;text-align:center;color:var(--s)}
.mark{flex:none;width:.65em;height:.65em;border-radius:50%;box-shadow:inset 0 0 0 .14em var(--c)}
.good{--c:var(--g)}.warn{--c:var(--w)}.bad{--c:var(--e)}
.good .mark,.warn .mark,.bad .mark{background:var(--c)}
.warn .mark{border-radius:0;clip-path:polygon(50% 0,100% 100%,0 100%)}.bad .mark{border-radius:1px;rotate:45deg;scale:.85}
.state{color:var(--c)}
pre{font:.88em/1.5 ui-monospace,monospace;white-space:pre-wrap;max-height:12em;overflow:auto}
.tall{display:flex;flex-direction:column;height:var(--mainstay-height,26rem);overflow:hidden;position:relative}
.log,.list{flex:1;min-height:0;overflow:auto;outline-offset:-2px}

.banner,.notices{position:fixed;z-index:var(--mainstay-layer,9000);inset-inline:.75rem;pointer-events:none}
.banner{top:.75rem}
.banner>*{width:min(36rem,100%);margin:auto;padding:.6em .6em .6em .9em;align-items:start;pointer-events:auto}
.banner .mark{margin-top:.45em}
.banner>*,.item,.newest,dialog{box-shadow:0 4px 20px rgb(0 0 0/.15)}
.banner button{min-width:9.8em}.ok{opacity:0}.banner>.ok{pointer-events:none}.title{margin-inline-end:.5em}
:host([placement=inline]) .banner{position:static}
:host([placement=inline]) .banner>*{width:auto;height:5.5em;overflow:auto;box-shadow:none}

.notices{bottom:1rem;inset-inline:auto 1rem;width:min(25rem,100% - 2rem)}
.item{padding:.7em .9em;margin-top:.6em;border-inline-start:3px solid var(--c);pointer-events:auto;animation:.18s in}
.outcome_unknown{border:1.5px dashed var(--c)}
@keyframes in{from{opacity:0;translate:0 .5em}}
.message{margin:.2em 0 .5em}.count{border-radius:1em;padding:0 .55em}.close{padding:0 .4em}
.more{margin:.5em;text-align:end}.acts{flex-wrap:wrap}
details{color:var(--s)}[open]{flex:1 0 100%}summary{cursor:pointer;width:fit-content}pre{margin-top:.5em}

.agent{display:flex;flex-wrap:wrap;gap:.4em 1em;align-items:center}
.old .state{color:var(--s)}.old .mark{background:none;clip-path:none;border-radius:50%;--c:var(--s)}
dialog{color:inherit;padding:1.3em;margin:auto;width:min(24rem,100% - 2rem)}dialog p{margin:.5em 0 1.2em}
::backdrop{background:rgb(0 0 0/.4)}dialog .row{justify-content:end}

.log{padding:1em;display:flex;flex-direction:column}.log ol{margin-top:auto}
.turn{display:flex;flex-direction:column;align-items:start;gap:.5em;margin-top:1.1em}
.prompt,.answer{white-space:pre-wrap;max-width:min(46rem,88%)}
.prompt{align-self:end;border-radius:var(--r);padding:.45em .8em}
.sent .answer::after{content:"▍";color:var(--a);animation:1s steps(2) infinite blink}
@keyframes blink{50%{opacity:0}}
.broken{border:1px dashed var(--w);border-radius:var(--r);padding:.4em .8em}
.question,.composer{border-top:1px solid var(--l)}.question .row{margin-top:.5em;flex-wrap:wrap}
textarea{flex:1;min-width:0;resize:none;max-height:9em;field-sizing:content}input{flex:1;min-width:0}

.request{display:flex;flex-wrap:wrap;align-items:center;gap:.4em .9em}.request .grow{flex-basis:12em}
.listing{max-height:var(--mainstay-height,26rem);overflow:auto}

.list{contain:strict;overflow-anchor:none;position:relative}select{max-width:13em}
.event{position:absolute;inset:0 0 auto;height:28px;padding:0 .9em;gap:.8em;contain:strict;display:flex;align-items:center}
.event[aria-selected]{background:color-mix(in srgb,var(--a) 18%,transparent)}
.event *{flex:none;overflow:hidden;text-overflow:ellipsis;white-space:pre}.event .kind{width:12em}.event .words{flex:1}
.event:not(.bad,.warn) .mark{opacity:.4}
.newest{position:absolute;bottom:.8em;left:50%;translate:-50%}.tall pre{margin:0;padding:.8em 1em;border-top:1px solid var(--l);flex:none}
.tall>.empty{position:absolute;inset:4em 0 auto}
@media(prefers-reduced-motion){*{animation:none!important}}
@media(forced-colors:active){.mark{forced-color-adjust:none}}
`;
