/**
 * The dashboard: connects, puts the words in, and lets its parts know of each other. Each part is an element of its own.
 *
 * @typedef {import("../src/elements/timeline.js").Moment} Moment
 */
import { client } from "./connect.js";
import "../src/elements/index.js";
import { setText } from "../src/elements/text.js";
import "./actor-actions.js";
import "./actor-panel.js";
import "./agent-vitals.js";
import "./faults.js";
import "./help.js";
import "./limits.js";
import { watchLiveness } from "./liveness.js";
import "./request-stats.js";
import { go, incidentLink, onRoute, readRoute } from "./route.js";
import { goToPart } from "./search.js";
import "./talk.js";
import { text } from "./texts.js";
import "./tour.js";
import "./verdict.js";
import { clockText } from "./verdict-words.js";

const PARTS = ["tree", "timeline", "incidents", "agents", "conversation", "requests", "limits", "events"];

/** @template {Element} E @param {string} selector @returns {E} */
const find = (selector) => /** @type {E} */ (document.querySelector(selector));

const verdict = /** @type {import("./verdict.js").DashVerdict} */ (find("dash-verdict"));
const tree = /** @type {import("../src/elements/tree.js").Tree} */ (find("mainstay-tree"));
const timeline = /** @type {import("../src/elements/timeline.js").Timeline} */ (find("mainstay-timeline"));
const faults = /** @type {import("./faults.js").DashFaults} */ (find("dash-faults"));
const tour = /** @type {import("./tour.js").DashTour} */ (find("dash-tour"));
const help = /** @type {import("./help.js").DashHelp} */ (find("dash-help"));
const search = /** @type {import("./search.js").DashSearch} */ (find("dash-search"));
const talk = /** @type {import("./talk.js").DashTalk} */ (find("dash-talk"));
const panel = /** @type {import("./actor-panel.js").DashActor} */ (find("dash-actor"));
const incidents = find("#incidents mainstay-incidents");

// === words and facts ===

for (const node of document.querySelectorAll("[data-text]")) {
  node.textContent = text(/** @type {HTMLElement} */ (node).dataset.text ?? "");
}
for (const heading of document.querySelectorAll("main h2")) heading.setAttribute("data-now", text("stillNow"));
incidents.setAttribute("share", incidentLink());

const liveness = watchLiveness(client, () => {
  verdict.refresh();
  faults.hidden = !liveness.demo.isDemo;
});
verdict.liveness = liveness.state;

function showRuntime() {
  const runtime = client.store.getState().status?.runtime;
  const facts = find("#runtime");
  if (!runtime) return;
  const since = clockText(Date.now() - runtime.uptime_ms, Date.now());
  const words = text("runtimeFacts", { run: runtime.run, pid: runtime.pid, since });
  if (facts.textContent !== words) facts.textContent = words;
}
client.store.subscribe(showRuntime);
showRuntime();

// === moments ===

/** @param {Moment | null} moment */
function showMoment(moment) {
  verdict.past = moment;
  tree.past = moment;
  document.documentElement.toggleAttribute("data-past", moment != null);
}

document.addEventListener("mainstay-moment", (event) => showMoment(/** @type {CustomEvent<Moment | null>} */ (event).detail));
document.addEventListener("dash-live", () => timeline.goTo(null));

// === what a person opens ===

document.addEventListener("mainstay-open", (event) => go({ actor: /** @type {CustomEvent<string>} */ (event).detail }));
document.addEventListener("dash-answer", (event) => talk.show(/** @type {CustomEvent<string>} */ (event).detail));
document.addEventListener("dash-tour", () => tour.begin());
document.addEventListener("dash-fault", (event) => void faults.inject(/** @type {CustomEvent<string>} */ (event).detail));
find("#help").addEventListener("click", () => help.open());

let shown = "";
onRoute(() => {
  const id = readRoute().get("incident") ?? "";
  if (!id || id === shown) return;
  shown = id;
  incidents.setAttribute("open", id);
  find("#incidents").scrollIntoView({ block: "start" });
});

// === keys ===

/** Returns whether a key is typed into a field. @param {Event} event */
function isTyped(event) {
  const [target] = event.composedPath();
  return target instanceof HTMLElement && (target.matches("input,textarea,select") || target.isContentEditable);
}

/** @type {Record<string, () => void>} */
const keys = {
  "/": () => search.focus(),
  "?": () => help.open(),
  Escape: () => {
    if (panel.hasAttribute("open")) panel.close();
    else if (verdict.past) timeline.goTo(null);
  },
};
PARTS.forEach((part, index) => (keys[String(index + 1)] = () => goToPart(part)));

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyped(event)) return;
  if (event.composedPath().some((node) => node instanceof HTMLDialogElement)) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

Object.assign(globalThis, { mainstay: { client, setText } });
