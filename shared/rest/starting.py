"""A start that hangs says where and ends, so that whoever watches the process can begin anew."""

import faulthandler

START_WITHIN_REAL_S = 40.0
"""Ten times what a start takes on two busy cores, and still inside the 60 s that the containers are given."""


def begin() -> None:
    """Call first: a process that is not `done` in time prints every thread's stack on stderr and exits with 1."""
    faulthandler.dump_traceback_later(START_WITHIN_REAL_S, exit=True)


def done() -> None:
    """The process serves."""
    faulthandler.cancel_dump_traceback_later()
