#!/usr/bin/env bash
# From a machine that has only Python to a running training. `./launch.sh --help` explains.
# Kept to what bash 3.2 understands, which is the bash of macOS.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: ./launch.sh [FLAGS...]              train; by default a U-Net on synthetic street scenes
       ./launch.sh test [PYTEST ARGS...]   run the tests (-m "slow or not slow": all of them)
       ./launch.sh lint                    check format, style and types
       ./launch.sh demo [MODEL [MODEL]]    a page in the browser, of what ./launch.sh has trained,
                                           or of a network in the package
       ./launch.sh add EXTRA...            install optional packages of these: deep, demo,
                                           geo, hub, huggingface, onnx, pretrained, search,
                                           tfds, tflite, video
       ./launch.sh --help                  this text (--helpfull: every flag of the program)

Needs only Python 3.11, 3.12 or 3.13. The first launch makes .venv and installs the versions that
requirements.txt pins, with uv where it is on the PATH and else with pip; later launches start at
once. The environment is made anew when the pins, its Python or the accelerator change, or when an
install was interrupted. test, lint and demo each add the pins of requirements-VERB.txt, add and
accelerators those of requirements/NAME.txt; what was added comes into the next environment too.
Nothing is installed whose SHA-256 is not in these files.

FLAGS go to `python -m seg_jax.main`, after these defaults:
  --config=configs/synthetic_unet.py    unless FLAGS have a --config
  --workdir=runs/NAME                   unless FLAGS have a --workdir; NAME is the config file's
Single fields are set with --config.NAME=VALUE, after any --config of your own.
Paths, also those below, are relative to the directory of launch.sh, wherever it is called from.

Several processes, each on its machine, all with the same FLAGS and a --workdir that all can see:
  --distributed                         where SLURM, MPI, Kubernetes or a TPU slice has started them
  --coordinator=HOST:PORT --num_processes=N --process_id=I   by hand: HOST is that of process 0

Accelerators: an NVIDIA driver from 580 gets jax[cuda13], from 525 jax[cuda12], a TPU jax[tpu];
everything else runs on the CPU.

Environment variables:
  PYTHON=/path/to/python      make the environment with this Python
  SEG_JAX_VENV=DIR            the environment, instead of .venv; machines that share this directory
                              but not their accelerator need one each
  SEG_JAX_ACCELERATOR=NAME    cpu, cuda12, cuda13 or tpu: install for this, whatever is found
  GLIBC_TUNABLES              on Linux without an accelerator settings of malloc are added,
                              unless it has glibc.malloc.hugetlb: steps are up to twice as fast

examples:
  ./launch.sh --config=configs/default.py --workdir=runs/first
  srun ./launch.sh --config=configs/camvid_unet.py --workdir=/shared/runs/camvid --distributed
  SEG_JAX_ACCELERATOR=cpu ./launch.sh test tests/test_launch.py -k help
HELP
}

say() { echo "launch.sh: $*" >&2; }

die() {
  say "$*"
  exit 1
}

# has_flag NAME ARGS...: do ARGS set --NAME? (--NAME.FIELD=VALUE is another flag.)
has_flag() {
  local name=$1 arg
  shift
  for arg in "$@"; do
    case $arg in "--$name" | "--$name="* | "-$name" | "-$name="*) return 0 ;; esac
  done
  return 1
}

# config_name ARGS...: the name of the config file that ARGS choose, without directory, .py and :argument.
config_name() {
  local config='' previous='' arg
  for arg in "$@"; do
    case $arg in --config=* | -config=*) config=${arg#*=} ;; esac
    case $previous in --config | -config) config=$arg ;; esac
    previous=$arg
  done
  config=${config%%:*}
  config=${config##*/}
  echo "${config%.py}"
}

# --- accelerator ----------------------------------------------------------------------------------

has_tpu() {
  [ "$(uname -s)" = Linux ] || return 1
  [ -e /dev/accel0 ] || [ -e /dev/vfio/0 ] || return 1
  # Other devices use these nodes too, so something has to say that this machine is Google's.
  [ -n "${TPU_NAME:-}${TPU_WORKER_ID:-}" ] ||
    grep -qi google /sys/class/dmi/id/product_name 2>/dev/null ||
    grep -qsx 0x1ae0 /sys/bus/pci/devices/*/vendor
}

find_accelerator() {
  accelerator=${SEG_JAX_ACCELERATOR:-}
  case $accelerator in
    cpu | cuda12 | cuda13 | tpu) return ;;
    '') ;;
    *) die "SEG_JAX_ACCELERATOR = '$accelerator' is not one of: cpu, cuda12, cuda13, tpu" ;;
  esac

  accelerator=cpu
  local driver major
  if driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null); then
    driver=${driver%%[!0-9.]*} # of one line for each GPU, all alike, the first
    major=${driver%%.*}
    # The oldest drivers that run programs built for CUDA 13 and for CUDA 12.
    if [ "${major:-0}" -ge 580 ]; then
      accelerator=cuda13
    elif [ "${major:-0}" -ge 525 ]; then
      accelerator=cuda12
    else
      say "using the CPU: the NVIDIA driver is ${driver:-unknown}, jax needs 525 or newer; update the driver"
    fi
  elif has_tpu; then
    accelerator=tpu
  fi
}

# --- Python ---------------------------------------------------------------------------------------

# version_of PYTHON: its version; fails where it cannot run.
version_of() {
  "$1" -ISc 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

# Sets `python` and `version` to the first Python that fits.
find_python() {
  local candidate found=''
  if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
  else
    set -- python3 python3.13 python3.12 python3.11
  fi
  for candidate in "$@"; do
    version=$(version_of "$candidate") || continue
    case $version in
      3.11.* | 3.12.* | 3.13.*)
        # Not that of an environment, which may be the one about to be removed.
        python=$("$candidate" -ISc 'import sys; print(sys._base_executable)')
        return
        ;;
    esac
    found="$found${found:+, }$candidate is $version"
  done
  die "no Python that fits (${found:-none runs of: $*}); seg_jax needs 3.11, 3.12 or 3.13." \
    "Install one of them, or name it: PYTHON=/path/to/python3.12 ./launch.sh"
}

# --- environment ----------------------------------------------------------------------------------

# A stamp inside the environment says what it has: "incomplete" while anything is being installed, and then its Python,
# accelerator and pins, followed by a line for each verb whose own pins are there too. "add NAME" stands for an extra;
# these lines outlive the environment, so that the next one has the same extras.
run_stamp() { echo "python $version, accelerator $accelerator, requirements $(cksum <requirements.txt)"; }
verb_stamp() { echo "$1 $(cksum <"requirements-$1.txt")"; }

# holds run|demo|lint|test: does the environment have what is needed?
holds() {
  local has newline=$'\n'
  # Once made, the environment's Python counts and not what the PATH happens to find first today.
  version=$(version_of "$venv/bin/python") || return 1
  if [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$version" ]; then return 1; fi
  has=$newline$(cat "$stamp" 2>/dev/null)$newline
  case $has in "$newline$(run_stamp)$newline"*) ;; *) return 1 ;; esac
  [ "$1" = run ] && return
  # The pins of test are those of demo and lint and more.
  case $has in *"$newline$(verb_stamp "$1")$newline"* | *"$newline$(verb_stamp test)$newline"*) ;; *) return 1 ;; esac
}

has_uv() { command -v uv >/dev/null; }

# pip_install ARGS...: into the environment.
pip_install() {
  if has_uv; then
    # Compiled here, because where Python may not write bytecode (many containers) every start took 4 s more.
    uv pip install --compile-bytecode --python "$venv/bin/python" "$@"
  else
    # An environment that uv made has no pip.
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip || return 1
    "$venv/bin/python" -m pip install --disable-pip-version-check "$@"
  fi
}

# install_pins NAME...: of requirements/, with those of the accelerator, which packages of an extra may need too.
install_pins() {
  local name files=()
  [ "$accelerator" = cpu ] || set -- "$@" "$accelerator"
  for name in "$@"; do files+=(-r "requirements/$name.txt"); done
  [ $# = 0 ] || pip_install "${files[@]}"
}

# A symbolic link is made in one step together with what it says: who holds the lock.
lock() {
  local me parent holder waiting=''
  me="$(uname -n):$$"
  parent=$(dirname "$venv")
  mkdir -p "$parent"
  [ -w "$parent" ] || die "cannot write to $parent; SEG_JAX_VENV=DIR names another place"
  trap unlock EXIT
  until ln -sn "$me" "$lock" 2>/dev/null; do
    holder=$(readlink "$lock") || holder=''
    if [ "${holder%:*}" = "$(uname -n)" ] && ! kill -0 "${holder##*:}" 2>/dev/null; then
      rm -f "$lock" # left by a launch that was killed
      continue
    fi
    [ -n "$waiting" ] || say "waiting for another launch ($holder) to install; if there is none, remove $lock"
    waiting=yes
    sleep 1
  done
}

unlock() {
  if [ "$(readlink "$lock")" = "$(uname -n):$$" ]; then rm -f "$lock"; fi
}

# make_environment: empty, with a stamp that says "incomplete" and names the extras of the one before.
make_environment() {
  local make
  if [ -d "$venv" ] && [ ! -e "$stamp" ] && [ -n "$(ls -A "$venv")" ]; then
    die "$venv was not made by launch.sh and is left alone." \
      "Remove it, or name another place: SEG_JAX_VENV=DIR"
  fi
  say "installing into $venv for Python $version and $accelerator; this takes minutes, once"
  # Anew, because an install on top would keep what other pins or another accelerator had brought.
  rm -rf "$venv"
  mkdir "$venv"
  write_stamp incomplete
  make=("$python" -m venv)
  if has_uv; then make+=(--without-pip); fi # uv needs none inside, and it takes seconds
  "${make[@]}" "$venv" || die "$python cannot make $venv; on Debian and Ubuntu install python3-venv"
}

# write_stamp LINES...: with those of the extras.
write_stamp() {
  local name
  printf '%s\n' "$@" >"$stamp"
  for name in ${added[@]+"${added[@]}"}; do echo "add $name"; done >>"$stamp"
}

# install NAME PINS: NAME is run, demo, lint or test.
install() {
  local name=$1 pins=$2 line extra again=() has=()
  added=()
  while read -r line; do
    case $line in
      "add "*) added+=("${line#add }") ;;
      "$name "* | incomplete) ;;
      *) has+=("$line") ;;
    esac
  done < <(cat "$stamp" 2>/dev/null)
  if holds run; then
    say "installing for ./launch.sh $name into $venv"
    write_stamp incomplete
  else
    find_python
    again=(${added[@]+"${added[@]}"})
    make_environment
    has=("$(run_stamp)")
  fi

  { pip_install -r "$pins" && install_pins; } ||
    die "the installation failed, see above; the next launch starts it anew"
  if [ "$name" = test ]; then
    # Without what they depend on, which for cityscapesscripts is a package that no Python of today takes.
    pip_install --no-deps -r requirements-test-optional.txt ||
      say "requirements-test-optional.txt could not be installed, see above; the tests that need it skip"
  fi
  added=()
  for extra in ${again[@]+"${again[@]}"}; do
    if install_pins "$extra"; then
      added+=("$extra")
    else
      say "the packages of $extra could not be installed again, see above; ./launch.sh add $extra tries once more"
    fi
  done

  case $name in demo | lint | test) has+=("$(verb_stamp "$name")") ;; esac
  write_stamp "${has[@]}"
}

# prepare run|demo|lint|test ARGS...: after this, $venv/bin/python is ready to run. ARGS are those of run.
prepare() {
  local name=$1 pins=requirements-$1.txt
  shift
  [ "$name" != run ] || pins=requirements.txt
  find_accelerator
  if ! holds "$name"; then
    if [ "$name" = run ]; then
      find_python
      check_flags "$@"
    fi
    lock
    if ! holds "$name"; then install "$name" "$pins"; fi # another launch may have done it meanwhile
    unlock
  fi

  if [ "$accelerator" = cpu ] && [ "$(uname -s)" = Linux ]; then
    case ${GLIBC_TUNABLES:-} in
      *glibc.malloc.hugetlb=*) ;;
      *) export GLIBC_TUNABLES="${GLIBC_TUNABLES:-}${GLIBC_TUNABLES:+:}$malloc" ;;
    esac
  fi
}

# check_flags ARGS...: refuses what seg_jax.main would refuse after minutes of installation.
check_flags() {
  "$python" -IBSc 'if True:
    import difflib, re, sys
    sys.path.insert(0, "")
    from seg_jax.config import ConfigError, typos
    with open("seg_jax/main.py", encoding="utf-8") as file:
        names = re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", file.read())
    names.append("config")  # which seg_jax/config/flags.py defines
    # and those that absl has in every program
    names += "help helpfull helpshort helpxml flagfile undefok v verbosity logtostderr alsologtostderr log_dir".split()
    names += "stderrthreshold showprefixforinfo logger_levels only_check_args only_check_flags pdb pdb_post_mortem".split()
    names += "run_with_pdb run_with_profiling profile_file use_cprofile_for_profiling".split()
    for argument in sys.argv[1:]:
        name = argument.lstrip("-").split("=")[0].split(".")[0]
        is_flag = re.match(r"--?[^\d.-]", argument)  # -1 is the value of the one before it
        if is_flag and name not in [*names, "?"] and name.removeprefix("no") not in names:
            near = "".join(f" Did you mean --{near}?" for near in difflib.get_close_matches(name, names, 1))
            near = near or typos.meant(argument)
            sys.exit(f"launch.sh: unknown flag {argument}.{near} ./launch.sh --help lists them; nothing was installed")
    try:
        typos.checked(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"launch.sh: {error} Nothing was installed")
  ' "$@"
}

# check_extras NAME...: refuses what has no pins before the minutes that an installation may take.
check_extras() {
  local file name known=''
  for file in requirements/*.txt; do
    name=${file##*/}
    name=${name%.txt}
    case $name in cuda12 | cuda13 | tpu) ;; *) known="$known${known:+, }$name" ;; esac # these are accelerators
  done
  [ $# -gt 0 ] || set -- ''
  for name in "$@"; do
    case ", $known," in *", $name,"*) ;; *) die "add '$name': not one of $known" ;; esac
  done
}

# add NAME...: installs these extras, and has them installed again with every environment that follows.
add() {
  local name line has=()
  check_extras "$@"
  prepare run
  lock
  say "installing for ./launch.sh add into $venv"
  added=()
  while read -r line; do
    case $line in "add "*) added+=("${line#add }") ;; *) has+=("$line") ;; esac
  done <"$stamp"
  write_stamp incomplete
  install_pins "$@" || die "the installation failed, see above; the next launch starts it anew"
  for name in "$@"; do
    case " ${added[*]-} " in *" $name "*) ;; *) added+=("$name") ;; esac
  done
  write_stamp "${has[@]}"
  unlock
}

# check_models ARGS...: refuses what the demo would refuse after minutes of installation.
check_models() {
  local model
  for model in "$@"; do
    case $model in -*) die "demo $model: it takes run directories and exported files alone; nothing was installed" ;; esac
    [ -e "$model" ] || [ -e "seg_jax/shipped/$model.safetensors" ] ||
      die "demo $model: there is no such run directory, file or network of the package; nothing was installed"
  done
}

# --- main -----------------------------------------------------------------------------------------

CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")"
venv=${SEG_JAX_VENV:-.venv}
malloc=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=67108864 # seg_jax/runtime/process.py says why
malloc=$malloc:glibc.malloc.trim_threshold=268435456:glibc.malloc.top_pad=67108864
venv=${venv%/}
stamp=$venv/seg_jax.stamp
lock=$venv.lock

case ${1:-} in
  -h | --help | help)
    usage
    ;;
  test)
    shift
    prepare test
    exec "$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow" "$@"
    ;;
  demo)
    shift
    check_models "$@"
    prepare demo
    exec "$venv/bin/python" -m seg_jax.demo "$@"
    ;;
  lint)
    [ $# = 1 ] || die "lint $2: it takes no arguments; nothing was installed"
    prepare lint
    failed=0
    "$venv/bin/python" -m ruff format --check . || failed=1
    "$venv/bin/python" -m ruff check . || failed=1
    "$venv/bin/python" -m mypy || failed=1
    exit $failed
    ;;
  add)
    shift
    add "$@"
    ;;
  '' | -*)
    prepare run "$@"
    # Defaults go first: a --config.NAME=VALUE is only understood after its --config.
    has_flag config "$@" || set -- --config=configs/synthetic_unet.py "$@"
    has_flag workdir "$@" || set -- --workdir="runs/$(config_name "$@")" "$@"
    exec "$venv/bin/python" -m seg_jax.main "$@"
    ;;
  *)
    die "unknown command '$1', not one of: test, lint, demo, add, help; without one it trains. ./launch.sh --help explains"
    ;;
esac
