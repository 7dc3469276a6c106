"""Weights from the Hugging Face hub: `hf://OWNER/NAME[/FILE][@REVISION]` and `timm/NAME[@REVISION]`.

huggingface_hub fetches and caches the files; the readers of `files` read them, so nothing of a repository is executed.
A branch can move, so what is recorded is the commit that was read and the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seg_jax.config import did_you_mean
from seg_jax.models.weights import files
from seg_jax.models.weights.errors import WeightsError
from seg_jax.runtime.extras import install_command, is_installed

SCHEME = "hf://"
FORM = "hf://OWNER/NAME, hf://OWNER/NAME/FILE or timm/NAME, each with @REVISION or without"
DOCUMENTS = ("config.json", "preprocessor_config.json")  # of a folder of save_pretrained, besides its weights
SHOWN = 5  # names of a list that an error message prints


@dataclass(frozen=True)
class Reference:
    """A place on the hub: the repository 'owner/name', a file in it ('': it is chosen), a revision ('': main)."""

    repository: str
    file: str = ""
    revision: str = ""

    def __str__(self) -> str:
        file, revision = self.file and f"/{self.file}", self.revision and f"@{self.revision}"
        return f"{SCHEME}{self.repository}{file}{revision}"


@dataclass(frozen=True)
class Fetched:
    """What a reference has led to.

    Attributes:
      path: the weight file in the cache; the folder, where a config.json describes the network.
      reference: with the commit as its revision.
      hashes: name of a file -> SHA-256 of its content, in hexadecimal digits.
    """

    path: Path
    reference: Reference
    hashes: Mapping[str, str]


_fetched: dict[Reference, Fetched] = {}  # a run asks for its weights several times, and a branch may move meanwhile


def parse(source: str) -> Reference | None:
    """The reference that a value of `model.weights` stands for; None for a path. A path that exists is a path.

    Raises:
      WeightsError: it begins like a reference, and is none.
    """
    timm = source.startswith("timm/") and not Path(source).exists()
    if not timm and not source.startswith(SCHEME):
        return None
    rest, _, revision = source.removeprefix(SCHEME).partition("@")
    owner, _, rest = rest.partition("/")
    name, _, file = rest.partition("/")
    whole = not source.endswith(("@", "/")) and not (timm and file)
    if not (owner and name and whole) or ".." in re.split("[/@]", source):
        raise WeightsError(f"{source} names no weights of the hub. The form is {FORM}.")
    return Reference(f"{owner}/{name}", file, revision)


def fetch(reference: Reference) -> Fetched:
    """The files of a reference, from the cache where they are there; what is in it is chosen as in `files.read`.

    Raises:
      WeightsError: huggingface_hub is not installed, there is no such repository, revision or file, access is not
        granted, the hub cannot be reached and the cache has no copy, or the cached copy is damaged.
    """
    if reference in _fetched:
        return _fetched[reference]
    if not is_installed("hub"):
        raise WeightsError(
            f"{reference} is fetched by huggingface_hub, which is not installed. Run {install_command('hub')}, or "
            "fetch the file yourself and pass its path."
        )
    commit, names = _listing(reference)
    pinned = replace(reference, revision=commit)
    weights = _choose(reference, names)
    documents = [] if reference.file else [name for name in DOCUMENTS if name in names]
    # By the revision that was asked for: the cache then notes which commit it is, for a start without a network.
    paths = {name: _file(reference, name) for name in (*documents, weights)}
    if weights.endswith(".index.json"):
        beside = weights[: weights.rfind("/") + 1]
        shards = sorted(set(files.shards_of(paths[weights]).values()))
        paths |= {beside + name: _file(reference, beside + name) for name in shards}
    if any(commit not in path.parts for path in paths.values()):
        raise WeightsError(f"{reference} was given a new commit while it was fetched. Run the same command again.")
    hashes = {name: _sha256(pinned, path) for name, path in paths.items()}
    path = paths[weights].parent if "config.json" in documents and weights in files.IN_FOLDERS else paths[weights]
    logging.info("%s is %s at commit %s, SHA-256 %s", reference, weights, commit, hashes[weights])
    _fetched[reference] = _fetched[pinned] = Fetched(path, pinned, hashes)
    return _fetched[reference]


def _listing(reference: Reference) -> tuple[str, Collection[str]]:
    """(commit, names of the files); of what the cache holds, where the hub cannot be reached."""
    from huggingface_hub import HfApi, errors

    try:
        info = HfApi().model_info(reference.repository, revision=reference.revision or None, timeout=30)
    except Exception as error:
        answered = isinstance(error, errors.HfHubHTTPError) and error.response.status_code < 500
        cached = None if answered or isinstance(error, errors.HFValidationError) else _cached(reference)
        if cached is None:
            raise _refusal(reference, error) from error
        logging.warning("%s: the hub cannot be reached (%s); the copy in the cache is used", reference, error)
        return cached
    return str(info.sha), [sibling.rfilename for sibling in info.siblings or ()]


def _cached(reference: Reference) -> tuple[str, Collection[str]] | None:
    """(commit, names of the files) of a revision in huggingface_hub's cache, whose layout it documents."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{reference.repository.replace('/', '--')}"
    note = folder / "refs" / (reference.revision or "main")
    commit = note.read_text().strip() if note.is_file() else reference.revision
    snapshot = folder / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        return None
    return commit, [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]


def _choose(reference: Reference, names: Collection[str]) -> str:
    """The file that holds the weights."""
    known = sorted(name for name in names if Path(name).suffix.lower() in files.READERS or name in files.IN_FOLDERS)
    if reference.file:
        if reference.file not in names:
            raise WeightsError(
                f"{reference}: the repository has no file {reference.file}.{did_you_mean(reference.file, names)} Its "
                f"weights: {_some(known)}. The revision comes last: {FORM}."
            )
        return reference.file
    for name in files.IN_FOLDERS:
        if name in names:
            return name
    top = [name for name in known if "/" not in name]
    safe = [name for name in top if name.endswith(".safetensors")] or top
    if len(safe) != 1:
        raise WeightsError(
            f"{reference}: the repository has {len(safe) or 'no'} weight files at its top, and one is needed. Its "
            f"weights: {_some(known)}. Name one: {SCHEME}{reference.repository}/FILE."
        )
    return safe[0]


def _file(reference: Reference, name: str) -> Path:
    """The path of one file in the cache; it is downloaded if it is not there."""
    from huggingface_hub import HfApi

    try:
        return Path(HfApi().hf_hub_download(reference.repository, name, revision=reference.revision or None))
    except Exception as error:
        raise _refusal(replace(reference, file=name), error) from error


def _sha256(reference: Reference, path: Path) -> str:
    """The SHA-256 of a file; the hub calls large files by theirs, and the cache keeps that as the name of the content.

    Downloads are compared with their size alone, so damage of the same size would be weights nobody has trained.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    promised = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", promised) and promised != found:
        raise WeightsError(
            f"{path.resolve()}, the cached file of {reference}, is damaged: its SHA-256 is {found}. Delete it; the "
            "same command fetches it again."
        )
    return found


def _refusal(reference: Reference, error: Exception) -> WeightsError:
    """What the hub, or the way to it, has said."""
    from huggingface_hub import constants, errors

    name, log_in = reference.repository, "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.HFValidationError):
        return WeightsError(f"{reference}: {name} is no name of a repository. The form is {FORM}.")
    if isinstance(error, errors.GatedRepoError):
        return WeightsError(
            f"{reference} is gated: its owner grants access to those who ask. Accept its terms on its page, then "
            f"{log_in}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError(
            f"{reference}: {name} has no revision {reference.revision}. Name a branch, a tag or a commit, or leave "
            f"@{reference.revision} out for the newest. It comes last: {FORM}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError(
            f"{reference}: the hub has no model {name}, or it is private.{_tags(name)} Check the name; for a private "
            f"model {log_in}."
        )
    reason = (str(error).strip().splitlines() or ["no reason given"])[0]
    return WeightsError(
        f"{reference} cannot be fetched from {constants.ENDPOINT} ({type(error).__name__}: {reason}), and the cache "
        "has no copy. Check the network, or fetch the file elsewhere and pass its path."
    )


def _tags(repository: str) -> str:
    """A sentence on the weights of a network of timm whose name lacks what tells them apart."""
    from huggingface_hub import HfApi

    owner, _, name = repository.partition("/")
    if owner != "timm" or "." in name:
        return ""
    try:
        found = sorted(model.id for model in HfApi().list_models(author=owner, search=f"{name}.", limit=50))
    except Exception:
        return ""
    fitting = [model for model in found if model.startswith(f"{repository}.")]
    return f" Names of timm's weights end in what they were trained on: {_some(fitting)}." if fitting else ""


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN]) or "none"
    return f"{shown} and {len(names) - SHOWN} others" if len(names) > SHOWN else shown
