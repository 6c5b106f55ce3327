"""State of a module, by which runs can tell what they were started from."""

import os

IMPORTED_BY = os.getpid()
VALUE = "first"
COUNT = 0
