"""The page that draws a neighbourhood: who may see it, that names are only text in it, and that links open more."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.settings import Settings
from models.graph import Label, NodeFact, Part, Ref, RelationshipFact, Type
from services.gateway.graph_page import page
from tasks.graph.questions.names import asked, spelled
from tasks.graph.questions.neighbourhood import Neighbourhood, neighbourhood
from tasks.graph.store import Store
from tests.bolt_server import PASSWORD, BoltServer
from tests.conftest import free_port
from tests.gateway.conftest import NOBODY
from tests.gateway.running import RunningGateway
from tests.graph.listed import Listed

_EVIL = "'\"><script>alert(1)</script></svg>&\u202e\x00\u2028`"
_CENTRE = Ref(Label.function, "shop:app.save")
_EVIL_REF = Ref(Label.document, "shop:" + _EVIL.replace("\x00", ""))
_HOPS = [
    (Type.describes, _EVIL_REF, _CENTRE),
    *((Type.calls, Ref(Label.function, f"shop:app.f{n}"), _CENTRE) for n in range(4)),
    *((Type.calls, Ref(Label.function, f"shop:app.g{n}"), Ref(Label.function, "shop:app.f0")) for n in range(3)),
]
_ROLE = '[graph.roles.coder]\nlabels = ["Function"]\n[graph.callers]\ngateway = "coder"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    running = BoltServer(tmp_path_factory.mktemp("graph"))
    try:
        running.start()
        asyncio.run(_fill(running))
        yield running
    finally:
        running.kill()


async def _fill(server: BoltServer) -> None:
    refs = sorted({end for hop in _HOPS for end in hop[1:]})
    nodes = [NodeFact(one, {"name": one.key.rpartition(".")[2]}) for one in refs]
    async with Store.open(server.block) as store:
        await store.prepare()
        await store.replace_all([Part("test", nodes, [RelationshipFact(*hop) for hop in _HOPS])])


@pytest.fixture
def client(
    server: BoltServer, postgres: Settings, shared_url: str, tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[httpx.Client]:  # fmt: skip
    """A browser's requests to a gateway beside the graph, with the key as its password."""
    toml = getattr(request, "param", "")
    running = RunningGateway(tmp_path_factory.mktemp("gateway"), free_port(), shared_url, postgres, toml)
    place = {
        "LAMA_GRAPH_URI": f"bolt://{server.address}", "LAMA_GRAPH_USER": "root", "LAMA_GRAPH_PASSWORD": PASSWORD,
    }  # fmt: skip
    running.start(LAMA_PREFECT_API_URL=NOBODY, PREFECT_API_URL=NOBODY, **place)
    with httpx.Client(base_url=running.url, auth=("anybody", running.key), timeout=20) as client:
        yield client
    running.stop()


class _Read(HTMLParser):
    """What a browser makes of a page: its elements, its links and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_neighbourhood_is_drawn_and_its_links_open_more(client: httpx.Client) -> None:
    answer = client.get("/graph", params={"node": "app.save"})
    assert answer.status_code == 200
    assert "script" not in answer.headers["content-security-policy"]
    read = _Read(answer.text)
    assert "Function:shop:app.f0" in read.text
    assert "Function:shop:app.g0" not in read.text
    (link,) = [one for one in read.links if ("open", "Function:shop:app.f0") in parse_qsl(one[1:])]
    more = _Read(client.get(f"/graph{link}").text)
    assert "Function:shop:app.g2" in more.text
    assert "Function:shop:app.f3" in more.text, "what was shown before still is"


def test_only_who_has_the_key_sees_it_and_others_hear_how(client: httpx.Client) -> None:
    for auth in (None, ("anybody", "wrong"), ("anybody", "")):
        with httpx.Client(base_url=client.base_url) as other:
            answer = other.get("/graph", params={"node": "app.save"}, auth=auth)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert "app.f0" not in answer.text
    with httpx.Client(base_url=client.base_url) as other:
        assert other.get("/graph", headers={"Host": "evil.example"}).status_code == 421


def test_a_name_that_is_unknown_or_missing_is_said(client: httpx.Client) -> None:
    assert client.get("/graph").status_code == 200
    gone = client.get("/graph", params={"node": "<b>gone</b>"})
    assert gone.status_code == 404
    assert "<b>gone" not in gone.text
    assert client.get("/graph", params={"node": "x" * 2_000}).status_code == 422
    kept = client.get("/graph", params=[("node", "app.save"), ("open", "gone.away")])
    assert kept.status_code == 200, "an opened node that has gone is left out"


@pytest.mark.parametrize("client", [_ROLE], indirect=True)
def test_the_gateway_sees_what_its_role_sees(client: httpx.Client) -> None:
    answer = client.get("/graph", params={"node": "app.save"})
    assert "app.f0" in answer.text
    assert "Document:" not in _Read(answer.text).text
    assert client.get("/graph", params={"node": spelled(_EVIL_REF)}).status_code == 404


_REFS = st.builds(Ref, st.sampled_from(list(Label)), st.one_of(st.text(min_size=1, max_size=12), st.just(_EVIL)))


@given(st.lists(st.tuples(st.sampled_from(list(Type)), _REFS, _REFS), min_size=1, max_size=8))
def test_whatever_things_are_called_it_is_text(hops: list[tuple[Type, Ref, Ref]]) -> None:
    around = asyncio.run(neighbourhood([hops[0][1]], Listed(hops), nodes=20))
    text = page("'\"><b>", around, note="<i>")
    read = _Read(text)
    assert read.tags <= {
        "html", "meta", "title", "style", "h1", "h2", "form", "label", "input", "button", "p", "figure", "svg", "g",
        "path", "rect", "a", "text", "ul", "li", "bdi", "details", "summary", "span",
    }  # fmt: skip
    assert not any(name.startswith("on") for name in read.names)
    assert all(link.startswith("?node=") for link in read.links)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", text)
    drawing = re.search("<svg.*</svg>", text, re.DOTALL)
    assert drawing is not None
    for link in read.links:
        assert asked(dict(parse_qsl(link[1:]))["node"]).label is not None
    assert len(re.findall("<rect", drawing.group())) == len(around.nodes)


def test_what_hangs_on_a_node_is_left_of_it_and_says_what_it_does() -> None:
    used = Ref(Label.dependency, "shop:httpx")
    hops = [*_HOPS[1:], (Type.uses, _CENTRE, used), (Type.imports, Ref(Label.function, "shop:app.f0"), _CENTRE)]
    text = page("x", asyncio.run(neighbourhood([_CENTRE], Listed(hops), nodes=20)))
    boxes = re.findall(r'<rect[^>]* x="([\d.-]+)"[^>]*><text[^>]*>([^<]+)', text)
    left = {name: float(x) for x, name in boxes}
    assert {name for name in left if left[name] < left["app.save"]} == {"app.f0", "app.f1", "app.f2", "app.f3"}
    assert {name for name in left if left[name] > left["app.save"]} == {"httpx"}
    assert text.count(">calls</text>") == 3
    assert ">calls, imports</text>" in text
    assert ">uses</text>" in text


def test_arrows_among_neighbours_are_told_and_not_drawn() -> None:
    first, second = Ref(Label.function, "shop:app.f0"), Ref(Label.function, "shop:app.f1")
    hops = [(Type.calls, first, _CENTRE), (Type.calls, second, _CENTRE), (Type.calls, first, second)]
    text = page("x", asyncio.run(neighbourhood([_CENTRE], Listed(hops), nodes=20)))
    assert text.count('class="head"') == 2
    assert "Function:shop:app.f0 calls Function:shop:app.f1" in text


def test_what_is_not_shown_is_said() -> None:
    cut = Neighbourhood((_CENTRE,), ((_CENTRE, 0),), (), "more than 150 nodes")
    assert "there are <bdi>more than 150 nodes</bdi>" in page("x", cut)
    assert html.escape(_EVIL[:4]) in page("x", None, candidates=[_EVIL_REF])
