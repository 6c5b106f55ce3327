"""One run of a category against a store of objects: look, tell, converge, change. Blocks: for threads.

What is held is remembered after it is on the disk and before anybody is told. So a run that is killed anywhere leaves a
state that is true, if old, and the next run comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.sync_store import Manifest, StoreProblem
from models.sync_versions import Content, Kind, Policy, Tree, Version
from tasks.collector import collector_paused
from tasks.sync.apply import OURS, Applier
from tasks.sync.calls import Calls
from tasks.sync.joining import Joiner, Merge
from tasks.sync.look import FOLDER_MARKER, differs, fitting, heeded, judged_by, look, marks_of
from tasks.sync.reconcile import Conflict, Judged, Plan, converge, observe, plan
from tasks.sync.scan import Found, Takes, clock_of
from tasks.sync.state import State, States, Store
from tasks.sync.steps import apply, pieces
from tasks.sync.upload import upload
from tasks.sync.versions import rank_of

if TYPE_CHECKING:  # see `models.sync_versions`
    from models.sync import Category


class GuardError(Exception):
    """The run was stopped before any effect: it would do what nobody may have meant."""


@dataclass
class Guard:
    """What stops a run."""

    most_changed: float = 0.5
    few: int = 20
    confirmed: bool = False


@dataclass
class Outcome:
    """What a run came to."""

    plan: Plan
    found: Found
    changes: dict[str, Version] = field(default_factory=dict)
    """What was new here."""
    differing: list[str] = field(default_factory=list)
    """Paths of which all come to another version than this device holds; of others, what was found is what is wanted.
    All of them where nothing is told."""
    conflicts: list[Conflict] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    recovered: int = 0
    problems: list[StoreProblem] = field(default_factory=list)
    dry_run: bool = False


@dataclass(frozen=True)
class Self:
    """Who runs, for one run."""

    device: str
    at: int
    """Now, in seconds since 1970."""
    run: str
    """What the run is called; unique."""


Direction = Literal["both", "push", "pull"]


class Engine:
    """Syncs one category of one device.

    Args:
        category: which.
        store: the shared store; has been checked.
        states: what this device remembers.
        takes: the filter.
        merge: joins texts, for `merge` categories.
        calls: the system calls that change something.
        durable: whether what is done is on the disk before it is remembered.
    """

    def __init__(
        self,
        category: Category,
        store: Store,
        states: States,
        takes: Takes,
        *,
        merge: Merge | None = None,
        calls: Calls | None = None,
        durable: bool = True,
    ) -> None:
        self._category = category
        self._store = store
        self._states = states
        self._takes = takes
        self._rank = rank_of(category.policy, category.prefer)
        self._merge = merge if category.policy is Policy.merge else None
        self._calls = calls or Calls()
        self._durable = durable
        self._root = category.folder

    def run(
        self,
        me: Self,
        *,
        guard: Guard | None = None,
        direction: Direction = "both",
        dry_run: bool = False,
        progress: Callable[[str, int], None] = lambda _what, _count: None,
    ) -> Outcome:
        """Sync.

        Raises:
            GuardError: the folder is not what it was, or far more would change than usual; nothing was done.
            OSError: the folder or the store cannot be used; what was done is remembered.
        """
        with collector_paused():
            return self._run(me, guard or Guard(), direction, progress, dry_run=dry_run)

    def _run(
        self, me: Self, guard: Guard, direction: Direction, progress: Callable[[str, int], None], *, dry_run: bool
    ) -> Outcome:
        state = self._states.load(self._category.name)
        self._check_folder(state, dry_run=dry_run)
        now_ns = clock_of(self._root)
        recovered = 0 if dry_run else self._recover(me, now_ns)
        found = self._scan(state, now_ns)
        progress("looked", len(found.contents))
        told = self._store.others(self._category.name, self._knows(state, me, found))
        problems = self._store.problems()
        count = _next_count(state, told, me.device)
        changes = {}
        if direction != "pull":
            changes = observe(state.tree, found.contents, self._judged(found), device=me.device, count=count, at=me.at)
        outcome = Outcome(Plan(), found, changes, skipped=dict(found.skipped), recovered=recovered, problems=problems)
        seen = {one.device: one.digest for one in told if one.device != me.device}
        # A run that was killed has remembered what it did not tell.
        behind = not any(one.device == me.device and one.counter >= state.counter for one in told)
        known = (seen, found.takes.fingerprint) == (state.seen, state.filter)
        if known and not changes and not behind and not found.skipped and not found.heeded_again:
            if not dry_run and differs(state.marks, found):
                state.marks = marks_of(state.tree, found)
                self._states.save(self._category.name, state, {})
            return outcome
        if state.filter != found.takes.fingerprint:
            state.filter = ""  # until all is done that follows of the new one
        mine = state.tree | changes
        wanted: Tree = mine
        if direction != "push":
            # What was found stands in `mine`. If nothing is told, it does not: then all has to be compared.
            same = mine if direction == "both" else {}
            trees = heeded([one.tree for one in told], mine, found)
            wanted = self._converge(state, mine, same, trees, me, count, outcome, keep=not dry_run)
        self._guard(guard, state, outcome)
        if dry_run:
            return outcome
        if differs(state.marks, found):  # what was hashed and stands for what is held is not hashed by the next run
            state.marks = marks_of(state.tree, found)
        if self._merge is not None:
            Joiner(self._root, self._store, self._merge, state).remember(changes)
        self._tell(state, mine, wanted, outcome, me, count, progress)
        self._change(state, wanted, outcome, me, progress)
        self._conclude(state, wanted, outcome, me, seen if direction == "both" else {}, behind=behind)
        outcome.problems += self._store.problems()
        return outcome

    def _knows(self, state: State, me: Self, found: Found) -> Callable[[Manifest], bool]:
        """Of which manifests everything is done that follows from them, so that `state.tree` has their trees in it."""

        def knows(manifest: Manifest) -> bool:
            if manifest.device == me.device:
                return 0 < manifest.counter == state.counter
            return state.seen.get(manifest.device) == manifest.digest

        return knows if state.filter == found.takes.fingerprint else lambda _manifest: False

    def _converge(
        self,
        state: State,
        mine: dict[str, Version],
        same: Tree,
        trees: list[Tree],
        me: Self,
        count: int,
        outcome: Outcome,
        *,
        keep: bool,
    ) -> Tree:
        found = outcome.found
        start = mine
        if self._merge is not None:
            joiner = Joiner(self._root, self._store, self._merge, state)
            joined = joiner.join(mine, outcome.changes, trees, device=me.device, count=count, at=me.at, keep=keep)
            outcome.merged = sorted(joined)
            start = mine | joined
        converged = converge(start, trees, self._rank, keeps_both=self._keeps_both)
        outcome.conflicts = converged.conflicts
        fits = fitting(self._root, converged.tree, found, outcome.skipped)
        outcome.differing = [path for path, version in converged.tree.items() if same.get(path) is not version]
        differing = {path: converged.tree[path] for path in outcome.differing}
        outcome.plan = plan(differing, found.contents, self._judged(found), fits, converged.needs)
        return converged.tree

    # Before anything.

    def _check_folder(self, state: State, *, dry_run: bool) -> None:
        marker = self._root / OURS / FOLDER_MARKER
        if not self._root.is_dir():
            if state.began:
                raise GuardError(f"{self._root} is not there. Is its disk mounted?")
            if dry_run:
                raise GuardError(f"{self._root} is not there; a real run makes it.")
            self._root.mkdir(parents=True, mode=0o700)
        if state.began and not marker.exists():
            raise GuardError(
                f"{self._root} is not the folder that was synced: {OURS}/{FOLDER_MARKER} is not in it. "
                "Is its disk mounted, was it restored from elsewhere?"
            )
        if not dry_run and not marker.exists():
            marker.parent.mkdir(mode=0o700, exist_ok=True)
            marker.write_text('{"what": "a folder that lama sync keeps the same on several devices"}\n', "utf-8")

    def _recover(self, me: Self, now_ns: int) -> int:
        stage = self._root / OURS / "stage"
        if not stage.is_dir() or not any(stage.iterdir()):
            return 0
        with Applier(self._root, Found(), f"{me.run}-recovered", self._calls, durable=self._durable) as applier:
            return applier.recover(now_ns)

    def _scan(self, state: State, now_ns: int) -> Found:
        decided = state.filter == self._takes.fingerprint and not self._takes.follows_ignores
        largest = int(self._category.largest_mib * 1024 * 1024)
        return look(self._root, self._takes, state, largest, now_ns, decided=decided)

    def _judged(self, found: Found) -> Judged:
        return judged_by(found)

    @property
    def _keeps_both(self) -> bool:
        return self._category.policy in {Policy.keep_both, Policy.merge}

    def _guard(self, guard: Guard, state: State, outcome: Outcome) -> None:
        """Stop what nobody may have meant: very many deletions or changes, there or here."""
        if guard.confirmed:
            return
        found = outcome.found
        told = sum(1 for version in state.tree.values() if version.content is not None)
        gone = sum(1 for version in outcome.changes.values() if version.content is None)
        if told and not found.contents and gone:
            raise GuardError(f"{self._root} is empty, and {told} paths were synced. Nothing is deleted elsewhere.")
        going = len(outcome.plan.removed) + len(outcome.plan.emptied)
        if going and going == len(found.contents) == outcome.plan.size:
            raise GuardError(f"all {going} paths of {self._root} would be deleted here.")
        for what, count, of in (
            ("deleted elsewhere", gone, told),
            ("changed elsewhere", sum(1 for path in outcome.changes if path in state.tree) - gone, told),
            ("deleted here", outcome.plan.deletions, len(found.contents)),
            ("changed here", sum(1 for one in outcome.plan.put if one.expected is not None), len(found.contents)),
        ):
            if count > guard.few and count > guard.most_changed * of:
                raise GuardError(f"{count} of {of} paths would be {what}, more than {guard.most_changed:.0%}.")

    # Telling and changing.

    def _tell(
        self,
        state: State,
        mine: dict[str, Version],
        wanted: Tree,
        outcome: Outcome,
        me: Self,
        count: int,
        progress: Callable[[str, int], None],
    ) -> None:
        """Store what is new here, and tell of it: all but what could not be read."""
        with self._store.batch():
            for sent in upload(self._root, self._store, self._to_be_stored(outcome)):
                if sent.error is None:
                    outcome.uploaded_bytes += sent.size
                    progress("stored", sent.content.size)
                    continue
                why = getattr(sent.error, "strerror", None) or sent.error
                outcome.skipped[sent.path] = f"it was not stored: {why}"
                if sent.path in state.tree:
                    mine[sent.path] = state.tree[sent.path]
                else:
                    del mine[sent.path]
        if outcome.changes:
            state.tree = mine
            state.counter = count
            state.marks = marks_of(mine, outcome.found, outcome.changes)
            state.began = True
            self._acknowledge(state, wanted, outcome)
            self._states.save(self._category.name, state, dict.fromkeys(outcome.changes, "told"))
            self._store.publish(Manifest(me.device, self._category.name, state.counter, state.tree))

    @staticmethod
    def _to_be_stored(outcome: Outcome) -> list[tuple[str, str, Content]]:
        return [
            (path, outcome.found.on_disk(path), version.content)
            for path, version in outcome.changes.items()
            if version.content is not None and version.content.kind is Kind.file
        ]

    def _acknowledge(self, state: State, wanted: Tree, outcome: Outcome) -> bool:
        """Take what all come to for what this device holds, where that stands here already; whether anything is new."""
        found = outcome.found
        judged = self._judged(found)
        needs = outcome.plan.needs
        new = False
        tree = state.tree
        differing = [path for path in {**dict.fromkeys(outcome.differing), **outcome.changes} if path in wanted]
        if needs:
            last = sorted(needs.keys() & set(differing), reverse=True)
            differing = [*(path for path in differing if path not in needs), *last]
        for path in differing:
            version = wanted[path]
            if path in outcome.done or path in outcome.skipped or version == tree.get(path):
                continue
            if version.content == found.contents.get(path) and judged(path) and _kept(path, needs, state, wanted):
                tree[path] = version
                new = True
        return new

    def _change(
        self,
        state: State,
        wanted: Tree,
        outcome: Outcome,
        me: Self,
        progress: Callable[[str, int], None],
    ) -> None:
        whole = outcome.plan
        if whole.nothing:
            return
        # What is remembered below is told at the end; a run that is killed before is behind by this count.
        state.counter += 1
        apart = Applier(self._root, outcome.found, me.run, self._calls, durable=self._durable)
        with self._store.batch(), apart as applier:
            for piece in pieces(whole):
                for _ in apply(piece, applier, self._store.fetch, at_once=self._store.at_once):
                    progress("done", 1)
                applier.settle()
                applied = applier.applied
                for path in sorted(applied.done & wanted.keys(), key=lambda one: one in whole.needs):
                    if _kept(path, whole.needs, state, wanted):
                        state.tree[path] = wanted[path]
                    state.marks.pop(path, None)
                state.marks.update(applied.marks)
                state.kept |= applied.kept
                state.began = True
                self._states.save(self._category.name, state, dict.fromkeys(applied.done, "done"))
                outcome.done |= applied.done
                outcome.skipped.update(applied.skipped)
                outcome.downloaded_bytes = applied.bytes

    def _conclude(
        self, state: State, wanted: Tree, outcome: Outcome, me: Self, seen: dict[str, bytes], *, behind: bool
    ) -> None:
        """Acknowledge what others did and that stands here already, and tell them."""
        found = outcome.found
        new = self._acknowledge(state, wanted, outcome) or bool(found.ignored or found.heeded_again)
        for path in [path for path in state.bases if path in outcome.done]:
            del state.bases[path]
        complete = {} if outcome.skipped else seen
        decided = found.takes.fingerprint
        publishes = new or bool(outcome.done) or (behind and not outcome.changes)
        if publishes:
            state.counter += 1
        if publishes or not state.began or (state.seen, state.filter) != (complete, decided):
            state.seen = complete
            state.filter = decided
            state.began = True
            self._states.save(self._category.name, state, {})
        if publishes:
            self._store.publish(Manifest(me.device, self._category.name, state.counter, state.tree))


def _kept(path: str, needs: Mapping[str, set[str]], state: State, wanted: Tree) -> bool:
    """Whether what lost its place at `path` is kept where it is to be."""
    return all(state.tree.get(place) == wanted.get(place) for place in needs.get(path, ()))


def _next_count(state: State, told: Sequence[Manifest], device: str) -> int:
    """A count of this device that nobody has heard of: what it told may be newer than what it remembers."""
    mine = next((one for one in told if one.device == device), None)
    known = [state.counter, mine.counter if mine else 0]
    if state.counter == 0 or mine is None:
        known += [
            count for one in told for version in one.tree.values() for name, count in version.vector if name == device
        ]
    return max(known) + 1
