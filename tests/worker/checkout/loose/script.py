"""A flow in a file of its own, which Prefect executes in every run."""

import os

from prefect import flow
from warmed import facts
from warmed.flows import look, write

EXECUTED_BY = os.getpid()


@flow
async def script(out: str):
    write(out, **look(), executed_here=os.getpid() == EXECUTED_BY, imported_by=facts.IMPORTED_BY)
