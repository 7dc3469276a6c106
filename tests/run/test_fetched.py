"""Weights of a model hub in a run: what is recorded, and what a resumed run is held to."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from seg_jax.config import ConfigError, flatten, from_json, to_json
from seg_jax.models.weights import hub
from seg_jax.run import fetched, pretrained
from seg_jax.run.directory import RunDirectory
from tests.models import references

COMMIT, OTHER = "a" * 40, "b" * 40
SOURCE = "hf://a/b/resnet18.safetensors"


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Stands in for the hub, which test_hub.py has: zeros; returns the references that were asked for."""
    tensors = references.load("resnet18")["tensors"]
    arrays = {n: np.zeros(shape, np.float16) for n, shape in tensors.items() if not references.is_counter(n)}
    path = tmp_path / "resnet18.safetensors"
    path.write_bytes(save(arrays))
    asked = []

    def stand_in(reference):
        asked.append(str(reference))
        pinned = hub.Reference(reference.repository, reference.file, COMMIT)
        return hub.Fetched(path, pinned, {path.name: hashlib.sha256(path.read_bytes()).hexdigest()})

    monkeypatch.setattr(hub, "fetch", stand_in)
    return asked


@pytest.fixture
def config(tiny_config):
    return tiny_config({"model.encoder.name": "resnet18", "model.encoder.weights": SOURCE})


def test_a_run_records_the_commit_and_resumes_without_the_hub(fetch, config):
    resolved = pretrained.resolve(config)
    assert resolved.model.encoder.weights == f"{SOURCE}@{COMMIT}"
    assert resolved.model.encoder.style == "torch" and len(resolved.data.mean) == 3
    recorded = from_json(to_json(resolved))
    fetch.clear()
    assert flatten(pretrained.as_recorded(config, recorded)) == flatten(resolved)
    assert not fetch


def test_weights_json_has_commit_and_hashes(fetch, config, tmp_path):
    run = RunDirectory(tmp_path)
    fetched.record(run, config)
    digest = hashlib.sha256((tmp_path / "resnet18.safetensors").read_bytes()).hexdigest()
    found = json.loads((tmp_path / "weights.json").read_text())
    assert found == {"source": SOURCE, "commit": COMMIT, "sha256": {"resnet18.safetensors": digest}}
    fetched.record(run, config)  # a run that ended before its first checkpoint begins again
    (tmp_path / "resnet18.safetensors").write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"had other bytes when this run was started: .*Delete the copy in "):
        fetched.record(run, config)


@pytest.mark.parametrize("source", [SOURCE, f"{SOURCE}@{COMMIT}", "", "moved.safetensors"])
def test_a_resumed_run_takes_the_same_reference_or_a_path(fetch, config, tiny_config, tmp_path, source):
    fetched.record(RunDirectory(tmp_path), config)
    fetch.clear()
    fetched.check(RunDirectory(tmp_path), tiny_config({"model.encoder.weights": source}))
    assert not fetch


@pytest.mark.parametrize("source", [f"{SOURCE}@{OTHER}", f"{SOURCE}@v2", "hf://a/c/resnet18.safetensors", "hf://a/b"])
def test_a_resumed_run_refuses_another_reference(fetch, config, tiny_config, tmp_path, source):
    fetched.record(RunDirectory(tmp_path), config)
    with pytest.raises(ConfigError, match=rf"commit {COMMIT}; {source} is another\. .*Use {SOURCE}, or another"):
        fetched.check(RunDirectory(tmp_path), tiny_config({"model.encoder.weights": source}))


def test_a_run_without_the_record_resumes(config, tmp_path):
    for text in ("", "[]", "{}", "{"):
        (tmp_path / "weights.json").write_text(text)
        fetched.check(RunDirectory(tmp_path), config)
