"""The base of every error that this program raises on purpose, so that a library's ValueError is not taken for one."""

from __future__ import annotations

import errno

from seg_jax.runtime.quoting import printable

# Errors of a file system that answer what was asked: the file is not there, or is something else. All others say
# nothing about the file.
ANSWERS = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
# Those of a disk that takes nothing more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class SegJaxError(Exception):
    """A request that cannot be met; the message has the value, the rule and the cure.

    Every subclass also derives from the built-in exception that fits, mostly ValueError. Command lines print these
    errors as one line; any other exception is a defect and keeps its traceback. Names inside of a message may be any
    bytes: as text it is `quoting.printable`.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), lines=True)


def of_the_machine(error: BaseException) -> bool:
    """Whether an error says nothing about the file: descriptors or memory ran out, a share stalled, access denied."""
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in ANSWERS
    return isinstance(error, MemoryError)


class MachineError(SegJaxError, OSError):
    """The machine could not read a file: too few descriptors, a share that stalls. It says nothing about the file."""
