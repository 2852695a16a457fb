/** The page of the benchmark: one row per frame, by this package or by react-use-websocket. */
import { useEffect, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import * as otherModule from "react-use-websocket";

import { connect } from "mainstay-ui";
import { useMessageReducer } from "mainstay-ui/react";

// Its default export arrives in one of two shapes, since it is CommonJS.
const useWebSocket = otherModule.default.default ?? otherModule.default;

/** The rows that are shown. */
const SHOWN = 100;

const now = () => performance.timeOrigin + performance.now();
const result = {};
window.result = result;
/** Begins a measurement. */
window.reset = () =>
  Object.assign(result, {
    rows: 0,
    received: 0,
    announced: 0,
    commits: 0,
    lastAt: 0,
    inDocument: [],
    onScreen: [],
  });
window.reset();

/** The times of frames whose rows are in the document and not yet on the screen. */
let unpainted = [];
const channel = new MessageChannel();
// A message that is posted in a frame comes after the frame was painted.
channel.port1.onmessage = () => {
  const at = now();
  for (const sent of unpainted.splice(0)) result.onScreen.push(at - sent);
};
requestAnimationFrame(function each() {
  channel.port2.postMessage(null);
  requestAnimationFrame(each);
});

/** Shows rows, and notes when each comes into the document. */
function Rows({ rows }) {
  useLayoutEffect(() => {
    const at = now();
    const last = rows.at(-1)?.n ?? -1;
    const fresh = rows.filter(({ n }) => n > (window.seen ?? -1));
    window.seen = last;
    result.rows += rows.length ? fresh.length : 0;
    result.commits++;
    result.lastN = last;
    result.lastAt = at;
    for (const row of fresh) {
      result.inDocument.push(at - row.at);
      unpainted.push(row.at);
    }
  }, [rows]);
  return (
    <ol>
      {rows.map(({ n, at }) => (
        <li key={n}>
          {n} {at}
        </li>
      ))}
    </ol>
  );
}

const keep = (rows, more) => [...rows, ...more].slice(-SHOWN);
const toRows = (items) => {
  const rows = items.filter((item) => "text" in item).map(({ text }) => JSON.parse(text));
  result.received += rows.length;
  for (const item of items) if ("lagged" in item) result.announced += item.lagged;
  return rows;
};

function Mainstay() {
  const rows = useMessageReducer("n", (all, items) => keep(all, toRows(items)), []);
  return <Rows rows={rows} />;
}

/** The way of react-use-websocket's own documentation. */
function Other({ url }) {
  const [rows, setRows] = useState([]);
  const { lastMessage } = useWebSocket(url);
  useEffect(() => {
    if (lastMessage === null) return;
    result.received++;
    setRows((all) => keep(all, [JSON.parse(lastMessage.data)]));
  }, [lastMessage]);
  return <Rows rows={rows} />;
}

window.start = (kind, url, token) => {
  const client = kind === "mainstay" ? connect({ url, token }) : null;
  createRoot(document.getElementById("app")).render(client ? <Mainstay /> : <Other url={url} />);
};
