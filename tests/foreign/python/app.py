"""A backend that is FastAPI on uvicorn. The routes are as small as they can be: what is tested is what lies below."""

import argparse
import asyncio
import gzip
import hashlib
import json
from collections import defaultdict
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

import feed

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--http", default="auto")
parser.add_argument("--loop", default="auto")
parser.add_argument("--ws", default="auto")
parser.add_argument("--ping-interval", type=float, default=20)
parser.add_argument("--ping-timeout", type=float, default=20)
parser.add_argument("--max-size", type=int, default=16 << 20)
parser.add_argument("--keep-alive", type=float, default=5)
parser.add_argument("--first", type=int, default=1)
parser.add_argument("--last", type=int, default=0)
options = parser.parse_args()

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=100)


# === what was asked ===


@app.api_route("/echo", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def echo(request: Request) -> dict:
    body = await request.body()
    return {
        "method": request.method,
        "query": request.url.query,
        "headers": dict(request.headers),
        "bytes": len(body),
        "body": body.decode("utf-8", "replace")[:10_000],
    }


@app.get("/caller")
async def caller(request: Request) -> int:
    """The port that the client's connection comes from."""
    return request.client.port


class Item(BaseModel):
    name: str = Field(min_length=3)
    size: int


@app.post("/items", status_code=201)
async def add(item: Item) -> Item:
    return item


@app.get("/slash/")
async def slash() -> str:
    return "behind the slash"


@app.post("/slash/")
async def slash_taken(item: Item) -> Item:
    return item


@app.post("/digest")
async def digest(request: Request) -> dict:
    hashed, size = hashlib.sha256(), 0
    async for part in request.stream():
        hashed.update(part)
        size += len(part)
    return {"bytes": size, "sha256": hashed.hexdigest()}


@app.post("/too-large")
async def too_large() -> Response:
    """Refuses before the body has been read."""
    return PlainTextResponse("too large", status_code=413)


# === failures ===


@app.get("/fail/{status}")
@app.post("/fail/{status}")
async def fail(status: int) -> None:
    raise HTTPException(status, detail="The cupboard is bare.")


@app.get("/raise")
@app.post("/raise")
async def fault() -> None:
    raise RuntimeError("a fault of the application")


# The client cuts the texts of its own request out of details, so requests name a text by its kind.
DETAILS = {"plain": "The tray is empty.", "path": "no such file /srv/paper"}


@app.get("/problem/{status}/{kind}")
async def problem(status: int, kind: str) -> JSONResponse:
    document = {"type": "about:blank", "title": "Out of paper", "detail": DETAILS[kind], "status": status}
    return JSONResponse(document, status, media_type="application/problem+json")


seen: dict[str, list[dict]] = defaultdict(list)


@app.api_route("/flaky/{name}", methods=["GET", "POST", "PUT", "DELETE"])
async def flaky(name: str, request: Request, failures: int, status: int = 503, retry_after: str | None = None) -> dict:
    """Fails so often, then answers."""
    attempts = seen[name]
    body = (await request.body()).decode()
    attempts.append({"method": request.method, "key": request.headers.get("idempotency-key"), "body": body})
    if len(attempts) <= failures:
        headers = None if retry_after is None else {"Retry-After": retry_after}
        raise HTTPException(status, headers=headers)
    return {"attempt": len(attempts)}


@app.get("/seen")
async def what_was_seen(name: Annotated[list[str], Query()]) -> dict:
    return {each: seen[each] for each in name}


# === answers in their own time ===


@app.get("/slow")
async def slow(ms: int, name: str | None = None) -> dict:
    if name is not None:
        feed.say(f"taken {name}")
    await asyncio.sleep(ms / 1000)
    return {"ms": ms}


@app.post("/hold/{name}")
async def hold(name: str, request: Request) -> None:
    """Takes the request and never answers, until the client has gone."""
    seen[name].append({"bytes": len(await request.body())})
    feed.say(f"holding {name}")
    while (await request.receive())["type"] != "http.disconnect":
        pass
    feed.say(f"released {name}")


@app.get("/begin/{name}")
async def begin(name: str, length: int | None = None) -> StreamingResponse:
    """Begins an answer and never ends it; with a length, one that was announced."""

    async def parts():
        yield b"the first part\n"
        feed.say(f"begun {name}")
        await asyncio.Event().wait()

    headers = None if length is None else {"Content-Length": str(length)}
    return StreamingResponse(parts(), media_type="text/plain", headers=headers)


@app.get("/sse")
async def sse(count: int, ms: int, name: str | None = None) -> StreamingResponse:
    async def parts():
        for number in range(count):
            await asyncio.sleep(ms / 1000)
            yield f"event: step\ndata: {number}\n\n"
            if name is not None:
                feed.say(f"streaming {name}")

    return StreamingResponse(parts(), media_type="text/event-stream")


@app.get("/chunked")
async def chunked(parts: int, size: int) -> StreamingResponse:
    async def each():
        for number in range(parts):
            yield bytes([ord("a") + number % 26]) * size

    return StreamingResponse(each(), media_type="application/octet-stream")


@app.get("/zipped")
async def zipped() -> Response:
    """Compresses although the client did not ask for it."""
    body = gzip.compress(json.dumps({"text": "x" * 1000}).encode())
    return Response(body, media_type="application/json", headers={"Content-Encoding": "gzip"})


@app.get("/text")
async def text(size: int) -> Response:
    """Large enough for the middleware to compress, if the client asks for that."""
    return PlainTextResponse("x" * size)


@app.delete("/nothing", status_code=204)
async def nothing() -> None: ...


@app.head("/head")
async def head() -> Response:
    return Response(headers={"Content-Length": "1234", "X-Kind": "head"})


# === how many at once ===


class Crowd:
    """Lets requests through in groups, and counts how many were here at once."""

    def __init__(self) -> None:
        self.here = 0
        self.peak = 0
        self.total = 0
        self.barriers: dict[int, asyncio.Barrier] = {}

    async def join(self, group: int) -> None:
        self.here += 1
        self.total += 1
        self.peak = max(self.peak, self.here)
        try:
            await self.barriers.setdefault(group, asyncio.Barrier(group)).wait()
        finally:
            self.here -= 1


crowd = Crowd()


@app.get("/crowd")
async def join(group: int) -> dict:
    await crowd.join(group)
    return {"here": crowd.here}


@app.get("/peak")
async def peak() -> dict:
    return {"peak": crowd.peak, "total": crowd.total, "here": crowd.here}


# === agents ===

agents: dict[str, dict] = {
    "planner": {"status": "healthy", "uptime": 12, "errorCount": 0, "id": "planner", "load": [0.5], "model": None},
    "sparse": {"status": "healthy"},
    "odd": {"status": "healthy", "uptime": "a while", "errorCount": None, "id": 7},
}
memories: dict[str, object] = {}


@app.get("/api/agents/{name}/health")
async def health(name: str) -> dict:
    if name not in agents:
        raise HTTPException(404)
    return agents[name]


@app.post("/api/agents/{name}/restart", status_code=202)
async def restart(name: str) -> None:
    seen[f"restart-{name}"].append({})
    memories.pop(name, None)
    agents[name] |= {"status": "healthy", "uptime": 0}


@app.post("/api/agents/{name}/fail", status_code=204)
async def fail_agent(name: str) -> None:
    agents[name] |= {"status": "failed"}


@app.get("/api/agents/planner/state")
async def state() -> object:
    return memories.get("planner", {"notes": []})


@app.put("/api/agents/planner/state", status_code=204)
async def remember(request: Request) -> None:
    memories["planner"] = await request.json()


# === the WebSocket ===

events = feed.Feed(options.first, options.last)


class Peer:
    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.is_over = False

    async def send_text(self, text: str) -> None:
        await self.socket.send_text(text)

    async def close(self, code: int, reason: str) -> None:
        self.is_over = True
        await self.socket.close(code, reason)

    async def drop(self) -> None:
        # An endpoint that returns without closing leaves it to uvicorn, which sends no close frame.
        self.is_over = True

    async def special(self, order: dict) -> None:
        match order["do"]:
            case "headers":
                frame = {"type": "headers", "headers": dict(self.socket.headers)}
                await self.send_text(json.dumps(frame))
            case "raise":
                raise RuntimeError("a fault of the application")
            case "busy":
                feed.say("busy")
                await asyncio.sleep(order["ms"] / 1000)
                await self.send_text(json.dumps({"type": "done"}))


@app.websocket("/ws")
async def attend(socket: WebSocket) -> None:
    await socket.accept()
    feed.say(f"opened {socket.headers.get('authorization')} {socket.headers.get('x-shell')}")
    peer = Peer(socket)
    try:
        await events.welcome(peer)
        async for order in socket.iter_text():
            await events.obey(peer, order)
            if peer.is_over:
                return
    finally:
        events.peers.discard(peer)


@app.websocket("/refuse/{status}")
async def refuse(socket: WebSocket, status: int) -> None:
    await socket.send_denial_response(PlainTextResponse("refused", status, headers={"Retry-After": "2"}))


@app.websocket("/unaccepted")
async def unaccepted(socket: WebSocket) -> None:
    """What many an application does with a client that it does not know."""
    await socket.close(1008)


def refuse() -> None:
    raise HTTPException(401)


@app.websocket("/dependency")
async def dependency(socket: WebSocket, user: Annotated[None, Depends(refuse)]) -> None:
    await socket.accept()


# === the server ===


class Server(uvicorn.Server):
    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        feed.announce(self.servers[0].sockets[0].getsockname()[1])


feed.end_with_the_test()
settings = uvicorn.Config(
    app,
    host="127.0.0.1",
    port=options.port,
    http=options.http,
    loop=options.loop,
    ws=options.ws,
    ws_max_size=options.max_size,
    ws_ping_interval=options.ping_interval,
    ws_ping_timeout=options.ping_timeout,
    timeout_keep_alive=options.keep_alive,
    # Faults are asked for, so what is logged of them would only distract.
    log_level="critical",
)
Server(settings).run()
