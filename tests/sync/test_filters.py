"""Which paths are synced: as git says where `.gitignore` is followed, and otherwise as the settings say."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.sync import BUILD_OUTPUT, Category
from tasks.sync.filters import Filter
from tasks.sync.gitignore import lines_of, rules


def filter_of(**settings_of_category) -> Filter:
    return Filter.of(Category(name="code", folder=Path("/code"), **settings_of_category))


# Names and patterns of few characters, so that they meet.
_NAMES = st.sampled_from(["a", "b", "a.t", "b.t", "-", "ab", "a b", "]", "[a]", "!a", "#a", "\\", "a "])
_SEGMENTS = st.one_of(
    _NAMES,
    st.text("ab.t*?[]!^-\\ :", max_size=6).filter(lambda text: "**" not in text),
    st.sampled_from(
        ["*", "**", "***", "*.t", "a*", "*a*b*", "?", "[ab]", "[!a]", "[^a]", "[a-b]", "[b-a]", "[]]", "[]-]", "[a",
         "[[:alpha:]]", "[[:punct:]]", "[[:no:]]", "[a-]", "[!]a-]", "[\\]]", "[a/b]", "\\a", "\\*", "a\\", "", "[[a]",
         "[a[:b]", "[-b]", "[+--]"]
    ),
)  # fmt: skip
_LINES = st.builds(
    lambda sign, start, segments, end: f"{sign}{start}{'/'.join(segments)}{end}",
    st.sampled_from(["", "", "!", "\\!", "#"]),
    st.sampled_from(["", "", "/", "**/"]),
    st.lists(_SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "/**", " ", "\\ ", "\t", "\r"]),
)
_TREES = st.recursive(
    st.none(), lambda below: st.dictionaries(_NAMES, below, min_size=1, max_size=4), max_leaves=12
).filter(bool)
_IGNORES = st.dictionaries(st.integers(0, 5), st.lists(_LINES, min_size=1, max_size=5), min_size=1, max_size=3)


def entries(tree: dict, folder: str = "") -> list[tuple[str, bool]]:
    found = []
    for name, below in tree.items():
        found.append((folder + name, below is not None))
        found.extend(entries(below or {}, f"{folder}{name}/"))
    return found


def ignored_by_git(root: Path, paths: list[str]) -> set[str]:
    alone = ["-c", "core.excludesFile=/dev/null", "-c", "core.ignoreCase=false"]
    asked = ["git", *alone, "check-ignore", "--no-index", "--stdin", "-z"]
    told = subprocess.run(asked, cwd=root, input="\0".join(paths).encode(), capture_output=True, check=False)
    assert told.returncode in {0, 1}, told.stderr
    return {path.decode() for path in told.stdout.split(b"\0") if path}


@settings(max_examples=200)
@given(_TREES, _IGNORES)
@example(
    {"a": {"b": {"a.t": None, "b.t": None}, "a.t": None}, "b.t": None}, {0: ["*.t"], 1: ["!a.t"], 2: ["!b.t", "a.t"]}
)
@example({"a": {"b": {"a.t": None}}}, {0: ["a.t"], 1: ["!a.t"], 2: ["a.t"]})
@example({"a": {"b": {"a.t": None}}}, {0: ["a.t"], 1: ["a.t"], 2: ["!a.t"]})
@example({"a": {"b": {"a.t": None}}}, {0: ["/a/b/"], 1: ["!b/"], 2: ["!a.t"]})
def test_gitignore_is_followed_as_git_does(tree, ignores) -> None:
    below = entries(tree)
    folders = [""] + [path for path, is_directory in below if is_directory]
    made = filter_of(gitignore=True)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        for path, is_directory in below:
            (root / path).mkdir() if is_directory else (root / path).touch()
        for place, lines in ignores.items():
            folder = folders[place % len(folders)]
            text = "\n".join(lines)
            (root / folder / ".gitignore").write_bytes(text.encode())
            made = made.with_ignores(folder, text)
        ignored = ignored_by_git(root, [path for path, _ in below])
    assert {path for path, is_directory in below if not made.takes(path, is_directory)} == ignored


def test_a_character_is_one_whatever_its_bytes_and_its_form() -> None:
    one = filter_of(exclude=["?.txt", "caf\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}"])
    assert not one.takes("é.txt", False)
    assert not one.takes("café", True)


def test_nothing_said_takes_everything_but_what_is_ours_or_left_by_cloud_drives() -> None:
    one = filter_of()
    assert one.takes("", True)
    assert one.takes("deep/in/some/file.txt", False)
    assert one.takes(".git/HEAD", False)
    for path in (".lama-sync", "a/.lama-tmp-1f", ".lama-sync/marker", "a/.DS_Store", "Icon\r", "a/~$letter.docx"):
        assert not one.takes(path, False), path
    assert filter_of(exclude=["!.DS_Store"]).takes("a/.DS_Store", False)


def test_a_repository_is_left_to_git() -> None:
    one = filter_of(gitignore=True)
    assert not one.takes("app/.git", True)
    assert not one.takes("app/.git/index", False)
    assert not one.takes("app/submodule/.git", False)
    assert one.takes("app/.github/workflows/ci.yml", False)


def test_files_of_rules_travel_whatever_they_say() -> None:
    one = filter_of(gitignore=True).with_ignores("cache", "*\n")
    assert one.takes("cache/.gitignore", False)
    assert not one.takes("cache/x", False)
    assert filter_of().with_ignores("cache", "*\n").fingerprint == filter_of().fingerprint
    assert filter_of().with_ignores("cache", "*\n").takes("cache/x", False)


def test_excluded_folders_hold_nothing_that_is_synced() -> None:
    one = filter_of(exclude=[*BUILD_OUTPUT, "!node_modules/keep"])
    assert not one.takes("app/node_modules", True)
    assert not one.takes("app/node_modules/keep", False)
    assert one.takes("app/target", False)  # a file of that name was built by nobody
    assert not one.takes("app/target", True)


@pytest.mark.parametrize(
    ("include", "taken", "passed", "left"),
    [
        (["*.md"], ["a.md", "deep/er/b.md"], ["deep", "deep/er"], []),
        (["docs/"], ["docs", "docs/any", "docs/x/y", "b/docs/z"], ["b"], []),
        (["/docs/*.md"], ["docs/a.md"], ["docs"], ["other", "docs/x", "other/docs"]),
        (["/a/**/b"], ["a/b", "a/x/y/b", "a/b/below"], ["a", "a/x"], ["x"]),
        (["/docs/", "!/docs/drafts/", "/docs/drafts/good/"], ["docs/x", "docs/drafts/good/y"], ["docs/drafts"], ["x"]),
    ],
)
def test_only_what_is_included_is_synced(include, taken, passed, left) -> None:
    one = filter_of(include=include)
    for path in taken:
        assert one.takes(path, path in {"docs", "a/b"}), path
        assert not one.passes(path) or "." in path, path
    for path in passed:
        assert one.takes(path, True), path
        assert one.passes(path), path
        assert not one.takes(f"{path}/nothing", False), path
    for path in left:
        assert not one.takes(path, True), path


def test_what_sqlite_keeps_beside_a_database_is_never_synced() -> None:
    databases = filter_of(content="databases")
    assert databases.takes("a.db", False)
    assert not any(databases.takes(f"a.db{end}", False) for end in ("-wal", "-shm", "-journal"))
    assert filter_of().takes("my-journal", False)


def test_the_fingerprint_changes_with_what_decides_and_with_nothing_else() -> None:
    one = filter_of(gitignore=True, exclude=["a"])
    assert one.fingerprint == filter_of(gitignore=True, exclude=["a", "# why", " "], largest_mib=3).fingerprint
    others = [
        filter_of(exclude=["a"]),
        filter_of(gitignore=True, exclude=["a", "!a"]),
        filter_of(gitignore=True, include=["a"]),
        one.with_ignores("", "x"),
        one.with_ignores("d", "x"),
        one.with_ignores("d", "x").with_ignores("d", "y"),
    ]
    assert one.with_ignores("d", "x").with_ignores("d", "").fingerprint == one.fingerprint
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 7
    assert one.with_ignores("d", "# why\r\nx\r\n").fingerprint == one.with_ignores("d", "x").fingerprint


def test_no_pattern_and_no_path_takes_more_than_its_time() -> None:
    hostile = [
        "*a*a*a*a*a*a*a*a*a*a*b",
        "**/a/**/a/**/a/**/a/**/a/**/b",
        "/" + "**/*a*a*/" * 6 + "b",
        "[" * 500,
        "\\" * 501,
    ]
    one = filter_of(gitignore=True).with_ignores("", "\n".join(hostile))
    begun = time.process_time()
    one.takes("a" * 255, False)
    one.takes("/".join(["a"] * 1500), False)
    one.takes("/".join(["a" * 200] * 18), False)
    assert time.process_time() - begun < 2


@given(st.text(max_size=80), st.text(max_size=30))
def test_any_text_can_stand_in_a_gitignore(text, path) -> None:
    rules(lines_of(text)).verdict(path, 0, is_directory=True)
    rules(lines_of(text)).reaches(path)


def test_a_hundred_thousand_paths_take_about_a_second() -> None:
    one = filter_of(gitignore=True, exclude=BUILD_OUTPUT).with_ignores("", "*.log\n!keep.log\n/tmp/\n" * 5)
    paths = [f"p{i % 50}/src/module_{i % 1000}/file_{i}.py" for i in range(100_000)]
    begun = time.process_time()
    assert all(one.takes(path, False) for path in paths)
    took = time.process_time() - begun
    assert took < 3  # 0.2 s on a quiet core


def test_a_conflict_copy_is_synced_where_what_it_is_a_copy_of_is() -> None:
    copy = "d/a (conflict from bert, 2026-01-01 101112, 0123abcd).log"
    assert filter_of(include=["a.log"]).takes(copy, False)
    assert filter_of(gitignore=True).with_ignores("", "*.log\n!a.log\n").takes(copy, False)
    assert not filter_of(exclude=["a.log"]).takes(copy, False)
