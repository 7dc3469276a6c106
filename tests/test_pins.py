"""The pins: complete, consistent, and such that pip takes them for every Python that the project is for.

pip keeps to the upper bounds of Requires-Python and uv does not, so that pins which uv has made and installed may be
refused on a machine without it.
"""

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
OF_EXTRAS = [f"requirements/{name}.txt" for name in EXTRAS]
FILES = [*sorted(path.name for path in REPOSITORY.glob("requirements*.txt")), *OF_EXTRAS]
OPTIONAL = "requirements-test-optional.txt"  # installed without what it depends on
PYTHONS = ["3.11", "3.12", "3.13"]
# No wheel of these exists; pip builds them with what Python brings.
SOURCES = {"promise"}


def environment(python: str) -> dict[str, str]:
    """What markers see on this machine with another Python."""
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def pins(file: str, python: str) -> dict[str, str]:
    """{name: version} of what a file installs with this Python on this machine."""
    requirements = [Requirement(line) for line in pin_lines((REPOSITORY / file).read_text())]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(environment(python))
    }


def pin_lines(text: str) -> list[str]:
    return [line.removesuffix(" \\") for line in text.splitlines() if not line.startswith(("#", " "))]


def complaints(
    pinned: dict[str, str], installed: dict[str, importlib.metadata.Distribution], python: str
) -> Iterator[str]:
    """What pip would refuse, as far as it can be said from the packages that are installed in the pinned version."""
    for name, version in pinned.items():
        package = installed.get(name)
        if package is None or package.version != version:
            continue
        if not SpecifierSet(package.metadata.get("Requires-Python") or "").contains(f"{python}.0"):
            yield f"{name}=={version} is for Python {package.metadata['Requires-Python']}, not for {python}"
        for requirement in map(Requirement, package.requires or []):
            if requirement.marker is None or requirement.marker.evaluate(environment(python)):
                found = pinned.get(canonicalize_name(requirement.name))
                if found is None or not requirement.specifier.contains(found, prereleases=True):
                    yield f"{name}=={version} needs {requirement}, pinned is {found}"


@pytest.fixture(scope="module")
def installed():
    """{name: distribution} of this environment."""
    return {canonicalize_name(found.metadata["Name"]): found for found in importlib.metadata.distributions()}


def test_the_versions_are_those_of_the_project():
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(5, 20) if f"3.{minor}.0" in allowed] == PYTHONS


@pytest.mark.parametrize("file", FILES)
def test_a_line_is_a_name_a_version_and_a_marker(file):
    lines = pin_lines((REPOSITORY / file).read_text())
    assert [line for line in lines if not re.match(r"[a-z0-9-]+==[0-9.]+(post\d+)?( ; |$)", line)] == []
    assert "\n#    .ci/pins\n" in (REPOSITORY / file).read_text()


@pytest.mark.parametrize("file", FILES)
def test_every_pin_has_hashes(file):
    """So that pip and uv install only files that were there when the pins were made."""
    text = (REPOSITORY / file).read_text()
    hashed = re.findall(r"^(\S+==\S+(?: ; .+)?) \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, flags=re.M)
    assert hashed == pin_lines(text) and len(hashed) > 1


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned(python):
    groups = PROJECT["dependency-groups"]
    run = PROJECT["project"]["dependencies"]
    everything = [
        line for name, lines in EXTRAS.items() if name not in ("pretrained", "tflite", "tpu") for line in lines
    ]
    for file, wanted in {
        "requirements.txt": run,
        "requirements-demo.txt": run + EXTRAS["demo"] + EXTRAS["onnx"],
        "requirements-lint.txt": run + groups["lint"],
        "requirements-test.txt": run + everything + groups["lint"] + groups["test"],
        OPTIONAL: groups["test-optional"] + EXTRAS["pretrained"] + EXTRAS["tflite"],
        **{file: EXTRAS[name] for name, file in zip(EXTRAS, OF_EXTRAS, strict=True)},
    }.items():
        pinned = pins(file, python)
        for requirement in map(Requirement, wanted):
            if requirement.marker is None or requirement.marker.evaluate(environment(python)):
                version = pinned.get(canonicalize_name(requirement.name))
                assert version is not None and version in requirement.specifier, (file, str(requirement))


@pytest.mark.parametrize("python", PYTHONS)
def test_one_version_of_everything(python):
    """Each file installs over another: what a verb adds moves nothing that is there."""
    everything = pins("requirements-test.txt", python)
    known = pins(OPTIONAL, python) | everything
    for file in FILES:
        pinned = pins(file, python)
        differ = {name for name in pinned.keys() & known.keys() if pinned[name] != known[name]}
        assert differ == set(), file
        if file not in (OPTIONAL, *OF_EXTRAS):
            assert pins("requirements.txt", python).keys() <= pinned.keys() <= everything.keys()


@pytest.mark.parametrize(
    "verb, absent", [("demo", ["pytest", "mypy", "ruff", "playwright"]), ("lint", ["streamlit", "pytest"])]
)
def test_a_verb_installs_what_it_needs(verb, absent):
    assert [name for name in absent if name in pins(f"requirements-{verb}.txt", "3.12")] == []


def test_folder_of_extras():
    """A file for each extra and accelerator, and none that was left behind."""
    assert {f"requirements/{path.name}" for path in (REPOSITORY / "requirements").iterdir()} == set(OF_EXTRAS)


@pytest.mark.parametrize("python", PYTHONS)
def test_pip_would_take_the_pins_as_far_as_installed_packages_say(python, installed):
    pinned = pins("requirements-test.txt", python)
    running = ".".join(map(str, sys.version_info[:2]))
    known = [name for name, version in pins("requirements-test.txt", running).items() if name in installed]
    assert len(known) > 50
    assert list(complaints(pinned, installed, python)) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_what_few_tests_need_is_for_every_python_too(python, installed):
    pinned = pins("requirements-test.txt", python) | pins(OPTIONAL, python)
    # The one package that is kept out although something asks for it: pyproject.toml says why.
    known = "cityscapesscripts==2.3.0 needs typing, pinned is None"
    assert [line for line in complaints(pinned, installed, python) if line != known] == []


class Package:
    """As much of a distribution as `complaints` reads."""

    def __init__(self, version: str, python: str | None = None, requires: tuple[str, ...] = ()):
        self.version, self.requires = version, list(requires)
        self.metadata = {"Requires-Python": python} if python else {}


def test_complaints():
    old = Package("1.3.1", python="<3.11,>=3.8")
    assert list(complaints({"old": "1.3.1"}, {"old": old}, "3.11")) == [
        "old==1.3.1 is for Python <3.11,>=3.8, not for 3.11"
    ]
    assert list(complaints({"old": "1.3.1"}, {"old": old}, "3.10")) == []
    assert (
        list(complaints({"old": "1.2"}, {"old": old}, "3.11")) == []
    )  # another version is installed: nothing is known
    top = Package("2", requires=("Low_er>=3", "other; python_version < '3'", "more; extra == 'x'"))
    assert list(complaints({"top": "2", "low-er": "3.1"}, {"top": top}, "3.12")) == []
    assert list(complaints({"top": "2", "low-er": "2.9"}, {"top": top}, "3.12")) == [
        "top==2 needs Low_er>=3, pinned is 2.9"
    ]
    assert list(complaints({"top": "2"}, {"top": top}, "3.12")) == ["top==2 needs Low_er>=3, pinned is None"]


# --- what pip says


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=550)


def resolve(lines: list[str], python: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """pip's answer to these pins for a Python, with directory/report.json; nothing is installed."""
    (directory / "pins.txt").write_text("\n".join(lines))
    return pip(
        "install", "--dry-run", "--ignore-installed", "--no-deps", f"--python-version={python}", "--retries=0",
        f"--target={directory / 'target'}", f"--report={directory / 'report.json'}", "-r", str(directory / "pins.txt"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def online(tmp_path_factory):
    """Skips where no index of packages can be reached, or pip is too old."""
    version = importlib.metadata.version("pip") if importlib.util.find_spec("pip") else "0"
    if Version(version) < Version("24.2"):  # 23.2 compares with the Python that it runs with, whatever is asked
        pytest.skip(f"pip is {version if version != '0' else 'not here'}, and 24.2 is needed")
    done = resolve(
        [f"absl-py=={pins('requirements.txt', '3.12')['absl-py']}"], "3.12", tmp_path_factory.mktemp("online")
    )
    if done.returncode:
        pytest.skip(f"pip reaches no index of packages: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_pip_takes_every_pin(python, online, tmp_path):
    # pip evaluates markers for the Python that it runs with, whatever --python-version says.
    # Not the accelerators' gigabytes, some of which it downloads to ask what they need.
    pinned = pins("requirements-test.txt", python) | pins(OPTIONAL, python)
    for name in EXTRAS.keys() - {"cuda12", "cuda13", "tpu"}:
        pinned |= pins(f"requirements/{name}.txt", python)
    done = resolve([f"{name}=={version}" for name, version in pinned.items()], python, tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())["install"]
    assert {canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in report} == pinned
    built = {item["metadata"]["name"] for item in report if not item["download_info"]["url"].endswith(".whl")}
    assert built <= SOURCES


@pytest.mark.slow
def test_pip_refuses_what_is_for_other_pythons(online, tmp_path):
    """What uv has pinned and installed without a word: the test above can fail."""
    done = resolve(["backports-strenum==1.3.1"], "3.11", tmp_path)
    assert done.returncode != 0
    assert "Requires-Python" in done.stderr
