"""References to the model hub, against a stand-in that speaks its protocol."""

import hashlib
import importlib.util
import json
import logging

import numpy as np
import pytest
from safetensors.numpy import save

from seg_jax import models
from seg_jax.models import WeightsError
from seg_jax.models.weights import files, hub
from seg_jax.models.weights.hub import Reference
from seg_jax.runtime.extras import install_command
from tests.hub import serve

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra 'hub' is not installed")

ONE = save({"conv1.weight": np.float32([1, 2])})
TWO = save({"conv1.weight": np.float32([3, 4])})
CONFIG = json.dumps({"architecture": "resnet18"}).encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The stand-in, an empty cache, and nothing that was fetched before."""
    with serve() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "_fetched", {})
        yield made


def forget(monkeypatch):
    """As in another process: what stays is the cache on disk."""
    monkeypatch.setattr(hub, "_fetched", {})


def fetch(source):
    return hub.fetch(hub.parse(source))


# ----- the form


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("hf://a/b", Reference("a/b")),
        ("hf://a/b@v1", Reference("a/b", revision="v1")),
        ("hf://a/b/model.safetensors", Reference("a/b", "model.safetensors")),
        ("hf://a/b/folder/w.bin@refs/pr/1", Reference("a/b", "folder/w.bin", "refs/pr/1")),
        ("timm/resnet18.a1_in1k", Reference("timm/resnet18.a1_in1k")),
        ("timm/resnet18.a1_in1k@abc", Reference("timm/resnet18.a1_in1k", revision="abc")),
        ("", None),
        ("imagenet", None),
        ("a/b", None),
        ("./timm/x", None),
    ],
)
def test_the_form_of_a_reference(source, reference):
    assert hub.parse(source) == reference
    if reference:
        assert hub.parse(str(reference)) == reference


def test_a_path_that_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "mine.pth").write_bytes(b"")
    assert hub.parse("timm/mine.pth") is None
    assert hub.parse("timm/other") == Reference("timm/other")


@pytest.mark.parametrize("source", ["hf://", "hf://a", "hf:///b", "hf://a/", "hf://a/b@", "hf://a/b/", "timm/a/b.bin"])
def test_what_is_no_reference_is_refused(source):
    with pytest.raises(WeightsError, match=r"names no weights of the hub\. The form is hf://OWNER/NAME"):
        hub.parse(source)


@pytest.mark.parametrize("source", ["hf://a/b/../c", "hf://a/b@../../x"])
def test_a_reference_stays_in_its_repository(source):
    with pytest.raises(WeightsError, match="names no weights"):
        hub.parse(source)


# ----- fetching


def test_a_repository_is_a_folder_of_save_pretrained(server):
    commit = server.push("a/b", {"pytorch_model.bin": b"never", "model.safetensors": ONE, "config.json": CONFIG})
    found = fetch("hf://a/b")
    assert str(found.reference) == f"hf://a/b@{commit}"
    assert found.hashes == {"model.safetensors": sha256(ONE), "config.json": sha256(CONFIG)}
    assert models.folders.read(found.path).fields["model.encoder.name"] == "resnet18"
    assert files.read(found.path).tensors["conv1.weight"].tolist() == [1, 2]
    assert not any("pytorch_model.bin" in request for request in server.requests)  # safetensors come first


def test_one_file_by_its_name_or_because_it_is_the_only_one(server):
    server.push("a/b", {"deep/x.safetensors": TWO, "only.safetensors": ONE, "old.pth": b"never", "README.md": b""})
    for source, content in (("hf://a/b", ONE), ("hf://a/b/deep/x.safetensors", TWO)):
        found = fetch(source)
        assert found.path.read_bytes() == content
        assert list(found.hashes.values()) == [sha256(content)]


def test_shards_come_with_their_index(server):
    index = json.dumps({"weight_map": {"a": "s-1.safetensors", "b": "s-2.safetensors"}}).encode()
    shards = {f"s-{n}.safetensors": save({name: np.float32([n])}) for n, name in ((1, "a"), (2, "b"))}
    server.push("a/b", {"model.safetensors.index.json": index, "config.json": CONFIG, **shards})
    found = fetch("hf://a/b")
    assert found.hashes.keys() == {"model.safetensors.index.json", "config.json", *shards}
    assert {name: array.tolist() for name, array in files.read(found.path).tensors.items()} == {"a": [1], "b": [2]}


def test_a_commit_stays_what_it_is_when_the_branch_moves(server, monkeypatch):
    old = server.push("a/b", {"x.safetensors": ONE})
    first = fetch("hf://a/b")
    server.push("a/b", {"x.safetensors": TWO})
    assert fetch("hf://a/b") == first  # within a run
    forget(monkeypatch)
    assert fetch("hf://a/b").path.read_bytes() == TWO
    assert fetch(f"hf://a/b@{old}").path.read_bytes() == ONE


def test_without_a_network_the_cache_serves(server, monkeypatch, caplog):
    commit = server.push("a/b", {"model.safetensors": ONE, "config.json": CONFIG})
    online = fetch("hf://a/b")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for source in ("hf://a/b", f"hf://a/b@{commit}"):
        forget(monkeypatch)
        assert fetch(source) == online
    assert "the hub cannot be reached" in caplog.text and "the copy in the cache is used" in caplog.text
    with pytest.raises(WeightsError, match=r"hf://a/c cannot be fetched .*the cache has no copy\. Check the network"):
        fetch("hf://a/c")


def test_nothing_is_fetched_twice(server, monkeypatch):
    server.push("a/b", {"x.safetensors": ONE})
    fetch("hf://a/b")
    forget(monkeypatch)
    server.requests.clear()
    fetch("hf://a/b")
    assert not [request for request in server.requests if request.startswith("GET") and "/resolve/" in request]


def test_a_damaged_copy_is_refused(server, monkeypatch):
    server.push("a/b", {"x.safetensors": ONE})
    path = fetch("hf://a/b").path.resolve()
    path.write_bytes(ONE[:-1] + b"\x01")
    forget(monkeypatch)
    with pytest.raises(WeightsError, match=r"is damaged: its SHA-256 is .*Delete it; the same command fetches it"):
        fetch("hf://a/b")
    path.unlink()
    forget(monkeypatch)
    assert fetch("hf://a/b").path.read_bytes() == ONE


# ----- what the hub refuses


def test_a_missing_repository(server):
    with pytest.raises(WeightsError, match=r"the hub has no model a/b, or it is private\. Check the name; .*HF_TOKEN"):
        fetch("hf://a/b")


def test_a_name_of_timm_without_its_tag(server):
    for tag in ("a1_in1k", "fb_ssl"):
        server.push(f"timm/resnet18.{tag}", {"model.safetensors": ONE})
    server.push("timm/resnet18d.ra2", {"model.safetensors": ONE})
    with pytest.raises(WeightsError, match=r"trained on: timm/resnet18\.a1_in1k, timm/resnet18\.fb_ssl\. Check"):
        fetch("timm/resnet18")


def test_a_missing_revision(server):
    server.push("a/b", {"x.safetensors": ONE})
    with pytest.raises(WeightsError, match=r"a/b has no revision v2\. Name a branch, a tag or a commit, or leave @v2"):
        fetch("hf://a/b@v2")


def test_a_missing_file(server):
    server.push("a/b", {"net.safetensors": ONE, "README.md": b""})
    with pytest.raises(
        WeightsError, match=r"has no file nets\.safetensors\. Did you mean 'net\.safetensors'\? Its wei"
    ):
        fetch("hf://a/b/nets.safetensors")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"README.md": b""}, r"has no weight files at its top, and one is needed\. Its weights: none"),
        ({"a.pth": b"", "b.pth": b""}, r"has 2 weight files at its top, .*: a\.pth, b\.pth\. Name one: hf://a/b/FILE"),
    ],
)
def test_a_repository_without_one_obvious_file(server, contents, words):
    server.push("a/b", contents)
    with pytest.raises(WeightsError, match=words):
        fetch("hf://a/b")


def test_a_gated_repository(server):
    server.push("a/b", {"x.safetensors": ONE})
    server.gated.add("a/b")
    with pytest.raises(
        WeightsError, match=r"hf://a/b/x\.safetensors is gated: .*Accept its terms on its page, then log in"
    ):
        fetch("hf://a/b")


def test_an_impossible_name(server):
    with pytest.raises(WeightsError, match=r"a/b c is no name of a repository\. The form is"):
        fetch("hf://a/b c")


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "huggingface_hub" else found(name))
    with pytest.raises(WeightsError, match="which is not installed") as error:
        hub.fetch(Reference("a/nobody-fetched-this"))
    assert install_command("hub") in str(error.value)


# ----- where it is used


def test_the_command_describes_a_repository(server, capsys, caplog):
    from seg_jax.models.__main__ import main
    from tests.models import references

    caplog.set_level(logging.ERROR)
    tensors = references.load("resnet18")["tensors"]
    arrays = {n: np.zeros(shape, np.float16) for n, shape in tensors.items() if not references.is_counter(n)}
    server.push("timm/resnet18.a1_in1k", {"model.safetensors": save(arrays), "config.json": CONFIG})
    assert main(["timm/resnet18.a1_in1k"]) == 0
    printed = capsys.readouterr().out
    assert "--config.model.encoder.name=resnet18\n" in printed
    assert "--config.model.encoder.weights=timm/resnet18.a1_in1k" in printed
