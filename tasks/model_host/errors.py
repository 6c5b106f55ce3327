"""What can go wrong between a request and its answer; each becomes an answer in OpenAI's shape."""

from __future__ import annotations

from blocks.errors import LamaError
from models.model_host import Refusal

ADAPTER = "is an adapter (LoRA) of another model; adapters are not served by themselves."
MERGE = "Merge it into its base (`merge_and_unload` of the package peft), save that, and name its folder."


class RequestError(LamaError):
    """The request can never be answered as it is.

    Args:
        parameter: the one that is wrong, in the API's words.
        code: OpenAI's word for it, such as `context_length_exceeded`.
    """

    def __init__(
        self, what: str, *, parameter: str = "", code: str = "", component: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, component=component, remedy=remedy)
        self.parameter = parameter
        self.code = code


class UnknownModelError(RequestError):
    """No model of the catalogue is called that."""


class LoadError(LamaError):
    """A model cannot be loaded; it holds no memory."""


class EngineError(LamaError):
    """An engine failed while it served."""


class NoRoomError(LamaError):
    """There is no memory for it now, or never.

    Args:
        refusal: the sum.
        retry_after_s: seconds after which to ask again; None: waiting cannot help.
    """

    def __init__(self, what: str, refusal: Refusal, *, retry_after_s: float | None, component: str = "") -> None:
        super().__init__(what, component=component)
        self.refusal = refusal
        self.retry_after_s = retry_after_s


class AtWorkError(LamaError):
    """It is at work, and work is never interrupted."""


class NoModelError(RequestError):
    """No model of the catalogue meets the requirements.

    Args:
        excluded: each model and why it was left out.
    """

    def __init__(self, what: str, excluded: tuple[tuple[str, str], ...]) -> None:
        super().__init__(what, parameter="requirements", code="no_model")
        self.excluded = excluded


class NobodyAnsweredError(LamaError):
    """A model and all of its fallbacks failed.

    Args:
        failures: each model and what it failed with, in the order of the chain.
    """

    def __init__(self, failures: tuple[tuple[str, LamaError], ...]) -> None:
        super().__init__("; ".join(f"{model}: {error.what}" for model, error in failures))
        self.failures = failures

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which the first of them may have memory; None: waiting cannot help."""
        waits = [error.retry_after_s for _, error in self.failures if isinstance(error, NoRoomError)]
        return min((wait for wait in waits if wait is not None), default=None)
