"""What is stored is the same every time, and nothing is built of what is not what it should be."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.train import artifact
from tasks.train.artifact import ArtifactError
from tasks.train.estimators import Blend, HistGradientBoosting, LightGBM, LinearModel
from tests.train.data import houses, leads


def model() -> Blend:
    frame = houses(120)
    members: list[Any] = [LinearModel(), HistGradientBoosting(max_iter=5), LightGBM(n_estimators=5)]
    return Blend(members, [0.2, 0.3, 0.5]).fit(frame[["area", "district", "sold"]], frame["price"].to_numpy())


@pytest.fixture(scope="module")
def content() -> bytes:
    return artifact.dump(model())


def changed(content: bytes, change: Callable[[dict[str, bytes]], None], method: int = zipfile.ZIP_STORED) -> bytes:
    """The file with other entries, and so the hash that somebody who can write to the registry would give it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_what_comes_back_predicts_the_same(content: bytes) -> None:
    frame = houses(50, seed=3)
    again = artifact.load(content, artifact.hash_of(content))
    assert (again.predict(frame) == model().predict(frame)).all()
    assert np.allclose(again.predict_rows(frame.to_dict("records")), again.predict(frame), rtol=1e-12)


def test_of_classes_as_well() -> None:
    frame = leads(150)
    for made in (LinearModel("classification"), HistGradientBoosting("classification", max_iter=5),
                 LightGBM("classification", n_estimators=5)):  # fmt: skip
        made.fit(frame[["visits", "source"]], frame["won"].to_numpy())
        stored = artifact.dump(made)
        again = artifact.load(stored, artifact.hash_of(stored))
        assert np.allclose(again.proba_rows(frame.to_dict("records")), made.predict_proba(frame), rtol=1e-9)


def test_two_trainings_in_two_processes_give_the_same_bytes(content: bytes) -> None:
    words = "from tests.train import test_artifact as t; print(t.artifact.hash_of(t.artifact.dump(t.model())))"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=root)
    assert said.stdout.strip() == artifact.hash_of(content)


class _Harm:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.mark, "harm"))


def test_a_pickle_is_refused_whatever_its_name(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    poison = pickle.dumps(_Harm(mark))
    path = tmp_path / "model.skops"
    path.write_bytes(poison)
    with pytest.raises(ArtifactError, match="a pickle is never loaded"):
        artifact.read(path, artifact.hash_of(poison))
    array = io.BytesIO()
    np.save(array, np.array([_Harm(mark)], dtype=object), allow_pickle=True)
    hidden = changed(artifact.dump(LinearModel()), lambda entries: entries.update({"1.npy": array.getvalue()}))
    with pytest.raises(ArtifactError, match="Python objects"):
        artifact.load(hidden, artifact.hash_of(hidden))
    assert not mark.exists()


def test_one_bit_is_enough_to_be_refused(content: bytes) -> None:
    for place in (10, len(content) // 2, len(content) - 3):
        other = bytearray(content)
        other[place] ^= 1
        with pytest.raises(ArtifactError, match="changed or damaged"):
            artifact.load(bytes(other), artifact.hash_of(content))


def node(**more: Any) -> dict[str, Any]:
    return {"__id__": 999_999, **more}


POISONS = {
    "a system call as a function": node(
        __class__="system", __module__="os", __loader__="FunctionNode",
        content={"module_path": "os", "function": "system"},
    ),
    "a constructor that runs something": node(
        __class__="Popen", __module__="subprocess", __loader__="ConstructorFromReduceNode",
        content=node(__class__="list", __module__="builtins", __loader__="ListNode", content=[]),
    ),
    "an object of a class that is not on the list": node(
        __class__="Popen", __module__="subprocess", __loader__="ObjectNode", content=None
    ),
    "a class of scikit-learn that was not looked at": node(
        __class__="FunctionTransformer", __module__="sklearn.preprocessing._function_transformer",
        __loader__="ObjectNode", content=None,
    ),
    "a method": node(
        __class__="x", __module__="builtins", __loader__="MethodNode", content={"func": "write_text", "obj": node()}
    ),
    "an operator": node(
        __class__="methodcaller", __module__="operator", __loader__="OperatorFuncNode", attrs=node(), content=None
    ),
    "a partial": node(__class__="partial", __module__="functools", __loader__="PartialNode", content={}),
    "a trusted class as a value": node(
        __class__="str", __module__="builtins", __loader__="TypeNode", content=None,
        type={"__class__": "Popen", "__module__": "subprocess", "__loader__": "TypeNode"},
    ),
    "a plain type as an object": node(__class__="dict", __module__="builtins", __loader__="ObjectNode", content=None),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISONS)
def test_a_tampered_schema_is_refused_even_with_its_own_hash(kind: str, content: bytes) -> None:
    def poison(entries: dict[str, bytes]) -> None:
        schema = json.loads(entries["schema.json"])
        schema["content"]["content"]["members"]["content"].append(POISONS[kind])
        entries["schema.json"] = json.dumps(schema).encode()

    tampered = changed(content, poison)
    with pytest.raises(ArtifactError, match=r"not trusted|as a value|as an object"):
        artifact.load(tampered, artifact.hash_of(tampered))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: entries.update({"../../evil.npy": b"x"}), "which is no array"),
        (lambda entries: entries.update({"99.npy": b"not an array"}), "is no array"),
        (lambda entries: entries.pop("schema.json"), "damaged"),
        (lambda entries: entries.update({"schema.json": b"[" * 100_000}), "damaged"),
        (lambda entries: entries.update({"schema.json": b"[" * 900 + b"]" * 900}), "nested too deeply"),
        (lambda entries: entries.update({"schema.json": b"{"}), "damaged"),
        (lambda entries: entries.pop(max(name for name in entries if name.endswith(".npy"))), "does not hold"),
    ],
    ids=["a path", "no array", "no schema", "brackets", "depth", "cut short", "an array less"],
)
def test_a_file_that_is_not_what_it_should_be(
    change: Callable[[dict[str, bytes]], None], said: str, content: bytes
) -> None:
    other = changed(content, change)
    with pytest.raises(ArtifactError, match=said):
        artifact.load(other, artifact.hash_of(other))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(content: bytes) -> None:
    bomb = changed(content, lambda entries: entries.update({"99.npy": bytes(50 << 20)}), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    with pytest.raises(ArtifactError, match="zip bomb"):
        artifact.load(bomb, artifact.hash_of(bomb))


def test_an_array_that_says_it_is_larger_than_it_is(content: bytes) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (1 << 40,), "fortran_order": False, "descr": "<f8"})
    other = changed(content, lambda entries: entries.update({"1.npy": header.getvalue()}))
    with pytest.raises(ArtifactError, match="another size"):
        artifact.load(other, artifact.hash_of(other))


def test_an_array_of_noughts_is_no_zip_bomb() -> None:
    made = LinearModel()
    made.coefficients_ = np.zeros(1_000_000)
    stored = artifact.dump(made)
    assert artifact.load(stored, artifact.hash_of(stored)).coefficients_.shape == (1_000_000,)


def test_what_could_not_be_loaded_again_is_not_stored() -> None:
    made = LinearModel()
    made.extra = Path("/")  # type: ignore[attr-defined]
    with pytest.raises(ArtifactError, match=r"not trusted|cannot be stored"):
        artifact.dump(made)
