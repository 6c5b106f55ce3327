"""Licences of dependencies against those that are allowed and denied: choices, conjunctions, exceptions, free text."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.report import Severity
from tasks.advisories.package import DOCKER, NPM, PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.scan.licence_names import One, Several, each, grade, read_licence
from tasks.scan.licences import judge_licences


def component(licence: str, name: str = "a", ecosystem: str = PYPI, **more: object) -> Component:
    return Component(
        Package(ecosystem, name),
        "1",
        Place("poetry.lock", 3),
        Evidence.installed,
        licence=licence,
        **more,  # type: ignore[arg-type]
    )


def rule(licence: str, allowed: tuple[str, ...] = (), denied: tuple[str, ...] = ()) -> str:
    """The rule that hits, with its severity; empty for none."""
    found = judge_licences("app", [component(licence)], allowed, denied).findings
    return ", ".join(f"{one.evidence['rule']} {one.severity.value}" for one in found)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("MIT", "MIT"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("(MIT AND BSD-3-Clause) OR GPL-3.0+", "(MIT AND BSD-3-Clause) OR GPL-3.0-or-later"),
        ("License :: OSI Approved :: MIT License", "MIT"),
        ("License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("License :: OSI Approved\nLicense :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("MIT License; BSD License", "MIT AND (BSD-2-Clause AND BSD-3-Clause)"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("The BSD 3-Clause License", "BSD-3-Clause"),
        ("LGPLv3+", "LGPL-3.0-or-later"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("LicenseRef-Ours", "LicenseRef-Ours"),
        ("Permission is hereby granted, free of charge, to any person obtaining a\n copy" + "\n" * 20, "MIT"),
        ("GPL", "GPL-2.0-only AND GPL-3.0-only"),
    ],
)
def test_what_people_write_is_understood(text: str, meant: str) -> None:
    assert str(read_licence(text)) == meant


@pytest.mark.parametrize(
    "text", ["", "UNKNOWN", "SEE LICENSE IN LICENSE.md", "UNLICENSED", "Dual License", "MIT OR", "((", "x" * 5000]
)
def test_what_nobody_can_understand_is_not_guessed(text: str) -> None:
    assert read_licence(text) is None


@pytest.mark.parametrize(
    ("licence", "allowed", "denied", "expected"),
    [
        ("AGPL-3.0-only", (), (), ""),
        ("AGPL-3.0-or-later", (), ("AGPL-3.0-only",), "LI001 high"),
        ("MIT OR AGPL-3.0-only", (), ("AGPL-3.0",), ""),
        ("MIT AND AGPL-3.0-only", (), ("AGPL-*",), "LI001 high"),
        ("GPLv3", (), ("GPL",), "LI001 high"),
        ("LGPL-3.0-only", (), ("GPL", "GPL-*"), ""),
        ("GPL-2.0-only WITH Classpath-exception-2.0", (), ("GPL-2.0-only",), "LI001 high"),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0",
            ("GPL-2.0-only WITH Classpath-exception-2.0",),
            ("GPL-2.0-only",),
            "",
        ),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ("GPL-2.0-only",), (), ""),
        ("Apache-2.0", ("MIT", "BSD-*"), (), "LI002 medium"),
        ("BSD", ("MIT", "BSD-*"), (), ""),
        ("BSD", ("BSD-3-Clause",), (), "LI002 medium"),
        ("MIT AND Apache-2.0", ("MIT",), (), "LI002 medium"),
        ("MIT OR Apache-2.0", ("MIT",), (), ""),
        ("MIT", ("MIT",), ("MIT",), "LI001 high"),
        ("AGPL-3.0-only OR Apache-2.0", ("MIT",), ("AGPL-3.0-only",), "LI002 medium"),
        ("Dual License", ("MIT",), (), "LI003 unknown"),
        ("", ("MIT",), (), "LI003 unknown"),
        ("Foo AND MIT", ("MIT",), (), "LI003 unknown"),
        ("Foo OR MIT", ("MIT",), (), ""),
        ("LicenseRef-Ours", ("LicenseRef-Ours",), (), ""),
        ("", (), (), "LI003 info"),
    ],
)
def test_a_licence_against_what_is_allowed_and_denied(
    licence: str, allowed: tuple[str, ...], denied: tuple[str, ...], expected: str
) -> None:
    assert rule(licence, allowed, denied) == expected


def test_without_a_list_what_is_unknown_is_one_remark() -> None:
    looked = judge_licences("app", [component("", "a"), component("Dual License", "b"), component("MIT", "c")])
    (remark,) = looked.findings
    assert (remark.key, remark.severity) == ("security.licence:app/LI003", Severity.info)
    assert remark.evidence["packages"] == ["pypi/a", "pypi/b"]


def test_the_place_that_tells_a_licence_counts_and_what_is_ours_or_an_image_does_not() -> None:
    held = [
        component("", "a"),
        component("MIT", "a"),
        component("", "ours", origin=Origin.folder),
        component("", "python", DOCKER),
    ]
    looked = judge_licences("app", held, allowed=("MIT",))
    assert looked.findings == ()
    assert looked.metrics is not None
    assert looked.metrics["security_licences_total"] == 1


def test_what_only_builds_weighs_less_and_the_finding_says_where_it_comes_from() -> None:
    (dev,) = judge_licences("app", [component("AGPL-3.0-only", scope=Scope.dev)], denied=("AGPL-3.0-only",)).findings
    assert dev.severity is Severity.medium
    (far,) = judge_licences("app", [component("AGPL-3.0-only", "b", NPM, via=("x", "y"))], denied=("AGPL-*",)).findings
    assert far.key == "security.licence:app/npm/b/LI001"
    assert "x > y" in far.detail
    assert far.evidence["file"] == "poetry.lock"


def test_a_denied_name_that_means_nothing_is_a_skip() -> None:
    looked = judge_licences("app", [component("AGPL-3.0-only")], denied=("AGLP-3.0", "AGLP-*"))
    assert [skip.may_hide("security.licence:app/pypi/a/LI001") for skip in looked.skipped] == [True, True]


def test_copyleft_is_counted_by_the_mildest_choice() -> None:
    texts = (
        "MIT",
        "GPL-3.0-only",
        "MIT OR GPL-3.0-only",
        "MPL-2.0 AND MIT",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "",
    )
    held = [component(text, f"p{at}") for at, text in enumerate(texts)]
    metrics = judge_licences("app", held).metrics or {}
    assert metrics == {
        "security_licences_total": 6,
        "security_licences_permissive_total": 2,
        "security_licences_weak_copyleft_total": 2,
        "security_licences_strong_copyleft_total": 1,
        "security_licences_unknown_total": 1,
    }


KEYS = ("MIT", "ISC", "Apache-2.0", "MPL-2.0")
TREES = st.recursive(
    st.sampled_from(KEYS).map(One),
    lambda inner: st.builds(Several, st.booleans(), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    max_leaves=6,
)


def acceptable(tree: One | Several, fine: frozenset[str]) -> bool:
    """The definition: whether a choice for every OR leaves only licences that are fine."""
    if isinstance(tree, One):
        return tree.key in fine
    results = [acceptable(part, fine) for part in tree.parts]
    return all(results) if tree.every else any(results)


@given(TREES, st.frozensets(st.sampled_from(KEYS)), st.frozensets(st.sampled_from(KEYS)))
@settings(max_examples=150)
def test_expressions_are_judged_as_their_logic_says(
    tree: One | Several, allowed: frozenset[str], denied: frozenset[str]
) -> None:
    written = str(tree)
    not_denied = frozenset(KEYS) - denied
    found = rule(written, (), tuple(denied))
    assert (found == "") is acceptable(tree, not_denied)
    if allowed:
        assert (rule(written, tuple(allowed), tuple(denied)) == "") is acceptable(tree, allowed - denied)


@given(TREES)
@settings(max_examples=100)
def test_reading_an_expression_keeps_its_meaning(tree: One | Several) -> None:
    read = read_licence(str(tree))
    assert read is not None
    assert {one.key for one in each(read)} <= {one.key for one in each(tree)}
    for count in range(2 ** len(KEYS)):
        fine = frozenset(key for at, key in enumerate(KEYS) if count >> at & 1)
        of_one = functools.partial(lambda held, one: int(one.key not in held), fine)
        assert (grade(read, of_one) == 0) is acceptable(tree, fine)


@given(st.text(max_size=60) | st.text(alphabet="MIT()ORANDWH -+.;/\n", max_size=40))
@settings(max_examples=200)
def test_no_text_breaks_the_reader(text: str) -> None:
    licence = read_licence(text)
    if licence is not None:
        assert any(one.known for one in each(licence))
