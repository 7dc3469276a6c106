"""What an interrupted writing leaves, and that nothing else is removed with it."""

import os

from seg_jax.runtime.files import partial, remove_partial, write_bytes


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    others = [".git", ".gitignore", ".a.txt", "a.txt", "partial-1"]
    (tmp_path / ".git").mkdir()
    for name in others[1:]:
        (tmp_path / name).write_text("theirs")
    (tmp_path / ".git" / ".b.partial-x").write_text("of another folder")
    partial(tmp_path / "folder").mkdir()
    (partial(tmp_path / "folder") / "file").write_text("half")
    partial(tmp_path / "a.txt").write_text("half")
    seen = []

    def killed(temporary, path):
        seen.append(os.listdir(tmp_path))
        remove_partial(tmp_path)
        seen.append(os.listdir(tmp_path))

    monkeypatch.setattr(os, "replace", killed)
    write_bytes(tmp_path / f"{'n' * 250}.txt", b"half")
    assert len(seen[0]) == len(others) + 3
    assert sorted(seen[1]) == sorted(others)
    assert (tmp_path / ".git" / ".b.partial-x").is_file()


def test_nothing_is_removed_through_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x").write_text("theirs")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".y.partial-1").symlink_to(tmp_path / "disk", target_is_directory=True)
    remove_partial(tmp_path / "here")
    remove_partial(tmp_path / "nowhere")
    assert (tmp_path / "disk" / "x").is_file() and not list((tmp_path / "here").iterdir())
