// A backend that is Express on Node's own HTTP server, with `ws` for the WebSocket. The routes are as small as they can
// be: what is tested is what lies below. Its WebSocket knows the orders of ../python/feed.py.
'use strict';

const crypto = require('node:crypto');
const zlib = require('node:zlib');
const { parseArgs } = require('node:util');
const express = require('express');
const { WebSocketServer } = require('ws');

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'keep-alive': { type: 'string', default: '5' },
    'ping-interval': { type: 'string', default: '20' },
    'max-size': { type: 'string', default: String(100 << 20) },
    first: { type: 'string', default: '1' },
    last: { type: 'string', default: '0' },
    'without-websocket': { type: 'boolean', default: false },
  },
});
const options = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]));

// A test holds the other end of stdin: when the test is gone, so is this process.
process.stdin.resume().on('end', () => process.exit());

const say = (line) => process.stdout.write(`${line}\n`);
const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const never = new Promise(() => {});

const app = express();
// With and without a slash at the end are two paths.
app.enable('strict routing');
// Faults are asked for, so what the framework logs of them would only distract.
app.set('env', 'test');

async function bytes(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

// === what was asked ===

app.all('/echo', async (request, response) => {
  const body = await bytes(request);
  response.json({
    method: request.method,
    query: request.url.split('?')[1] ?? '',
    headers: request.headers,
    bytes: body.length,
    body: body.toString().slice(0, 10_000),
  });
});

// The port that the client's connection comes from.
app.get('/caller', (request, response) => response.json(request.socket.remotePort));

app.post('/items', express.json(), (request, response) => {
  if (typeof request.body?.size !== 'number') return response.status(422).json({ errors: ['size: a number'] });
  response.status(201).json(request.body);
});

app.all('/slash', (request, response) => response.redirect(307, '/slash/'));
app.get('/slash/', (request, response) => response.json('behind the slash'));
app.post('/slash/', express.json(), (request, response) => response.json(request.body));

app.post('/digest', async (request, response) => {
  const hash = crypto.createHash('sha256');
  let size = 0;
  for await (const part of request) {
    hash.update(part);
    size += part.length;
  }
  response.json({ bytes: size, sha256: hash.digest('hex') });
});

// Refuses before the body has been read.
app.post('/too-large', (request, response) => response.status(413).send('too large'));
// The same, decided by the framework.
app.post('/limited', express.json({ limit: '1kb' }), (request, response) => response.json({}));

// === failures ===

app.all('/fail/:status', (request, response) => {
  const error = new Error('The cupboard is bare.');
  error.status = Number(request.params.status);
  throw error;
});

app.all('/raise', () => {
  throw new Error('a fault of the application');
});

// The client cuts the texts of its own request out of details, so requests name a text by its kind.
const DETAILS = { plain: 'The tray is empty.', path: 'no such file /srv/paper' };

app.get('/problem/:status/:kind', (request, response) => {
  const status = Number(request.params.status);
  const document = { type: 'about:blank', title: 'Out of paper', detail: DETAILS[request.params.kind], status };
  response.status(status).type('application/problem+json').send(JSON.stringify(document));
});

const seen = new Map();
const seenOf = (name) => {
  if (!seen.has(name)) seen.set(name, []);
  return seen.get(name);
};

// Fails so often, then answers.
app.all('/flaky/:name', async (request, response) => {
  const attempts = seenOf(request.params.name);
  const body = (await bytes(request)).toString();
  attempts.push({ method: request.method, key: request.headers['idempotency-key'] ?? null, body });
  if (attempts.length <= Number(request.query.failures)) {
    if (request.query.retry_after !== undefined) response.set('Retry-After', request.query.retry_after);
    return response.sendStatus(Number(request.query.status ?? 503));
  }
  response.json({ attempt: attempts.length });
});

app.get('/seen', (request, response) => {
  response.json(Object.fromEntries([request.query.name].flat().map((name) => [name, seenOf(name)])));
});

// === answers in their own time ===

app.get('/slow', async (request, response) => {
  if (request.query.name !== undefined) say(`taken ${request.query.name}`);
  await after(Number(request.query.ms));
  response.json({ ms: Number(request.query.ms) });
});

// Takes the request and never answers, until the client has gone.
app.post('/hold/:name', async (request, response) => {
  response.on('close', () => say(`released ${request.params.name}`));
  seenOf(request.params.name).push({ bytes: (await bytes(request)).length });
  say(`holding ${request.params.name}`);
  await never;
});

// Begins an answer and never ends it; with a length, one that was announced.
app.get('/begin/:name', async (request, response) => {
  response.type('text/plain');
  if (request.query.length !== undefined) response.set('Content-Length', request.query.length);
  response.write('the first part\n', () => say(`begun ${request.params.name}`));
  await never;
});

app.get('/sse', async (request, response) => {
  response.type('text/event-stream');
  for (let number = 0; number < Number(request.query.count); number += 1) {
    await after(Number(request.query.ms));
    response.write(`event: step\ndata: ${number}\n\n`);
    if (request.query.name !== undefined) say(`streaming ${request.query.name}`);
  }
  response.end();
});

app.get('/chunked', async (request, response) => {
  response.type('application/octet-stream');
  for (let number = 0; number < Number(request.query.parts); number += 1) {
    response.write(String.fromCharCode(97 + (number % 26)).repeat(Number(request.query.size)));
  }
  response.end();
});

// Says a few things before it answers, and one after.
app.get('/interim', (request, response) => {
  response.writeProcessing();
  response.writeEarlyHints({ link: '</style.css>; rel=preload' });
  response.set({ Trailer: 'X-Late', 'X-Note': 'd\u00e9j\u00e0 vu', 'Set-Cookie': ['a=1', 'b=2'] });
  response.statusMessage = 'Tr\u00e8s bien';
  response.write('the ');
  response.addTrailers({ 'X-Late': 'yes' });
  response.end('answer');
});

// Compresses although the client did not ask for it.
app.get('/zipped', (request, response) => {
  const body = zlib.brotliCompressSync(JSON.stringify({ text: 'x'.repeat(1000) }));
  response.set('Content-Encoding', 'br').type('application/json').send(body);
});

app.get('/text', (request, response) => response.type('text/plain').send('x'.repeat(Number(request.query.size))));

app.delete('/nothing', (request, response) => response.status(204).end());

app.head('/head', (request, response) => response.set({ 'Content-Length': '1234', 'X-Kind': 'head' }).end());

// === how many at once ===

const crowd = { here: 0, peak: 0, total: 0, waiting: [] };

// Lets requests through in groups, and counts how many were here at once.
app.get('/crowd', async (request, response) => {
  crowd.here += 1;
  crowd.total += 1;
  crowd.peak = Math.max(crowd.peak, crowd.here);
  await new Promise((resolve) => {
    crowd.waiting.push(resolve);
    if (crowd.waiting.length === Number(request.query.group)) crowd.waiting.splice(0).forEach((go) => go());
  });
  crowd.here -= 1;
  response.json({ here: crowd.here });
});

app.get('/peak', (request, response) => {
  response.json({ peak: crowd.peak, total: crowd.total, here: crowd.here });
});

const server = app.listen(options.port, '127.0.0.1', () => say(`listening on ${server.address().port}`));
server.keepAliveTimeout = options['keep-alive'] * 1000;
// Newer versions of Node allow a second more than they say.
server.keepAliveTimeoutBuffer = 0;

// === the WebSocket ===

const feed = { kept: [], last: options.last, atNext: 0, peers: new Set() };
for (let seq = options.first; seq <= options.last; seq += 1) feed.kept.push(seq);

const event = (seq) => JSON.stringify({ type: 'event', seq });

function emit(count) {
  for (let n = 0; n < count; n += 1) {
    feed.last += 1;
    feed.kept.push(feed.last);
    for (const peer of feed.peers) peer.send(event(feed.last));
  }
}

// A JSON text of exactly so many bytes.
function filler(size) {
  const bare = JSON.stringify({ type: 'filler', text: '' });
  return JSON.stringify({ type: 'filler', text: 'x'.repeat(size - bare.length) });
}

function obey(peer, text, request) {
  const order = JSON.parse(text);
  if (order.type === 'resume') {
    for (const seq of feed.kept.filter((kept) => kept > order.after)) peer.send(event(seq));
    return;
  }
  const orders = {
    say: () => peer.send(order.text),
    say_later: () => setTimeout(() => peer.send(order.text), order.ms),
    emit: () => emit(order.count),
    emit_later: () => setTimeout(() => emit(order.count), order.ms),
    close: () => peer.close(order.code, order.reason),
    drop: () => {
      // No client is sent the events that come meanwhile.
      feed.peers.delete(peer);
      emit(order.count ?? 0);
      feed.atNext = order.at_next ?? 0;
      peer.terminate();
    },
    reset: () => peer._socket.resetAndDestroy(),
    large: () => peer.send(filler(order.bytes)),
    measure: () => peer.send(JSON.stringify({ type: 'measured', bytes: Buffer.byteLength(text) })),
    headers: () => {
      const frame = { type: 'headers', headers: request.headers, extensions: peer.extensions || null };
      peer.send(JSON.stringify(frame));
    },
    ping: () => {
      peer.once('pong', () => peer.send(JSON.stringify({ type: 'ponged' })));
      peer.ping('there?');
    },
    pings: () => peer.send(JSON.stringify({ type: 'pings', count: peer.pings })),
    // One byte a fragment, and a ping between any two of them.
    fragments: () => {
      const all = Buffer.from(order.text);
      all.forEach((byte, n) => {
        peer.send(Buffer.from([byte]), { binary: false, fin: n === all.length - 1 });
        peer.ping();
      });
    },
    // One message in so many fragments.
    pieces: () => {
      for (let n = 1; n <= order.count; n += 1) {
        peer.send(Buffer.alloc(order.bytes, 'x'), { binary: false, fin: n === order.count });
      }
    },
    raw: () => peer._socket.write(Buffer.from(order.hex, 'hex')),
  };
  orders[order.do]();
}

const sockets = new WebSocketServer({
  ...(options['without-websocket'] ? { noServer: true } : { server }),
  perMessageDeflate: true,
  maxPayload: options['max-size'],
  // Refuses the handshake where the path says so.
  verifyClient: (info, allow) => {
    const status = info.req.url.split('/refuse/')[1];
    if (status === undefined) allow(true);
    else allow(false, Number(status), 'refused', { 'Retry-After': '2' });
  },
});

sockets.on('connection', (peer, request) => {
  say(`opened ${request.headers.authorization ?? null} ${request.headers['x-shell'] ?? null}`);
  feed.peers.add(peer);
  // Events that were kept for this moment are sent before anything is read from the socket.
  emit(feed.atNext);
  feed.atNext = 0;
  peer.pings = 0;
  peer.on('ping', () => (peer.pings += 1));
  peer.on('message', (data) => obey(peer, data.toString(), request));
  peer.on('close', (code) => {
    feed.peers.delete(peer);
    // 1006 where the client did not answer a close, or sent none.
    say(`closed ${code}`);
  });
  // What follows an error is a close.
  peer.on('error', () => {});
  // As the library's own documentation has it: who did not answer the last ping is cut off.
  let isAlive = true;
  peer.on('pong', () => (isAlive = true));
  const timer = setInterval(() => {
    if (!isAlive) return peer.terminate();
    isAlive = false;
    peer.ping();
  }, options['ping-interval'] * 1000);
  peer.on('close', () => clearInterval(timer));
});
