"""These tests need a GPU that torch can use; elsewhere each says that it was skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def card() -> Iterator[int]:
    """Bytes that are free on the first GPU; what a test took has to be free again after it."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    free, _ = torch.cuda.mem_get_info(0)
    yield free
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < 64 * 1024**2, "something keeps memory"
