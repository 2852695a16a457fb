"""What the WebSocket endpoints of both Python servers do with a client's texts.

A client gives orders, `{"do": …}`, so that a test makes every move. Events are numbered, and a client that asks to
resume gets what came after.
"""

import asyncio
import json
import os
import sys
import threading
from collections import deque
from typing import Protocol


class Peer(Protocol):
    """The server's end of one socket."""

    async def send_text(self, text: str) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...

    async def drop(self) -> None:
        """Ends the connection without a close frame."""

    async def special(self, order: dict) -> None:
        """Carries out an order that only this server knows."""


class Feed:
    """The events so far, and the sockets that get them."""

    def __init__(self, first: int, last: int) -> None:
        """As if the events up to `last` had been, of which those before `first` are forgotten."""
        self.kept = deque(range(first, last + 1))
        self.last = last
        self.at_next = 0
        self.peers: set[Peer] = set()
        self.later: set[asyncio.Task] = set()

    async def welcome(self, peer: Peer) -> None:
        """A socket is open. Events that were kept for this moment are sent before anything is read from it."""
        self.peers.add(peer)
        count, self.at_next = self.at_next, 0
        await self.emit(count)

    async def obey(self, peer: Peer, text: str) -> None:
        """Carries out what one text of a client says."""
        order = json.loads(text)
        if order.get("type") == "resume":
            for seq in [seq for seq in self.kept if seq > order["after"]]:
                await tell(peer, event(seq))
            return
        match order["do"]:
            case "say":
                await peer.send_text(order["text"])
            case "emit":
                await self.emit(order["count"])
            case "emit_later":
                self.soon(self.emit_after(order["ms"] / 1000, order["count"]))
            case "close":
                await peer.close(order["code"], order.get("reason", ""))
            case "drop":
                # No client is sent the events that come meanwhile.
                self.peers.discard(peer)
                await self.emit(order.get("count", 0))
                self.at_next = order.get("at_next", 0)
                await peer.drop()
            case "large":
                await peer.send_text(filler(order["bytes"]))
            case "measure":
                await peer.send_text(json.dumps({"type": "measured", "bytes": len(text.encode())}))
            case "say_later":
                self.soon(say_after(peer, order["ms"] / 1000, order["text"]))
            case _:
                await peer.special(order)

    async def emit(self, count: int) -> None:
        for _ in range(count):
            self.last += 1
            self.kept.append(self.last)
            for peer in list(self.peers):
                await tell(peer, event(self.last))

    async def emit_after(self, seconds: float, count: int) -> None:
        await asyncio.sleep(seconds)
        await self.emit(count)

    def soon(self, work) -> None:
        task = asyncio.create_task(work)
        self.later.add(task)
        task.add_done_callback(self.later.discard)


def event(seq: int) -> str:
    return json.dumps({"type": "event", "seq": seq})


def filler(size: int) -> str:
    """A JSON text of exactly so many bytes."""
    bare = json.dumps({"type": "filler", "text": ""})
    return json.dumps({"type": "filler", "text": "x" * (size - len(bare))})


async def tell(peer: Peer, text: str) -> None:
    """Sends to a peer that may have gone."""
    try:
        await peer.send_text(text)
    except Exception:
        pass


async def say_after(peer: Peer, seconds: float, text: str) -> None:
    await asyncio.sleep(seconds)
    await tell(peer, text)


def announce(port: int) -> None:
    """Tells the test where the server listens."""
    say(f"listening on {port}")


def say(line: str) -> None:
    """Tells the test that something has happened."""
    print(line, flush=True)


def end_with_the_test() -> None:
    """A test holds the other end of stdin: when the test is gone, so is this process."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
