"""Regions that a machine writes: what stands outside of them never changes, and what a person changed stays theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.code.read import read
from tasks.docs.prose.regions import SIGN, State, filled, regions_of
from tasks.docs.prose.write import source_of, untrue, write_regions
from tasks.docs.truth.resolve import Resolver
from tasks.result_cache import ResultCache
from tests.handoffs import model_server

_OPEN, _CLOSE = "<!-- lama:prose acme.run -->", "<!-- /lama:prose -->"
_PIECES = st.sampled_from(
    [_OPEN, _CLOSE, "```", "~~~~", "text `acme.run`", "", "  ", "# x", "<!-- lama:prose -->",
     "<!-- lama:prose acme.b -->",
     "<!-- lama:prose acme.run 0123456789ab-0123456789ab -->", "    <!-- lama:prose acme.run -->",
     "<b>", "é\u2028", "- x"]
)  # fmt: skip
_ENDS = st.sampled_from(["\n", "\r\n", "\n\n"])
_DOCUMENTS = st.lists(st.tuples(_PIECES, _ENDS), max_size=14).map(lambda parts: "".join(a + b for a, b in parts))
_ANSWERS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=80),
    st.sampled_from(
        [
            f"{_CLOSE}\nmine",
            f"a\n\n{_OPEN}\nb",
            "```\nx",
            "# x",
            "<script>x</script>",
            "[x](http://evil)",
            "\x00",
            "-->",
        ]
    ),
)


def outside(text: str) -> list[str]:
    """The lines of `text` that are in no region, marks not counted."""
    lines = text.split("\n")
    inside = {
        number for region in regions_of(text) if not region.broken for number in range(region.line, region.end + 1)
    }
    return [line for number, line in enumerate(lines, start=1) if number not in inside]


@settings(max_examples=400, deadline=None)
@given(_DOCUMENTS, _ANSWERS, st.text(max_size=5))
def test_what_people_wrote_is_byte_for_byte_what_it_was(text: str, answer: str, source: str) -> None:
    text = text.replace("\u2028", "")  # the helper above splits at it; the code does not
    before = regions_of(text)
    after = filled(text, {region.line: (source, answer) for region in before})
    assert outside(after) == outside(text)
    now = regions_of(after)
    assert [region.name for region in now] == [region.name for region in before], "an answer opens or closes nothing"
    for old, new in zip(before, now, strict=True):
        if old.state("") in {State.empty, State.stale}:
            assert new.state(source) is State.fresh
        else:
            assert (new.source, new.state(source)) == (old.source, old.state(source))
    assert filled(after, {region.line: (source, answer) for region in now}) == after, "written once, it stays"


@settings(max_examples=200, deadline=None)
@given(_DOCUMENTS)
def test_a_document_that_nothing_is_written_into_stays_as_it_is(text: str) -> None:
    assert filled(text, {}) == text


def test_a_person_who_changes_a_word_owns_the_text() -> None:
    text = filled(f"# x\n\n{_OPEN}\n{_CLOSE}\n", {3: ("source", "It runs.")})
    assert SIGN in text
    (region,) = regions_of(text)
    assert region.state("source") is State.fresh
    assert region.state("other source") is State.stale
    changed = text.replace("It runs.", "It runs well.")
    (region,) = regions_of(changed)
    assert region.state("source") is State.edited
    assert filled(changed, {3: ("other source", "Something else.")}) == changed


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    (tmp_path / "acme.py").write_text(
        '"""Acme."""\n\nTOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"\n\n\ndef run(name):\n    """Run."""\n'
    )
    return Resolver(read(tmp_path, ["acme"]))


async def test_a_model_writes_what_is_asked_for_and_is_asked_once(resolver: Resolver, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.sqlite")
    texts = {"docs/a.md": f"# A\n\nMine.\n\n{_OPEN}\n{_CLOSE}\n\nMine, too.\n"}
    with model_server.running() as server:
        server.fault = lambda _body: model_server.said({"text": "Runs `acme.run` by its name."})
        written = await write_regions(texts, resolver, server.block(), cache, checkout="shop")
        again = await write_regions(texts, resolver, server.block(), cache, checkout="shop")
        assert len(server.asked) == 1
        assert "def run(name)" in server.asked[0]["messages"][-1]["content"]
    assert (written.asked, again.asked) == (1, 0)
    new = written.changes[0].new.decode()
    assert f"Runs `acme.run` by its name. {SIGN}\n{_CLOSE}\n\nMine, too.\n" in new
    assert new.startswith("# A\n\nMine.\n\n<!-- lama:prose acme.run ")
    assert again.changes == written.changes
    assert regions_of(new)[0].state(source_of("acme.run", resolver) or "") is State.fresh


async def test_an_answer_that_names_what_is_not_there_is_not_taken(resolver: Resolver, tmp_path: Path) -> None:
    texts = {"docs/a.md": f"{_OPEN}\n{_CLOSE}\n"}
    with model_server.running() as server:
        server.fault = lambda _body: model_server.said({"text": "Like `acme.walk`, but faster."})
        written = await write_regions(texts, resolver, server.block(), ResultCache(None), checkout="shop")
        assert len(server.asked) == 2
        assert "acme.walk" in server.asked[1]["messages"][-1]["content"]
    assert written.changes == []
    assert "acme.walk" in written.skips[0].reason
    assert untrue("`acme.run` is fine, and `os.path` is somebody else's.", resolver) == []


async def test_a_model_that_is_away_is_told_and_nothing_changes(resolver: Resolver) -> None:
    texts = {"docs/a.md": f"{_OPEN}\n{_CLOSE}\n"}
    with model_server.running() as server:
        server.fault = lambda _body: model_server.refused(503)
        written = await write_regions(texts, resolver, server.block(), ResultCache(None), checkout="shop")
    assert written.changes == []
    assert "docs/a.md:1 was not written" in written.skips[0].reason


def test_a_model_is_shown_no_secret(resolver: Resolver, tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text('def run(name):\n    token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"\n')
    source = source_of("acme.run", Resolver(read(tmp_path, ["acme"])))
    assert source is not None
    assert "ghp_0123" not in source
