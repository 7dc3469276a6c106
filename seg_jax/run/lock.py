"""One training at a time in a run directory: a lock that dies with the process that holds it."""

from __future__ import annotations

import fcntl
import fnmatch
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from seg_jax.config import ConfigError
from seg_jax.runtime import process

# In a part of a path: `**` and `gs:`, which Orbax takes for another thing; a backslash, and bytes that are no text, to
# which TensorStore does not write.
UNFIT = re.compile(r"\*\*|^gs:$|[\\\ud800-\udfff]")


class LockedError(ConfigError):
    """Another process trains in this run directory; the message names it."""


@contextmanager
def training(directory: Path, file: Path) -> Iterator[None]:
    """Makes a run directory and holds its lock file for the processes of one run.

    Raises:
      LockedError: another process trains here.
      ConfigError: the directory cannot be written, or no checkpoint can be stored below its path.
    """
    with ExitStack() as held:
        refusal: ConfigError | None = None
        if process.is_first():
            try:
                _require_storable(directory.absolute())
                directory.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(file))
            except ConfigError as error:
                refusal = error
            except OSError as error:
                refusal = unwritable(directory, error)
        refuse_together(refusal)
        yield


def refuse_together(refusal: ConfigError | None) -> None:
    """Ends all processes of a run by the first one's refusal, not that one alone; each of them has to call it.

    Args:
      refusal: what this process has found; that of the first one counts. None: nothing.

    Raises:
      ConfigError: the first process refuses.
    """
    from seg_jax.runtime import sharding

    said = sharding.exchange(str(refusal or ""))[0]
    if said:
        raise refusal or ConfigError(said)


def _require_storable(directory: Path) -> None:
    """Refuses an absolute path below which no whole checkpoint is stored: Orbax looks for its files by a pattern."""
    unfit = [part for part in directory.parts if UNFIT.search(part) or not fnmatch.fnmatchcase(part, part)]
    if unfit:
        raise ConfigError(
            f"--workdir={directory}: no whole checkpoint can be written there: Orbax takes {unfit[0]} for a pattern "
            "or an address. Use another --workdir, an absolute path of text without '[...]', '**', '\\' and 'gs:'."
        )


def unwritable(directory: Path, error: OSError) -> ConfigError:
    """The error of a run directory that the disk refuses to write."""
    return ConfigError(
        f"--workdir={directory} cannot be written to ({error}). Free space there, make it writable, or name "
        "another directory."
    )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path` for one process, which the file names by host and process id.

    The kernel frees the lock when the process ends, however it does (`flock`, which NFS passes on to its server). The
    file stays, so that nobody can lock a file that has just been removed; its content only says whom to ask. Where a
    file system has no locks, a process of this host that still exists counts as the holder.

    Raises:
      LockedError: another process holds it.
      OSError: the file cannot be made or written.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(handle, path)
        _write(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}) + "\n")
        try:
            yield
        finally:
            _write(handle, "")
    finally:
        os.close(handle)


def _acquire(handle: int, path: Path) -> None:
    host, pid = _holder(handle)
    here = host == socket.gethostname()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refusal(path, host, pid) from None
    except OSError as error:
        if here and pid != os.getpid() and _exists(pid):
            raise _refusal(path, host, pid) from error
        logging.warning("%s cannot be locked (%s): nothing keeps a second training out", path, error)
    if host and not here:
        logging.warning(
            "%s names process %d on %s, whose lock is gone. If this file system does not share locks between machines, "
            "make sure that it has ended",
            path,
            pid,
            host,
        )


def _refusal(path: Path, host: str, pid: int) -> LockedError:
    who = f"process {pid} on {host}" if host else "another process"
    return LockedError(
        f"{who} is training in {path.parent}. Wait until it has ended, stop it (kill {pid or 'PID'}, which saves), or "
        "use another --workdir."
    )


def _holder(handle: int) -> tuple[str, int]:
    """(host, process id) that the lock file names, of its holder or of one that was killed; ('', 0) for none."""
    try:
        noted = json.loads(os.pread(handle, 4096, 0))
        return str(noted["host"]), int(noted["pid"])
    except (ValueError, KeyError, TypeError):
        return "", 0


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
