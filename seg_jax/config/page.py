"""The fields as a page of Markdown, and as lines for --helpfull."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from seg_jax.config.default import Config
from seg_jax.config.fields import Group, Spec, declarations

HEAD = """# Configuration

Every field, generated from `seg_jax/config/` by `python -m seg_jax.config > docs/configuration.md`.

`--config.GROUP.FIELD=VALUE` on the command line overrides a field of any configuration, such as
`--config.optim.lr=0.01 --config.augment.crop='(256, 256)'`. A value that does not fit is refused before anything is
read. A field marked † may change when a run is resumed.

A configuration file is Python, and `--config=FILE.py` runs its `get_config`. It changes a recipe, which is a file of
`configs/` and a name for `--config=NAME`, or the defaults:

```python
from seg_jax.config import Config, recipe


def get_config() -> Config:
    c = recipe("camvid_unet")  # or seg_jax.config.default.get_config()
    c.optim.lr = 1e-3
    return c
```
"""


def page() -> str:
    """The page docs/configuration.md."""
    return HEAD + "".join(_section(kind) for kind in _groups(Config))


def lines() -> str:
    """A line for each field."""
    return "\n".join(
        f"  --config.{field}={default!r}  {spec.comment}" for field, _, default, spec in declarations(Config)
    )


def _groups(kind: type[Group]) -> list[type[Group]]:
    inner = [type(value) for _, value in kind().items() if isinstance(value, Group)]
    return [kind, *(found for group in inner for found in _groups(group))]


def _section(kind: type[Group]) -> str:
    own = {kind.spell(declared.name) for declared in dataclasses.fields(kind)}  # type: ignore[arg-type]
    rows = "".join(_row(*row) for row in declarations(kind) if row[0] in own)
    title = f"`{kind.path}`" if kind.path else "Top level"
    return (
        f"\n## {title}\n\n{kind.__doc__}\n\n| field | type | default | meaning | rule |\n|---|---|---|---|---|\n{rows}"
    )


def _row(field: str, kind: Any, default: Any, spec: Spec) -> str:
    rules = [rule.rule for rule in spec.rules]
    if spec.choices:
        rules.append("one of " + ", ".join(f"`{choice}`" for choice in spec.choices))
    if spec.names:
        rules.append(f"a name in `{spec.names.replace(':', '.')}`" + ("" if default else ", or empty"))
    words = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__origin__") else str(kind)
    cells = (f"`{field}`{' †' if spec.free else ''}", f"`{words}`", f"`{default!r}`", spec.comment, "; ".join(rules))
    return f"| {' | '.join(re.sub('[|*]', _escaped, cell) for cell in cells)} |\n"


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match[0]
