"""Whether documentation is true of the code: checked, accepted, and repaired where that is sure."""

from tasks.docs.truth.judge import check
from tasks.docs.truth.proposed import propose

__all__ = ["check", "propose"]
