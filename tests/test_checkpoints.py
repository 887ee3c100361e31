"""Checkpoints from the hub: what is fetched and asked for, and what is said where one is not to be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from apl_bench.checkpoints import cached_commit, fetch, newest_commit, require_commit
from apl_bench.types import SpecError
from tests.engine import tiny
from tests.fake_hub import FakeHub, cached, offline

MODEL, COMMIT, NEWER = "owner/name", "a1" * 20, "b2" * 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Safetensors and pickled weights side by side, and files that no loader needs."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny.gpt2().save_pretrained(folder)
    tiny.tokenizer().inner.save_pretrained(folder)
    for name in ("pytorch_model.bin", "tf_model.h5", "training_args.bin", "adapter_config.json"):
        (folder / name).write_bytes(b"not to be read")
    return folder


@pytest.fixture
def changed(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "changed"))


@pytest.mark.usefixtures("loopback")
def test_what_loaders_read_is_downloaded_once_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    with FakeHub({MODEL: {COMMIT: checkpoint}}) as hub, hub.reached(tmp_path / "cache"):
        folder = fetch(MODEL, COMMIT)
        assert {path.name for path in folder.iterdir()} == {
            "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        assert (folder / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
        num = len(hub.requests)
        assert fetch(MODEL, COMMIT) == folder
        assert [path for path in hub.requests[num:] if "safetensors.index" not in path] == []
        assert not any("discussions" in path or "refs" in path for path in hub.requests)  # no proposed conversion


@pytest.mark.usefixtures("loopback")
def test_pickled_weights_are_fetched_where_there_are_no_others(changed: Path, tmp_path: Path) -> None:
    (changed / "model.safetensors").unlink()
    with FakeHub({MODEL: {COMMIT: changed}}) as hub, hub.reached(tmp_path / "cache"):
        assert (fetch(MODEL, COMMIT) / "pytorch_model.bin").read_bytes() == b"not to be read"


@pytest.mark.usefixtures("loopback")
def test_weights_in_several_files_are_fetched_by_their_index(changed: Path, tmp_path: Path) -> None:
    weights = load_file(changed / "model.safetensors")
    (changed / "model.safetensors").unlink()
    named = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(sorted(weights))}
    for part in set(named.values()):
        save_file({name: weights[name] for name in named if named[name] == part}, changed / part)
    (changed / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": named}))
    with FakeHub({MODEL: {COMMIT: changed}}) as hub, hub.reached(tmp_path / "cache"):
        folder = fetch(MODEL, COMMIT)
    with offline(tmp_path / "cache"):
        assert fetch(MODEL, COMMIT) == folder
    assert {path.name for path in folder.glob("model-*")} == set(named.values())


@pytest.mark.parametrize("index", ["[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{"])
def test_a_broken_index_is_told(changed: Path, tmp_path: Path, index: str) -> None:
    (changed / "model.safetensors.index.json").write_text(index)
    cached(tmp_path / "cache", MODEL, COMMIT, changed)
    with offline(tmp_path / "cache"), pytest.raises(SpecError, match=f"'{MODEL}' is not to be had at commit {COMMIT}"):
        fetch(MODEL, COMMIT)


def test_the_cache_is_enough(checkpoint: Path, tmp_path: Path) -> None:
    snapshot = cached(tmp_path, MODEL, COMMIT, checkpoint)
    with offline(tmp_path):
        assert fetch(MODEL, COMMIT) == snapshot
        assert fetch(MODEL, COMMIT, local_only=True) == snapshot


@pytest.mark.parametrize("local_only", [True, False])
def test_a_hub_out_of_reach_says_how_to_get_the_model(tmp_path: Path, local_only: bool) -> None:
    with offline(tmp_path), pytest.raises(SpecError) as caught:
        fetch(MODEL, COMMIT, local_only)
    sentence = str(caught.value)
    assert f"not within reach ({'LocalEntryNotFoundError' if local_only else 'OfflineModeIsEnabled'})" in sentence
    assert f"hf download {MODEL} --revision {COMMIT} ; HF_HUB_OFFLINE must not be set" in sentence
    assert len(sentence.splitlines()) == 1


def test_a_cache_without_weights_is_not_whole(changed: Path, tmp_path: Path) -> None:
    (changed / "model.safetensors").unlink()
    (changed / "pytorch_model.bin").unlink()
    cached(tmp_path / "cache", MODEL, COMMIT, changed)
    with offline(tmp_path / "cache"), pytest.raises(SpecError, match=r"is not, or not wholly, in this machine's cache"):
        fetch(MODEL, COMMIT)


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (
            {MODEL: "RepoNotFound"},
            f"has no such model, or it is private; look at https://huggingface.co/{MODEL}, then hf",
        ),
        ({MODEL: "GatedRepo"}, f"it is gated; accept its terms at https://huggingface.co/{MODEL}, then hf auth login"),
        ({f"{MODEL}/config.json": "GatedRepo"}, "it is gated; accept its terms"),  # the list of files is often open
        ({f"{MODEL}/model.safetensors": "GatedRepo"}, "it is gated; accept its terms"),
        (
            {MODEL: "RevisionNotFound"},
            f"no such commit; take the 40 digits from https://huggingface.co/{MODEL}/commits/m",
        ),
    ],
)
def test_what_the_hub_refuses_says_what_to_do(
    checkpoint: Path, tmp_path: Path, refused: dict[str, str], said: str
) -> None:
    with (
        FakeHub({MODEL: {COMMIT: checkpoint}}, refused) as hub,
        hub.reached(tmp_path),
        pytest.raises(SpecError) as told,
    ):
        fetch(MODEL, COMMIT)
    assert said in str(told.value)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.usefixtures("loopback")
def test_a_commit_that_the_repository_lacks(checkpoint: Path, tmp_path: Path) -> None:
    with FakeHub({MODEL: {COMMIT: checkpoint}}) as hub, hub.reached(tmp_path):
        with pytest.raises(SpecError, match="has no such commit"):
            fetch(MODEL, NEWER)
        with pytest.raises(SpecError, match="the hub has no such model, or it is private"):
            fetch("owner/other", COMMIT)


@pytest.mark.usefixtures("loopback")
def test_a_model_without_weights_that_are_read(changed: Path, tmp_path: Path) -> None:
    (changed / "model.safetensors").unlink()
    (changed / "pytorch_model.bin").unlink()
    expected = pytest.raises(SpecError, match=r"has neither model\.safetensors nor pytorch_model\.bin; convert its w")
    with FakeHub({MODEL: {COMMIT: changed}}) as hub, hub.reached(tmp_path / "cache"), expected:
        fetch(MODEL, COMMIT)


def test_an_id_that_cannot_be(tmp_path: Path) -> None:
    with offline(tmp_path), pytest.raises(SpecError, match="cannot be the id of a model; expected owner/name"):
        fetch("owner/na--me..", COMMIT)


@pytest.mark.usefixtures("loopback")
def test_the_newest_commit_is_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    with FakeHub({MODEL: {COMMIT: checkpoint, NEWER: checkpoint}}) as hub, hub.reached(tmp_path):
        assert newest_commit(MODEL) == NEWER
        assert newest_commit(MODEL, COMMIT) == COMMIT
        with pytest.raises(SpecError, match="could not say the commit of 'owner/other': the hub has no such model"):
            newest_commit("owner/other")


def test_a_missing_commit_says_where_it_stands(checkpoint: Path, tmp_path: Path) -> None:
    assert require_commit("revision", MODEL, COMMIT) == COMMIT
    with offline(tmp_path):
        assert cached_commit(MODEL) is None
        with pytest.raises(
            SpecError, match=rf"--set policy\.revision=COMMIT, with the newest at .*/{MODEL}/commits/main"
        ):
            require_commit("--set policy.revision", MODEL, None)
        cached(tmp_path, MODEL, COMMIT, checkpoint)
        assert cached_commit(MODEL) == COMMIT
        with pytest.raises(SpecError, match=f"'main'; .*in this machine's cache `main` is {COMMIT}"):
            require_commit("revision", MODEL, "main")
