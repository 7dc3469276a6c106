"""Every Markdown page: whole, its tables and links in order, and what it names is there."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# Not part of the repository, or nothing that anybody wrote.
ELSEWHERE = {"runs", "venv", "build", "dist", "node_modules", "__pycache__"}
TOP = ("seg_jax", "configs", "docs", "tests", "benchmarks", "notebooks")


def files(root: Path) -> Iterator[Path]:
    """All files below a directory, without those of environments, caches and runs."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in ELSEWHERE or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


PAGES = [path.relative_to(REPOSITORY).as_posix() for path in files(REPOSITORY) if path.suffix == ".md"]
NAMES = {path.relative_to(REPOSITORY).as_posix() for path in files(REPOSITORY)}


# --- the rules: each yields (line, what is wrong)


def conflict_markers(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"(<{7}|>{7}|\|{7})( |$)|={7}$", line):
            yield number, f"the conflict marker {line!r}"


def prose(text: str) -> list[str]:
    """The lines of a page, those of fenced code blocks empty."""
    lines, fence = [], ""
    for line in text.split("\n"):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark[1]
            line = ""
        lines.append("" if fence else line)
    return lines


def cells(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row.strip())) - 1


def cut_tables(text: str) -> Iterator[tuple[int, str]]:
    lines = ["", *prose(text), ""]
    columns = 0
    for number in range(1, len(lines) - 1):
        row = lines[number]
        if not row.startswith("|"):
            columns = 0
        elif columns == 0:
            if not re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", lines[number + 1].strip()):
                yield number, f"a row of no table: it follows no row, and no rule follows it: {row[:60]!r}"
            columns = cells(row)
        elif cells(row) != columns:
            yield number, f"{cells(row)} cells in a table of {columns} columns: {row[:60]!r}"


def anchors(text: str) -> set[str]:
    """The names of the headings of a page, as GitHub makes them."""
    seen: Counter[str] = Counter()
    names = set()
    for line in prose(text):
        if heading := re.match(r"#{1,6}\s+(.*?)\s*#*$", line):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            names.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return names


def dead_links(text: str, page: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(prose(text), 1):
        line = re.sub(r"`[^`]*`", "", line)
        targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", line) + re.findall(r'(?:src|href)="([^"]+)"', line)
        targets += re.findall(r"^\s*\[[^\]]+\]:\s*(\S+)", line)
        for target in targets:
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                yield number, f"a link to {target!r}, which is not there"
            elif anchor and anchor not in anchors(text if file == page else file.read_text(encoding="utf-8")):
                yield number, f"a link to {target!r}, and that page has no such heading"


def exists(name: str, names: set[str], *, below: bool) -> bool:
    """Whether a file or directory, possibly with *, is in the repository; with `below` in whatever directory."""
    pattern = re.escape(name.rstrip("/")).replace(r"\*", "[^/]*")
    start = "(.*/)?" if below else ""
    return any(re.match(f"{start}{pattern}(/|$)", path) for path in names)


def code_map(text: str) -> str:
    """The block of code on a page that has the line `seg_jax/`, or nothing."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.M | re.S)
    return next((block for block in blocks if re.search(r"^seg_jax/( |$)", block, flags=re.M)), "")


def lost_paths(text: str, names: set[str]) -> Iterator[tuple[int, str]]:
    drawn = set(code_map(text).splitlines())
    inline = [" ".join(re.findall(r"`([^`]+)`", line)) for line in prose(text)]
    inline = [raw if raw in drawn else code for raw, code in zip(text.split("\n"), inline, strict=True)]
    for number, (line, code) in enumerate(zip(text.split("\n"), inline, strict=True), 1):
        found = re.findall(rf"(?<![\w/.$-])(?:{'|'.join(TOP)})/[\w./*-]*", line)
        lost = [name for name in found if not exists(name.rstrip("."), names, below=False)]
        # Other names of modules, as in `metrics/counts.py`, are those of some folder.
        modules = re.findall(r"(?<![\w/.*$-])[a-z_][\w/]*\.py\b", code)
        lost += [name for name in modules if name not in found and not exists(name, names, below=True)]
        for name in lost:
            yield number, f"{name!r}, which is not in the repository"


def faults(text: str, page: Path, names: set[str]) -> list[str]:
    rules = [conflict_markers(text), cut_tables(text), dead_links(text, page), lost_paths(text, names)]
    return [f"{page.name}:{number}: {wrong}" for rule in rules for number, wrong in rule]


# --- the pages


def test_the_pages_are_found():
    assert {"README.md", "CHANGELOG.md", "docs/architecture.md", "docs/training.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_page(page):
    assert faults((REPOSITORY / page).read_text(encoding="utf-8"), REPOSITORY / page, NAMES) == []


# --- the map


def not_on_the_map(block: str, modules: Iterable[str]) -> list[str]:
    """The modules, as paths below seg_jax/, that a map names neither themselves nor by a folder they are in."""
    named = set(re.findall(r"[\w.-]+(?:/[\w.-]+)*/?", block))

    def covered(path: str) -> bool:
        parts = path.split("/")
        folders = {f"{'/'.join(parts[first:last])}/" for last in range(1, len(parts)) for first in range(last)}
        return path in named or parts[-1] in named or bool(folders & named)

    itself = ("__init__.py", "__main__.py")  # of the package, whose folder the map is of
    return [path for path in modules if path not in itself and not path.endswith("/__init__.py") and not covered(path)]


def test_every_module_is_on_the_map():
    """That of the README, or of docs/architecture.md: a module by its own name, or by its folder's."""
    blocks = [
        code_map((REPOSITORY / page).read_text(encoding="utf-8")) for page in ("README.md", "docs/architecture.md")
    ]
    assert any(blocks), "no page has a block of code with the line seg_jax/"
    modules = [name.removeprefix("seg_jax/") for name in sorted(NAMES) if re.match(r"seg_jax/.*\.py$", name)]
    assert len(modules) > 50
    assert not_on_the_map("\n".join(blocks), modules) == []


MAP = """
# x
```bash
seg_jax
```
```
top/  file.txt
seg_jax/
  main.py    flags          data/   reading, sources/: a file each
  run/config.py
```
"""


def test_what_is_not_on_the_map_is_found():
    block = code_map(MAP)
    assert block.startswith("top/")
    on = ["main.py", "data/a.py", "data/deep/b.py", "run/config.py", "other/sources/c.py", "__init__.py", "__main__.py"]
    off = ["more/__main__.py", "flags.py", "run/data.py", "data.py", "more/x.py", "run.py"]
    assert not_on_the_map(block, on + off) == off
    assert code_map("```\nseg_jaxy/\n```\nseg_jax/\n") == ""


# --- the rules find what they are for


SOUND = """# A page

## One `thing`, and another

    ======= indented code
| a | b |
|---|:-:|
| `x` | 1 \\| 2 |

```
| no table |
[no link](nowhere)
```

[here](#one-thing-and-another), [there](other.md#again-1), <https://example.org/x>, ![picture](sub/p.png)
[elsewhere](https://example.org/y), `[no](link)`, `docs/other.md`, `docs/*.md`, `docs/sub/`, `sub/m.py`, $DIR/docs/none
"""
OTHER = "# Other\n\n## Again\n\n## Again\n"


@pytest.fixture
def page(tmp_path):
    (tmp_path / "docs/sub").mkdir(parents=True)
    for name, text in {"page.md": SOUND, "other.md": OTHER, "sub/p.png": "", "sub/m.py": ""}.items():
        (tmp_path / "docs" / name).write_text(text)
    return tmp_path / "docs/page.md"


def names_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in files(root)}


def test_a_sound_page_has_no_faults(page):
    assert faults(SOUND, page, names_below(page.parents[1])) == []


@pytest.mark.parametrize(
    "line, wrong",
    [
        ("<" * 7 + " HEAD", "conflict marker"),
        ("=" * 7, "conflict marker"),
        (">" * 7 + " other", "conflict marker"),
        ("|" * 7 + " base", "conflict marker"),
        ("| a row | alone |", "a row of no table"),
        ("|---|---|", "a row of no table"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\n| 3 | 4 |", "a row of no table"),
        ("| a | b |\n|---|---|\n| 1 | 2 | 3 |", "3 cells in a table of 2 columns"),
        ("| a | b |\n|---|\n", "1 cells in a table of 2 columns"),
        ("[x](nowhere.md)", "link to 'nowhere.md'"),
        ("[x](sub/)[y](../outside.md)", "link to '../outside.md'"),
        ("![x](sub/none.png)", "link to 'sub/none.png'"),
        ('<img src="none.png">', "link to 'none.png'"),
        ("[x]: none.md", "link to 'none.md'"),
        ("[x](#another)", "no such heading"),
        ("[x](other.md#again-2)", "no such heading"),
        ("`docs/none.md`", "'docs/none.md', which is not in the repository"),
        ("    python docs/none.py", "'docs/none.py', which is not in the repository"),
        ("as in `docs/non*.md`.", "'docs/non*.md', which is not in the repository"),
        ("`docs/othe`", "'docs/othe', which is not in the repository"),
        ("```\ndocs/\nseg_jax/\n  m.py  lost.py   words\n```", "'lost.py', which is not in the repository"),
        ("`m.py` and `sub/n.py`", "'sub/n.py', which is not in the repository"),
    ],
)
def test_a_fault_is_found(page, line, wrong):
    found = faults(f"{SOUND}\n{line}\n", page, names_below(page.parents[1]))
    assert any(wrong in fault for fault in found), found
    assert all(int(fault.split(":")[1]) > SOUND.count("\n") for fault in found)
