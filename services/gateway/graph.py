"""The route of the page that draws a neighbourhood of the knowledge graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from models.graph import Ref
from services.gateway.graph_page import MOST_NODES, MOST_OPENED, page

if TYPE_CHECKING:
    from tasks.graph.questions.neighbourhood import Neighbourhood
    from tasks.graph.view import View

router = APIRouter(tags=["graph"])

_MOST_NAME = 1_000


@router.get("/graph", response_class=HTMLResponse)
async def graph(
    request: Request,
    node: Annotated[str, Query(max_length=_MOST_NAME, description="The node in the middle.")] = "",
    opened: Annotated[
        list[str], Query(alias="open", max_length=MOST_OPENED, description="Nodes whose neighbours are shown, too.")
    ] = [],  # noqa: B006 - FastAPI copies it
) -> HTMLResponse:
    """What is around a node, as a drawing. With the key as the password of any user, a browser can show it."""
    from blocks.configuration import load_configuration  # noqa: PLC0415 - what only this page needs
    from blocks.errors import LamaError  # noqa: PLC0415
    from blocks.graph_access import GraphAccess  # noqa: PLC0415
    from tasks.graph.questions.asking import AmbiguousError, UnknownNodeError  # noqa: PLC0415
    from tasks.graph.sealing import Seal  # noqa: PLC0415
    from tasks.graph.store import Store  # noqa: PLC0415
    from tasks.graph.view import View, role_of  # noqa: PLC0415

    if not node.strip():
        return HTMLResponse(page("", None))
    try:
        config = request.app.state.gateway.settings
        role = role_of(load_configuration(config).graph, "gateway")  # whose key was checked before we were called
        async with Store.open(GraphAccess.of(config, reader=True)) as store:
            view = View(store, Seal.of(config), role)
            around = await _around(view, node, opened)
    except AmbiguousError as error:
        return HTMLResponse(page(node, None, "Several nodes are called so.", error.candidates[:100]), 300)
    except UnknownNodeError as error:
        return HTMLResponse(page(node, None, error.what), 404)
    except LamaError as error:
        return HTMLResponse(page(node, None, str(error)), 503)
    # The layout takes a tenth of a second where much is drawn.
    return HTMLResponse(await run_in_threadpool(page, node, around))


async def _around(view: View, node: str, opened: list[str]) -> Neighbourhood:
    from tasks.graph.questions.asking import UnknownNodeError, find_one, level_of  # noqa: PLC0415
    from tasks.graph.questions.neighbourhood import neighbourhood  # noqa: PLC0415

    chosen: list[Ref] = [await find_one(view, node)]
    for text in opened:
        try:
            chosen.append(await find_one(view, text[:_MOST_NAME]))
        except UnknownNodeError:
            continue  # it has gone since the page was drawn
    return await neighbourhood(chosen, level_of(view), nodes=MOST_NODES)
