"""What a process needs before JAX starts: how malloc works, quiet libraries, a compilation cache, its fellows."""

from __future__ import annotations

import faulthandler
import hashlib
import logging
import os
import platform
import signal
import sys
import threading
from pathlib import Path
from typing import Any

HUGE_PAGES = "glibc.malloc.hugetlb=1"
# In launch.sh too. Freed memory is kept for the next step: blocks of up to 64 MiB come out of the heap, which gives
# nothing back below 256 MiB, and the heaps of threads, 64 MiB each, stay.
KEEP = (
    f"{HUGE_PAGES}:glibc.malloc.mmap_threshold=67108864"
    ":glibc.malloc.trim_threshold=268435456:glibc.malloc.top_pad=67108864"
)


def has_accelerator() -> bool:
    """Whether an NVIDIA GPU or a TPU is visible, without starting JAX."""
    return any(Path(p).exists() for p in ("/dev/nvidiactl", "/dev/accel0", "/dev/vfio/0"))


def tune_malloc(settings: str = KEEP) -> None:
    """Starts this program anew with `settings` in GLIBC_TUNABLES, on Linux without an accelerator.

    The C library reads them when a process starts; where there is a `glibc.malloc.hugetlb` already, it counts as it is.
    XLA:CPU allocates its buffers anew at every step, readers of files theirs for every image, and page faults take up
    to half of the time: steps become up to twice as fast. Call it before anything is imported that costs time.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if not sys.platform.startswith("linux") or "glibc.malloc.hugetlb" in tunables or has_accelerator():
        return
    environment = {**os.environ, "GLIBC_TUNABLES": f"{tunables}:{settings}" if tunables else settings}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def quiet() -> None:
    """Keeps the start-up messages of libraries off the screen; their warnings and errors stay."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("absl", "datasets", "jax", "orbax", "tensorflow", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Orbax and CLU log with a traceback, from their threads and tasks, what they raise as well.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(lambda record: not record.exc_info)
    sys.unraisablehook = _without_echoes


def _without_echoes(unraisable: Any) -> None:
    """When one array of a checkpoint cannot be written, tensorstore's threads print this for each of the others."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def cache_directory() -> Path:
    """Where this program keeps what it can make anew, in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seg_jax"


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache directory: a second start takes seconds less.

    Set JAX_COMPILATION_CACHE_DIR to choose another place, or to '' to keep none. The programs are for one kind
    of processor; home directories are shared between machines, so each kind has its own folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        place = cache_directory() / "xla" / _processor()
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        logging.warning("no compilation cache: %s", error)
        return
    # A small network compiles in less than the second below which JAX would keep nothing.
    least = os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_compilation_cache_dir", str(place))
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", float(least))
    else:  # it reads these when it is imported, if it is: exported files may do without
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kind = "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        kind = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"


DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def make_deterministic() -> None:
    """Has XLA choose only GPU operations whose sums have one order; the CPU has no others.

    Raises:
      ProcessError: a GPU is in use already, and XLA has read its options.
    """
    from jax._src import xla_bridge  # public JAX cannot say whether it has started without starting

    options = os.environ.get("XLA_FLAGS", "")
    if not has_accelerator() or DETERMINISTIC in options.split():
        return
    if xla_bridge.backends_are_initialized():
        raise ProcessError(
            "config.train.deterministic = True: JAX has started, and its options are read at the start. Start the "
            f"program with XLA_FLAGS={DETERMINISTIC}."
        )
    os.environ["XLA_FLAGS"] = f"{options} {DETERMINISTIC}".strip()


HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead, and the others end


class ProcessError(ValueError):
    """The processes of a run cannot be brought together."""


def join(coordinator: str = "", processes: int = 0, index: int = -1, *, automatic: bool = False) -> None:
    """Makes this process one of several that train together; call it before anything else of JAX.

    Args:
      coordinator: host:port of process 0, which all can reach.
      processes: how many there are.
      index: which one this is, from 0.
      automatic: all of these are found in the environment: of SLURM, Open MPI, Kubernetes, a TPU slice.

    Raises:
      ProcessError: arguments are missing, or the others cannot be reached.
    """
    given = bool(coordinator), processes > 0, index >= 0
    if not automatic and not any(given):
        return
    if not automatic and (not all(given) or index >= processes):
        raise ProcessError(
            f"--coordinator={coordinator!r} --num_processes={processes} --process_id={index}: several processes need "
            "all three, HOST:PORT of process 0, their number, and the number of this one, from 0. Or pass "
            "--distributed where SLURM, MPI, Kubernetes or a TPU slice knows them."
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
        raise ProcessError(f"the processes of this run did not come together: {error}.") from error
    # When another process dies JAX says so and aborts this one; tracebacks of all threads would hide what it says.
    faulthandler.disable()


def is_first() -> bool:
    """Whether this is the process that writes; the others compute only."""
    import jax

    return jax.process_index() == 0


class Interruption:
    """Turns SIGTERM and SIGINT into a name that the loop looks at; a second one ends the process at once.

    Of several processes any may get SIGTERM: JAX's own handler then makes all of them stop at the same step.
    """

    def __init__(self, *, processes: int = 1) -> None:
        self.name = ""
        self._together = processes > 1
        self._asked = 0

    def now(self) -> bool:
        """Whether to stop here; the same answer in every process, all of which ask as often."""
        if self._together:
            from jax.experimental import multihost_utils

            self._asked += 1  # the point to stop at is one more than the last that any process has reached
            if multihost_utils.reached_preemption_sync_point(self._asked):
                self.name = "SIGTERM"
        return bool(self.name)

    def __enter__(self) -> Interruption:
        self._before = {}
        alone = not self._together
        if alone and threading.current_thread() is threading.main_thread():  # signals can be handled nowhere else
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: object) -> None:
        self.name = signal.Signals(number).name
        for other in self._before:
            signal.signal(other, signal.SIG_DFL)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def hide_accelerators_from_tensorflow() -> None:
    """TensorFlow reads files and writes events here; left alone it would take all memory of a GPU."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
