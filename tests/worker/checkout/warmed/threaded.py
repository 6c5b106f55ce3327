import threading
import time

from prefect import flow

THREAD = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
THREAD.start()


@flow
async def threaded() -> bool:
    return THREAD.is_alive()
