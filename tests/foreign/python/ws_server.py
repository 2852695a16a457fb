"""A WebSocket server that is the `websockets` package and nothing else."""

import argparse
import asyncio
import json
from http import HTTPStatus

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import feed

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--ping-interval", type=float, default=20)
parser.add_argument("--ping-timeout", type=float, default=20)
parser.add_argument("--max-size", type=int, default=1 << 20)
parser.add_argument("--first", type=int, default=1)
parser.add_argument("--last", type=int, default=0)
options = parser.parse_args()
events = feed.Feed(options.first, options.last)


class Peer:
    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def send_text(self, text: str) -> None:
        await self.socket.send(text)

    async def close(self, code: int, reason: str) -> None:
        await self.socket.close(code, reason)

    async def drop(self) -> None:
        self.socket.transport.abort()

    async def special(self, order: dict) -> None:
        match order["do"]:
            case "headers":
                headers = {name.lower(): value for name, value in self.socket.request.headers.raw_items()}
                extensions = self.socket.response.headers.get("Sec-WebSocket-Extensions")
                frame = {"type": "headers", "headers": headers, "extensions": extensions}
                await self.send_text(json.dumps(frame))
            case "ping":
                await (await self.socket.ping())
                await self.send_text(json.dumps({"type": "ponged"}))
            case "fragments":
                await self.socket.send(self.bytewise(order["text"]), text=True)
            case "pieces":
                # One message in so many fragments.
                await self.socket.send((b"x" * order["bytes"] for _ in range(order["count"])), text=True)
            case "raw":
                self.socket.transport.write(bytes.fromhex(order["hex"]))

    async def bytewise(self, text: str):
        """One byte a fragment, and a ping between any two of them."""
        for byte in text.encode():
            yield bytes([byte])
            await self.socket.ping()


def answer(connection: ServerConnection, request: Request) -> Response | None:
    """Refuses the handshake where the path says so."""
    _, _, status = request.path.rpartition("/refuse/")
    if status == request.path:
        return None
    response = connection.respond(HTTPStatus(int(status)), "refused\n")
    response.headers["Retry-After"] = "2"
    return response


async def attend(socket: ServerConnection) -> None:
    headers = socket.request.headers
    feed.say(f"opened {headers.get('Authorization')} {headers.get('X-Shell')}")
    peer = Peer(socket)
    try:
        await events.welcome(peer)
        async for text in socket:
            await events.obey(peer, text)
    except ConnectionClosed:
        pass
    finally:
        events.peers.discard(peer)
        # 1006 where the client did not answer a close, or sent none.
        feed.say(f"closed {socket.close_code}")


async def main() -> None:
    settings = {
        "process_request": answer,
        "ping_interval": options.ping_interval,
        "ping_timeout": options.ping_timeout,
        "max_size": options.max_size,
    }
    async with serve(attend, "127.0.0.1", options.port, **settings) as server:
        feed.announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


feed.end_with_the_test()
asyncio.run(main())
