"""Process set-up before JAX starts: memory, logging, the compilation cache, several processes, signals."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import hashlib
import importlib.util
import logging
import os
import platform
import re
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from seg_jax.runtime import quoting
from seg_jax.runtime.errors import SegJaxError

HUGE_PAGES = "glibc.malloc.hugetlb=1"
# Also in launch.sh. Freed memory is kept for the next step: blocks of up to 64 MiB are allocated from the heap, which
# returns nothing to the system below 256 MiB, and the heaps of threads, 64 MiB each, stay.
KEEP = (
    f"{HUGE_PAGES}:glibc.malloc.mmap_threshold=67108864"
    ":glibc.malloc.trim_threshold=268435456:glibc.malloc.top_pad=67108864"
)


def has_accelerator() -> bool:
    """Whether an NVIDIA GPU or a TPU is visible, without starting JAX."""
    return any(Path(p).exists() for p in ("/dev/nvidiactl", "/dev/accel0", "/dev/vfio/0"))


def tune_malloc(settings: str = KEEP) -> None:
    """Restarts this program with `settings` in GLIBC_TUNABLES, on Linux without an accelerator.

    The C library reads them when a process starts. If GLIBC_TUNABLES has a `glibc.malloc.hugetlb` already, nothing is
    changed. XLA:CPU allocates its buffers at every step and readers theirs for every image, and page faults take up to
    half of the time: steps become up to twice as fast. Call it before slow imports.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if not sys.platform.startswith("linux") or "glibc.malloc.hugetlb" in tunables or has_accelerator():
        return
    environment = {**os.environ, "GLIBC_TUNABLES": f"{tunables}:{settings}" if tunables else settings}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def collect_rarely() -> None:
    """Lets Python look for unreachable cycles after 20,000 new objects instead of after 700.

    A trace makes millions of objects and hardly a cycle: the search would take a good part of its time.
    """
    gc.set_threshold(20_000, 20, 50)


def trim_memory() -> None:
    """Returns freed memory, which `KEEP` makes malloc keep, to the system; glibc alone can.

    Reading a data set and compiling leave 1 to 2 GiB. The step's buffers are mapped anew each time and use none of it.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def kept_by_malloc() -> int:
    """Bytes of freed memory that malloc keeps at most, as GLIBC_TUNABLES says; 0 where it says nothing."""
    found = re.search(r"trim_threshold=(\d+)", os.environ.get("GLIBC_TUNABLES", ""))
    return int(found[1]) if found else 0


def quiet() -> None:
    """Hides the start-up messages of libraries; their warnings and errors stay visible."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(quoting.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in ("absl", "datasets", "fontTools", "jax", "orbax", "tensorflow", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Orbax and CLU raise an error and also log it with a traceback from their threads and tasks.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(lambda record: not record.exc_info)
    # Pillow's, of an image above its limit: ours is lower, and its error names the file.
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
    sys.unraisablehook = _without_echoes


def _without_echoes(unraisable: Any) -> None:
    """Drops 'Event loop is closed', which tensorstore's threads print for every other array after one write failed."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def cache_directory() -> Path:
    """The program's folder in the user's cache directory; everything in it can be recomputed."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seg_jax"


CACHE_SIZE = 2 * 2**30  # bytes


def use_compilation_cache() -> None:
    """Caches compiled programs in the user's cache directory: a second start takes seconds less.

    Set JAX_COMPILATION_CACHE_DIR to another directory, or to '' for no cache. Compiled programs are specific to a
    processor model and home directories are shared between machines, so each model has its own folder. It has at most
    `CACHE_SIZE` bytes, or JAX_COMPILATION_CACHE_MAX_SIZE: JAX removes what was not used for longest.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        directory = cache_directory() / "xla" / _processor()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _note_last_use(directory)
    except OSError as error:
        logging.warning("no compilation cache: %s", error)
        return
    # A small network compiles in less than a second, JAX's default below which nothing is cached.
    min_seconds = os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    lockable = importlib.util.find_spec("filelock") is not None  # without it JAX refuses to bound its cache
    max_size = os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_SIZE if lockable else -1))
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_compilation_cache_dir", str(directory))
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", float(min_seconds))
        sys.modules["jax"].config.update("jax_compilation_cache_max_size", int(max_size))
    else:  # JAX reads these when it is imported, which exported files may never need
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)


def _note_last_use(directory: Path) -> None:
    """Completes what a killed process, or one without a bound, left: JAX fails at every entry that has no `-atime`."""
    for entry in directory.glob("*-cache"):
        note = entry.with_name(f"{entry.name.removesuffix('-cache')}-atime")
        if not note.exists():
            note.write_bytes(entry.stat().st_mtime_ns.to_bytes(8, "little"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        model = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(model.encode()).hexdigest()[:12]}"


HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead and the others stop


class ProcessError(SegJaxError, ValueError):
    """The processes of a run cannot be connected."""


def join(coordinator: str = "", processes: int = 0, index: int = -1, *, automatic: bool = False) -> None:
    """Connects this process with the others that train together; call it before any other use of JAX.

    Args:
      coordinator: host:port of process 0, reachable by all processes.
      processes: number of processes.
      index: number of this process, from 0.
      automatic: read all of these from the environment that SLURM, Open MPI, Kubernetes or a TPU slice provides.

    Raises:
      ProcessError: arguments are missing, or the others cannot be reached.
    """
    passed = bool(coordinator), processes > 0, index >= 0
    if not automatic and not any(passed):
        return
    if not automatic and (not all(passed) or index >= processes):
        raise ProcessError(
            f"--coordinator={coordinator!r} --num_processes={processes} --process_id={index}: several processes need "
            "all three, HOST:PORT of process 0, their number, and the number of this one, from 0. Or pass "
            "--distributed where SLURM, MPI, Kubernetes or a TPU slice provides them."
        )
    # Two processes with two CPU devices each deadlocked with fewer threads (seen with jax 0.10.2).
    os.environ.setdefault("NPROC", "8")
    import jax

    try:
        if automatic:
            jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT)
        else:
            jax.distributed.initialize(coordinator, processes, index, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        raise ProcessError(f"the processes of this run could not connect: {error}.") from error
    # When another process dies, JAX reports it and aborts this one; tracebacks of all threads would hide the report.
    faulthandler.disable()


def is_first() -> bool:
    """Whether this is the process that writes files; the others only compute."""
    import jax

    return jax.process_index() == 0


class Interruption:
    """Records SIGTERM, SIGINT and SIGHUP in `name`, which the loop polls; a second signal ends the process at once.

    SIGHUP means that the terminal is gone (unless `nohup` has it ignored); what is printed after it goes nowhere.
    Any of several processes may get SIGTERM: JAX's own handler then makes all of them stop at the same step.
    """

    def __init__(self, *, processes: int = 1) -> None:
        self.name = ""
        self._distributed = processes > 1
        self._polls = 0

    def now(self) -> bool:
        """Whether to stop here; the same answer in every process, all of which must call this equally often."""
        if self._distributed:
            from jax.experimental import multihost_utils

            self._polls += 1  # the sync point is one past the last poll that any process has reached
            if multihost_utils.reached_preemption_sync_point(self._polls):
                self.name = "SIGTERM"
        return bool(self.name)

    def __enter__(self) -> Interruption:
        self._before = {}
        in_main_thread = threading.current_thread() is threading.main_thread()  # only there can signals be handled
        self._terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
        if in_main_thread:
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
            for number in () if self._distributed else (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: object) -> None:
        self.name = signal.Signals(number).name
        for other in self._before:
            signal.signal(other, signal.SIG_DFL)

    def _hang_up(self, number: int, frame: object) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self._terminals:  # the next line of the progress bar would be an OSError
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
        if self._distributed:
            os.kill(os.getpid(), signal.SIGTERM)  # for JAX's handler
        else:
            self._note(number, frame)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def hide_accelerators_from_tensorflow() -> None:
    """Hides GPUs from TensorFlow, which only reads files and writes events here but would allocate all GPU memory."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
