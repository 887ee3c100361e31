"""A small experiment, its labels and judgments bought from a provider on loopback, by the command that users give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apl_bench.cli.main import main
from tests.fake_batches import BatchPlan
from tests.fake_provider import FakeProvider
from tests.test_kill import SETTINGS

pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider() as started:
        yield started


def oracle(server: FakeProvider) -> str:
    return f'openai(fake, template=sentiment-v2, base_url="{server.base_url}", max_output_tokens=64)'


def run(folder: Path, *arguments: str, strategy: str = "random") -> Any:
    settings = [f"--set={setting}" for setting in SETTINGS]
    paths = ["--out", str(folder / "runs"), "--ledger", str(folder / "ledger")]
    return CliRunner().invoke(main, ["run", "--strategy", strategy, *paths, *settings, *arguments])


def result(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "runs").rglob("result.json")
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def test_a_bought_run_says_what_it_spent_and_replays_offline_without_a_key(
    tmp_path: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--oracle", oracle(server), "--judge", oracle(server)]
    first = run(tmp_path, *options)
    assert first.exit_code == 0, first.output
    num_calls = len(server.calls)
    assert f"spent: {num_calls} calls" in first.output
    assert "price unknown" in first.output
    assert result(tmp_path)["judge_is_oracle"] is True
    server.close()
    monkeypatch.setenv("CI", "true")
    for mode in ([], ["--mode", "replay"]):
        folder = tmp_path / f"again-{len(mode)}"
        again = run(folder, *options, *mode, "--ledger", str(tmp_path / "ledger"))
        assert again.exit_code == 0, again.output
        assert "spent" not in again.output
        assert result(folder) == result(tmp_path)
    assert len(server.calls) == num_calls


def test_one_of_the_two_can_be_the_ledger_alone(tmp_path: Path, server: FakeProvider) -> None:
    alone = run(tmp_path, "--oracle", oracle(server), "--judge", f"replay({oracle(server)})")
    assert alone.exit_code == 4, alone.output
    assert server.calls == [], "the judge is asked first, about theta_0"


def test_in_ci_what_is_not_recorded_is_not_bought(
    tmp_path: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    done = run(tmp_path, "--judge", oracle(server))
    assert done.exit_code == 4
    assert "no recorded judgment for" in done.output
    assert server.calls == []


def test_a_cap_is_kept_and_the_same_command_with_a_higher_one_pays_for_nothing_twice(
    tmp_path: Path, server: FakeProvider
) -> None:
    options = ["--oracle", oracle(server), "--judge", oracle(server)]
    capped = run(tmp_path, *options, "--max-calls", "5")
    assert capped.exit_code == 2
    assert "--max-calls 5 would be passed" in capped.output
    assert len(server.calls) == 5
    assert run(tmp_path, *options, "--max-calls", "500").exit_code == 0
    assert set(server.counts().values()) == {1}
    dear = run(tmp_path / "dear", *options, "--max-cost", "0.01")
    assert dear.exit_code == 2
    assert "--price INPUT:OUTPUT" in dear.output
    priced = run(tmp_path / "dear", *options, "--max-cost", "0.0001", "--price", "1:10")
    assert priced.exit_code == 2
    assert "--max-cost 0.0001 would be passed" in priced.output


def test_a_refresh_asks_all_again_and_says_how_many_verdicts_changed(tmp_path: Path, server: FakeProvider) -> None:
    options = ["--oracle", oracle(server), "--judge", oracle(server), "--ledger", str(tmp_path / "ledger")]
    assert run(tmp_path, *options).exit_code == 0
    num_calls = len(server.calls)
    again = run(tmp_path / "again", *options, "--mode", "refresh")
    assert again.exit_code == 0, again.output
    assert "refresh: generation 1" in again.output
    assert f"asked again: {num_calls} comparisons, 0 with another verdict (0.0%)" in again.output
    assert len(server.calls) == 2 * num_calls


def test_a_run_does_not_mix_generations(tmp_path: Path, server: FakeProvider) -> None:
    options = ["--oracle", oracle(server), "--judge", oracle(server)]
    assert run(tmp_path, *options).exit_code == 0
    (path,) = (tmp_path / "runs").rglob("result.json")
    path.unlink()
    (path.parent / "waypoints" / "0012.jsonl").unlink()  # as after a kill in the last evaluation
    mixed = run(tmp_path, *options, "--mode", "refresh")
    assert mixed.exit_code == 2
    assert "a run is of one generation" in mixed.output
    assert run(tmp_path, *options).exit_code == 0


def test_what_a_provider_refuses_is_one_sentence_without_a_key_in_it(
    tmp_path: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = run(tmp_path, "--judge", "openai:gpt-5-mini")
    assert missing.exit_code == 1
    assert "OPENAI_API_KEY" in missing.output
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")
    server.faults = lambda _call: "401"
    refused = run(tmp_path, "--judge", oracle(server))
    assert refused.exit_code == 1
    assert "very-secret" not in refused.output
    assert "Traceback" not in missing.output + refused.output


def test_people_are_waited_for_with_an_exit_code_of_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, "--oracle", "human:evening")
    assert done.exit_code == 3
    assert "awaiting 4 labels" in done.output
    assert "apl-bench annotate page evening" in done.output


def test_batches_are_collected_by_the_command_that_comes_later(tmp_path: Path, server: FakeProvider) -> None:
    server.batches.plan = BatchPlan(num_polls=2)
    options = ["--judge", oracle(server), "--batch", "judge"]
    first = run(tmp_path, *options, "--no-wait")
    assert first.exit_code == 3, first.output
    assert "done; the same command collects it" in first.output
    codes = [run(tmp_path, *options, "--no-wait").exit_code for _ in range(12)]
    assert codes[-1] == 0
    plain = run(tmp_path / "plain", "--judge", oracle(server))
    assert plain.exit_code == 0
    assert result(tmp_path) == result(tmp_path / "plain"), "how it was asked changes nothing"
