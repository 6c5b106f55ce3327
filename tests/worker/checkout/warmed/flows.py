"""Flows that write down what they see."""

import asyncio
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.settings import get_current_settings

from warmed import facts


def write(out, **seen):
    fresh = Path(f"{out}.new")
    fresh.write_text(json.dumps(seen))
    fresh.rename(out)


def look():
    facts.COUNT += 1
    return {
        "count": facts.COUNT,
        "value": facts.VALUE,
        "code": facts.__file__,
        "warm": os.getpid() != facts.IMPORTED_BY,
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "random": random.random(),
        "main": sys.modules["__main__"].__spec__.name,
        "level": get_current_settings().logging.level,
        "persists": get_current_settings().results.persist_by_default,
        "debug": logging.getLogger("prefect.flow_runs").isEnabledFor(logging.DEBUG),
        "files": [str(file.resolve()) for file in Path("/proc/self/fd").iterdir()],
        "interrupt": callable(signal.getsignal(signal.SIGINT)),
        "memory_limit": resource.getrlimit(resource.RLIMIT_DATA)[0],
    }


@flow
async def observe(out: str):
    write(out, **look())
    get_run_logger().info("seen: %s", out)
    get_run_logger().debug("closely seen")
    print("printed by", out, flush=True)


def note(flow, flow_run, state):
    write(os.environ["HOOK"], state=state.name)


@flow
async def nap(out: str, seconds: float = 300.0, stubborn: bool = False):
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    command = "trap '' TERM; sleep 300 & wait; wait" if stubborn else "sleep 300 & wait"
    child = subprocess.Popen(["sh", "-c", command])  # noqa: ASYNC220
    began = time.time()
    write(out, pid=os.getpid(), child=child.pid, group=os.getpgid(child.pid), began=began)
    await asyncio.sleep(seconds)
    child.kill()
    write(out, pid=os.getpid(), child=child.pid, began=began, ended=time.time())


hooked = nap.with_options(name="hooked", on_cancellation=[note], on_crashed=[note])


@flow
async def die(how: str):
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(int(how))


@flow
async def eat(mib: int):
    return len(bytearray(mib * 1024 * 1024))


@flow
async def fail(out: str, seconds: float = 0.0):
    write(out, pid=os.getpid())
    await asyncio.sleep(seconds)
    raise RuntimeError("as it was told")


@flow(on_crashed=[note])
async def busy(out: str):
    async def turn():
        while True:
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)

    write(out, pid=os.getpid())
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(turn())
