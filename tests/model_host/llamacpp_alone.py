"""`python -m tests.model_host.llamacpp_alone TOKENS SLOTS`: fills whole contexts in a process that has nothing else.

Prints the bytes of the process that came, and that are no pages of a file, and those of the model's file.
"""

from __future__ import annotations

import sys
import threading

import orjson
import xllamacpp  # noqa: F401 - the library itself is of no model

from tasks.model_host.llamacpp_server import LlamaServer
from tasks.model_host.measuring import anonymous, mapped
from tests.model_host.running import smollm2


def main(window: int, slots: int) -> None:
    """Load, fill, print."""
    before = anonymous()
    server = LlamaServer(smollm2(), context_window=window, slots=slots, threads=1)

    def fill(slot: int) -> None:
        prompt = [5 + (7 * at + slot) % 40_000 for at in range(window - 12)]
        body = {"prompt": prompt, "max_tokens": 10, "stream": True, "n_probs": 5}
        server.complete(orjson.dumps(body), lambda _: False)

    threads = [threading.Thread(target=fill, args=(slot,)) for slot in range(slots)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print((anonymous() or 0) - (before or 0), mapped([smollm2()]))
    server.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
