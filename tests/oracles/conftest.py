"""What the tests of several oracles share: a key in the environment, and checkpoints on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.oracles.hosted import ANTHROPIC_KEY, OPENAI_KEY


@pytest.fixture
def openai_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return OPENAI_KEY


@pytest.fixture
def anthropic_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ANTHROPIC_API_KEY", ANTHROPIC_KEY)
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return ANTHROPIC_KEY


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind as save_pretrained writes it."""
    from tests.oracles.checkpoints import KINDS

    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in made.items():
        model, tokenizer = KINDS[kind]()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return made


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    """DistilBERT in a folder that a test may change."""
    return Path(shutil.copytree(folders["distilbert"], tmp_path / "copied"))
