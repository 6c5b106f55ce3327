"""What sources say, as facts: nothing that is not said, nothing that a graph cannot keep, and the same every time."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.code import Codebase, Import, Kind, Unread
from models.graph import Label, NodeFact, Ref, RelationshipFact, Type
from models.health_check import Checkout, Service, ServiceKind
from models.report import Skip, Status
from models.risk import AuditReport, ComponentRecord
from tasks.code.read import read
from tasks.graph.ingest.architecture import architecture_facts, component, latest_view
from tasks.graph.ingest.audit import audit_facts, heard_of
from tasks.graph.ingest.brought import brought_by
from tasks.graph.ingest.code import mark_of, module_facts, shape_of
from tasks.graph.ingest.documents import document_facts
from tasks.graph.ingest.facts import MOST_KEY, Facts, Saying, fitting, ref
from tasks.graph.ingest.names import Names, is_unread
from tasks.graph.ingest.plan import below, last_part, part, plan, scope
from tests.graph.coded import codebase, module, symbol

_ANY = st.text(st.characters(), max_size=40)
"""Surrogates, NUL and marks that turn the direction of writing among it."""


def said(facts: Facts) -> set[tuple[str, str, str]]:
    return {(one.type.value, one.start.key, one.end.key) for one in facts.relationships}


def _facts(path: str, *modules: object, **names: object) -> Facts:
    known = codebase(*modules)  # type: ignore[arg-type]
    return module_facts(known.module(path), Names("shop", known, **names))  # type: ignore[arg-type]


def test_a_module_says_what_it_defines_and_where_it_is_called_from() -> None:
    store = module(
        "app.store",
        [symbol("app.store.Base", Kind.class_), symbol("app.store.Base.go"), symbol("app.store.save")],
        calls=[("app.store.Base.go", "app.store.save")],
    )
    facts = _facts("app.store", module("app"), store)
    assert said(facts) == {
        ("CONTAINS", "shop", "shop:app.store"),
        ("CONTAINS", "shop:app", "shop:app.store"),
        ("CONTAINS", "shop:app.store", "shop:app.store.Base"),
        ("CONTAINS", "shop:app.store.Base", "shop:app.store.Base.go"),
        ("CONTAINS", "shop:app.store", "shop:app.store.save"),
        ("CALLS", "shop:app.store.Base.go", "shop:app.store.save"),
    }
    assert {(one.ref.label.value, one.properties["name"]) for one in facts.nodes} == {
        ("Module", "store"), ("Class", "Base"), ("Function", "go"), ("Function", "save"),
    }  # fmt: skip


def _read(root: Path, files: dict[str, str]) -> Codebase:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read(root)


def test_what_is_decorated_uses_what_decorates_it(tmp_path: Path) -> None:
    known = _read(
        tmp_path,
        {
            "app/marks.py": "def mark(what): ...\n\ndef maker(n):\n    return mark\n",
            "app/user.py": "from app.marks import mark as m, maker\n\n@m\ndef run(): ...\n\n@maker(3)\nclass C: ...\n",
        },
    )
    told = said(module_facts(known.module("app.user"), Names("shop", known)))
    assert {one for one in told if one[0] == "USES"} == {
        ("USES", "shop:app.user.run", "shop:app.marks.mark"),
        ("USES", "shop:app.user.C", "shop:app.marks.maker"),
    }


def test_names_are_followed_through_re_exports_to_where_they_are_defined(tmp_path: Path) -> None:
    known = _read(
        tmp_path,
        {
            "app/__init__.py": "from app.deep import save\n",
            "app/deep/__init__.py": "from .store import *\n",
            "app/deep/store.py": "class Base:\n    def go(self): ...\n\ndef save(): ...\n",
            "app/user.py": "from app import save\nfrom app.deep import Base\n\nclass Mine(Base): ...\n\n"
            "def run():\n    save()\n    Mine()\n",
        },
    )
    facts = module_facts(known.module("app.user"), Names("shop", known))
    told = said(facts)
    assert ("CALLS", "shop:app.user.run", "shop:app.deep.store.save") in told
    assert ("CALLS", "shop:app.user.run", "shop:app.user.Mine") in told
    assert ("INHERITS", "shop:app.user.Mine", "shop:app.deep.store.Base") in told
    assert {one for one in told if one[0] in {"IMPORTS", "DEPENDS_ON"}} == {
        ("IMPORTS", "shop:app.user", "shop:app"),
        ("IMPORTS", "shop:app.user", "shop:app.deep"),
        ("IMPORTS", "shop:app.user", "shop:app.deep.store.save"),
        ("IMPORTS", "shop:app.user", "shop:app.deep.store.Base"),
        ("DEPENDS_ON", "shop:app.user", "shop:app.deep.store"),
    }


def test_who_takes_a_member_by_name_does_not_hang_on_the_rest_of_its_module(tmp_path: Path) -> None:
    known = _read(
        tmp_path,
        {
            "app/__init__.py": "",
            "app/store.py": "LIMIT = 1\ndef save(): ...\ndef load(): ...\n",
            "app/one.py": "from app.store import save\n",
            "app/two.py": "from app import store\n",
            "app/three.py": "from app.store import LIMIT\n",
        },
    )
    told = set[tuple[str, str, str]]().union(
        *(said(module_facts(known.module(f"app.{name}"), Names("shop", known))) for name in ("one", "two", "three"))
    )
    assert {one for one in told if one[0] in {"IMPORTS", "DEPENDS_ON"}} == {
        ("IMPORTS", "shop:app.one", "shop:app.store.save"),
        ("DEPENDS_ON", "shop:app.one", "shop:app.store"),
        ("IMPORTS", "shop:app.two", "shop:app.store"),
        ("IMPORTS", "shop:app.three", "shop:app.store"),
    }


def test_a_function_that_is_handed_to_another_is_used(tmp_path: Path) -> None:
    known = _read(
        tmp_path,
        {"app.py": "from asyncio import to_thread\n\ndef save(): ...\n\nasync def go():\n    to_thread(save, 1)\n"},
    )
    told = said(module_facts(known.module("app"), Names("shop", known)))
    assert ("USES", "shop:app.go", "shop:app.save") in told
    assert not any(one[0] == "CALLS" for one in told)


def test_re_exports_in_a_circle_end(tmp_path: Path) -> None:
    known = _read(
        tmp_path, {"a.py": "from b import x\n", "b.py": "from a import x\n", "c.py": "from a import x\nx()\n"}
    )
    unread = {"zz": Kind.module}
    for names in (Names("shop", known), Names("shop", known, unread=unread)):
        assert said(module_facts(known.module("c"), names)) == {
            ("CONTAINS", "shop", "shop:c"),
            ("IMPORTS", "shop:c", "shop:a"),
        }


def test_imports_from_elsewhere_are_uses_of_what_brings_them() -> None:
    brought = {"yaml": "pypi/pyyaml", "google": "", "google.genai": "pypi/google-genai"}
    imports = {"yaml": "yaml", "genai": "google.genai", "json": "json", "auth": "google.auth", "loads": "yaml.loads"}
    told = said(_facts("app", module("app", imports=imports), brought=brought))
    assert {one for one in told if one[0] == "USES"} == {
        ("USES", "shop:app", "shop:pypi/pyyaml"),
        ("USES", "shop:app", "shop:pypi/google-genai"),
    }


def test_what_only_type_checkers_import_breaks_nothing() -> None:
    user = module("b", imports=[Import("a", "a", 1, typing=True), Import("c", "c", 1, lazy=True)])
    facts = _facts("b", module("a"), module("c"), user)
    (only,) = [one for one in facts.relationships if one.type is Type.imports]
    assert (only.end.key, only.properties) == ("shop:c", {"lazy": True})


def test_what_an_unread_file_defines_is_known_as_it_was() -> None:
    user = module("app.user", [symbol("app.user.run")], imports={"save": "app.gone.save"},
                  calls=[("app.user.run", "app.gone.save")])  # fmt: skip
    without = said(_facts("app.user", module("app"), user))
    assert not any("gone" in one[2] for one in without)
    unread = {"app.gone": Kind.module, "app.gone.save": Kind.function}
    told = said(_facts("app.user", module("app"), user, unread=unread))
    assert ("CALLS", "shop:app.user.run", "shop:app.gone.save") in told


@pytest.mark.parametrize(
    ("place", "module_path", "unread"),
    [
        ("app/store.py", "app.store", True), ("src/app/store.py", "app.store", True),
        ("app/store", "app.store.deep", True),
        ("app/__init__.py", "app", True), ("app/__init__.py", "app.store", True), ("app/stor.py", "app.store", False),
        ("", "app", True), (".", "app", True), ("app", "application", False), ("app/store.pyi", "app.store", True),
    ],
)  # fmt: skip
def test_which_modules_an_unread_place_stands_for(place: str, module_path: str, unread: bool) -> None:
    assert is_unread(module_path, [Unread(place, "why")]) is unread


@st.composite
def _modules(draw: st.DrawFn) -> list[object]:
    paths = draw(st.lists(st.sampled_from(["a", "a.b", "a.b.c", "d", "d.e"]), min_size=1, max_size=5, unique=True))
    members = [f"{path}.{name}" for path in paths for name in ("f", "G")]
    targets = st.sampled_from([*members, *paths, "os.path", "yaml.load", "a.zz", "a.b.f.x"])
    made = []
    for path in paths:
        symbols = [symbol(f"{path}.f"), symbol(f"{path}.G", Kind.class_, bases=(draw(targets),))]
        imports = draw(st.dictionaries(st.sampled_from("fGxy"), targets, max_size=3))
        calls = draw(st.lists(st.tuples(st.just(f"{path}.f"), targets), max_size=3))
        made.append(module(path, symbols, imports=imports, calls=calls))
    return made


@given(_modules(), st.randoms())
def test_every_end_is_there_and_the_order_of_modules_changes_nothing(made: list[object], draw: random.Random) -> None:
    known = codebase(*made)  # type: ignore[arg-type]
    names = Names("shop", known, {"yaml": "pypi/pyyaml"})
    all_facts = {path: module_facts(known.module(path), names) for path in known.files}
    there = {one.ref for facts in all_facts.values() for one in facts.nodes}
    there |= {Ref(Label.checkout, "shop"), Ref(Label.dependency, "shop:pypi/pyyaml")}
    for facts in all_facts.values():
        for one in facts.relationships:
            assert {one.start, one.end} <= there
            assert one.start != one.end
    draw.shuffle(made)
    again = codebase(*made)  # type: ignore[arg-type]
    other = Names("shop", again, {"yaml": "pypi/pyyaml"})
    assert {path: module_facts(again.module(path), other) for path in again.files} == all_facts
    assert shape_of(again, other, configured=True) == shape_of(known, names, configured=True)


@given(_modules(), _modules())
def test_a_module_whose_file_is_the_same_says_the_same_unless_the_shape_or_what_is_handed_on_differs(
    before: list[object], after: list[object]
) -> None:
    old, new = codebase(*before), codebase(*after)  # type: ignore[arg-type]
    names, others = Names("shop", old), Names("shop", new)
    if shape_of(old, names, configured=True) != shape_of(new, others, configured=True):
        return
    marks = {path: mark_of(old.module(path), module_facts(old.module(path), names)) for path in old.files}
    again = {path: mark_of(new.module(path), module_facts(new.module(path), others)) for path in new.files}
    if any(marks[path].joints != again[path].joints for path in marks if marks[path].content != again[path].content):
        return
    for path, mark in marks.items():
        if mark.content == again[path].content:
            assert mark == again[path]


@given(_ANY, _ANY, st.dictionaries(st.sampled_from(["name", "file"]), _ANY))
def test_whatever_names_are_made_of_a_graph_can_keep_them(first: str, second: str, properties: dict[str, str]) -> None:
    made = ref(Label.function, first, second)
    kept = fitting(properties)
    for text in (made.key, *kept.values()):
        assert isinstance(text, str)
        assert text.isprintable()
        text.encode("utf-8")
    assert made == ref(Label.function, first, second)


def test_names_that_are_too_long_stay_apart() -> None:
    long = "x" * 10_000
    one, other = ref(Label.function, "shop", f"{long}a"), ref(Label.function, "shop", f"{long}b")
    assert len(one.key) == len(other.key) == MOST_KEY
    assert one != other
    assert len(str(fitting({"summary": long})["summary"])) <= 1_000


def test_nothing_hangs_on_itself_and_the_first_word_counts() -> None:
    saying = Saying()
    own = saying.node(Ref(Label.function, "f"), name="f", empty="", none=None, listed=())
    saying.node(own, name="g")
    saying.hang(Type.calls, own, own)
    assert saying.facts() == Facts((NodeFact(own, {"name": "f"}),), ())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=8), st.randoms())
def test_a_digest_does_not_depend_on_the_order(pairs: list[tuple[str, str]], draw: random.Random) -> None:
    hung = [RelationshipFact(Type.calls, Ref(Label.function, a), Ref(Label.function, b)) for a, b in set(pairs)]
    shuffled = list(hung)
    draw.shuffle(shuffled)
    assert Facts((), tuple(hung)).digest() == Facts((), tuple(shuffled)).digest()
    more = RelationshipFact(Type.uses, Ref(Label.function, "a"), Ref(Label.function, "b"))
    assert Facts((), (*hung, more)).digest() != Facts((), tuple(hung)).digest()


_NAMES = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), unique=True)


@given(_NAMES, _NAMES, _NAMES, st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.sampled_from("12")))
def test_a_plan_sends_what_differs_and_takes_nothing_away_that_was_not_looked_at(
    says: list[str], known: list[str], kept: list[str], marks: dict[str, str]
) -> None:
    parts = [part(name, Facts(), "1") for name in says]
    made = plan(parts, marks, known=known, kept=kept)
    assert {one.scope for one in made.send} == {name for name in says if marks.get(name) != "1"}
    assert set(made.gone) == marks.keys() - {*says, *known, *kept}
    assert plan(parts, dict.fromkeys(says, "1")).is_nothing


@given(_ANY.filter(bool), _ANY.filter(bool))
def test_scopes_of_two_checkouts_never_mix(one: str, other: str) -> None:
    first, second = below("node", "code", one), scope("node", "code", other, "app")
    if second.startswith(first):
        assert scope("node", "code", one) == scope("node", "code", other)


def test_the_last_part_of_a_scope_is_read_back() -> None:
    assert last_part(scope("node", "code", "/home/x/shop", "app.a/b %2F")) == "app.a/b %2F"


def test_a_page_describes_what_it_names_and_nothing_else() -> None:
    known = codebase(
        module("app", []),
        module("app.store", [symbol("app.store.save"), symbol("app.store.LIMIT", Kind.attribute)]),
    )
    text = (
        "# The store\n\nCall `app.store.save()`; it keeps `app.store.LIMIT`. "
        "See `app/store.py`, [code](../app/store.py),\n"
        "not `app.gone.save`, `save`, `os.path`, [away](https://x/app/store.py) or [out](../../app/store.py).\n"
        "```python\napp.store.other()\n```\n"
    )
    facts = document_facts("docs/store.md", text, Names("shop", known))
    assert said(facts) == {
        ("CONTAINS", "shop", "shop:docs/store.md"),
        ("DESCRIBES", "shop:docs/store.md", "shop:app.store.save"),
        ("DESCRIBES", "shop:docs/store.md", "shop:app.store"),
    }
    assert facts.nodes[0].properties["title"] == "The store"


_NOW = datetime(2026, 11, 28, tzinfo=UTC)


def _audit(*skipped: Skip, **more: object) -> AuditReport:
    def one(name: str, version: str, *via: str, direct: bool = False) -> ComponentRecord:
        return ComponentRecord(
            target="shop", ecosystem="PyPI", name=name, version=version, file="lock", evidence="locked", via=via,
            direct=direct,
        )  # fmt: skip

    return AuditReport(
        capability="audit",
        status=Status.incomplete if skipped else Status.ok,
        summary="",
        skipped=skipped,
        started_at=_NOW,
        finished_at=_NOW,
        run_id="1",
        components=(
            one("requests", "2.1", direct=True),
            one("urllib3", "1.0", "requests"),
            one("idna", "3", "requests", "urllib3"),
        ),
        weaknesses=(
            {
                "target": "shop", "ecosystem": "PyPI", "package": "urllib3", "versions": ["1.0"], "id": "GHSA-1",
                "names": ["CVE-1", "GHSA-1"], "summary": "Bad.", "severity": "high", "fixed": "2.0", "score": None,
            },
        ),
        **more,
    )  # fmt: skip


def test_an_audit_says_what_brings_a_weakness_in() -> None:
    facts = audit_facts("shop", _audit())
    assert said(facts) == {
        ("DEPENDS_ON", "shop", "shop:pypi/requests"),
        ("DEPENDS_ON", "shop:pypi/requests", "shop:pypi/urllib3"),
        ("DEPENDS_ON", "shop:pypi/urllib3", "shop:pypi/idna"),
        ("AFFECTED_BY", "shop:pypi/urllib3", "GHSA-1"),
    }
    versions = {one.ref.key: one.properties.get("versions") for one in facts.nodes}
    assert versions["shop:pypi/urllib3"] == ("1.0",)


def test_an_audit_that_failed_in_part_takes_nothing_away_and_what_nobody_can_see_does_not_count() -> None:
    failed = Skip(area="dependencies", component="OSV", reason="it was away")
    always = Skip(area="dependencies", component="shop", reason="nothing is locked", key="gap.unlocked:shop")
    elsewhere = Skip(area="dependencies", component="web", reason="away", hides=("dependencies.vulnerability:web/",))
    assert not heard_of([_audit(failed)])["shop"].whole
    assert heard_of([_audit(always)])["shop"].whole
    assert heard_of([_audit(elsewhere)])["shop"].whole
    assert heard_of([_audit(failed), _audit()])["shop"].report.skipped, "the newest counts"


def test_a_service_runs_the_code_that_lama_toml_says_and_needs_what_it_says() -> None:
    services = [
        Service(
            name="shop", kind=ServiceKind.http, url="http://127.0.0.1:1", checkout="web", needs=("lama-postgresql",)
        ),
    ]
    view = {"services": {"shop": "http"}, "versions": {"shop": None, "lama-postgresql": "PostgreSQL 18"}, "host": {}}
    facts = architecture_facts("node", view, services, ours="lama")
    assert ("RUNS", "node:shop", "web") in said(facts)
    assert ("DEPENDS_ON", "node:shop", "node:lama-postgresql") in said(facts)
    assert {one.ref for one in facts.nodes} >= {component("node"), component("node", "shop")}


def test_a_service_that_is_down_has_the_version_that_it_had() -> None:
    views = [{"versions": {"a": None, "b": "2"}}, {"versions": {"a": "1", "b": "1", "c": "9"}}]
    told = latest_view(views)
    assert told is not None
    assert told["versions"] == {"a": "1", "b": "2"}
    assert latest_view([]) is None


def test_who_brings_a_module_is_read_from_the_environment(tmp_path: Path) -> None:
    site = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    for name, files in {
        "PyYAML": ["yaml/__init__.py", "_yaml/__init__.py"],
        "a.b": ["space/b/__init__.py", "space/b/deep/x.py"],
        "a_c": ["space/c.py", "../../bin/tool.py", "not-a-name/x.py", "\ud800.py"],
    }.items():
        folder = site / f"{name}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n\nName: other\n")
        record = "".join(f"{file},sha256=x,1\n" for file in files)
        (folder / "RECORD").write_bytes(record.encode("utf-8", "surrogatepass"))
    (site / "broken-1.dist-info").mkdir()
    (site / "device-1.dist-info").mkdir()
    (site / "device-1.dist-info" / "METADATA").symlink_to("/dev/zero")
    assert brought_by(Checkout(name="x", path=tmp_path)) == {
        "yaml": "pypi/pyyaml", "_yaml": "pypi/pyyaml", "space": "", "space.b": "pypi/a-b", "space.c": "pypi/a-c",
    }  # fmt: skip
