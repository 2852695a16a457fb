"""A FastAPI backend with the faults that backends in Python have. Mainstay starts it, and gives it its port and its secret."""

import argparse
import os
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--notes", required=True, help="the folder that the test reads")
parser.add_argument("--loads", type=int, default=0, help="models that it loads before it listens")
parser.add_argument("--broken-import", action="store_true")
parser.add_argument("--ignore-term", action="store_true")
parser.add_argument("--bootloader", action="store_true", help="run the server in a child, as PyInstaller's bootloader does")
options = parser.parse_args()

token = os.environ["MAINSTAY_TOKEN"]


def note(name: str, text: object) -> None:
    with open(os.path.join(options.notes, name), "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


note("tokens", token)
note("pids", os.getpid())

if options.bootloader:
    worker = subprocess.Popen([sys.executable, *(arg for arg in sys.argv if arg != "--bootloader")])
    sys.exit(worker.wait())


# Two functions that call each other have a long traceback: of one that calls itself, Python leaves lines out.
def connect_to_model(depth: int, key: str) -> None:
    if depth:
        load_model(depth - 1, key)
    elif options.broken_import:
        raise ModuleNotFoundError(f"No module named 'torch' (key {key})")


def load_model(depth: int, key: str) -> None:
    connect_to_model(depth, key)


connect_to_model(30, token)

# What is loaded here takes seconds in a real backend. The test lets it go on.
for number in range(1, options.loads + 1):
    print(f"loading model {number} of {options.loads}", flush=True)
    while not os.path.exists(os.path.join(options.notes, f"model-{number}")):
        time.sleep(0.02)

import uvicorn  # noqa: E402
from fastapi import Depends, FastAPI, HTTPException, Request  # noqa: E402


def check_token(request: Request) -> None:
    if request.headers.get("authorization") != f"Bearer {token}":
        raise HTTPException(401, "the token is another")


app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


guarded = [Depends(check_token)]


@app.api_route("/pid", methods=["GET", "POST"], dependencies=guarded)
async def pid() -> int:
    return os.getpid()


@app.api_route("/die-once", methods=["GET", "POST"], dependencies=guarded)
async def die_once(request: Request) -> int:
    """Ends the process within the first request of each method."""
    marker = os.path.join(options.notes, f"died-{request.method}")
    if not os.path.exists(marker):
        note(f"died-{request.method}", os.getpid())
        os._exit(3)
    return os.getpid()


@app.get("/hang", dependencies=guarded)
async def hang() -> None:
    """Blocks the event loop, as a computation in an async function does."""
    note("hanging", os.getpid())
    time.sleep(3600)


@app.get("/flood", dependencies=guarded)
async def flood(lines: int) -> int:
    for number in range(lines):
        print(f"token 0x{number:08x} " + "x" * 80)
    sys.stdout.flush()
    return lines


@app.get("/raise", dependencies=guarded)
async def raise_error() -> None:
    raise RuntimeError(f"no answer from https://model.example/?key={token}")


if options.ignore_term:
    uvicorn.Server.install_signal_handlers = lambda self: None
    uvicorn.Server.capture_signals = lambda self: __import__("contextlib").nullcontext()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="info")
