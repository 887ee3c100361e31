"""The paper's presets: every setting as in its table 1 and appendix D, and the whole path from the hub to a result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.engine.models import load_model
from apl_bench.oracles.huggingface import HuggingFace
from apl_bench.presets import Changes, resolve
from apl_bench.records import Run
from apl_bench.spec import PolicySpec, RunSpec
from tests import hub_cache
from tests.engine import tiny
from tests.fake_hub import offline
from tests.fake_provider import FakeProvider
from tests.hub_cache import COMMIT, DISTILBERT_COMMIT, GPT2, PYTHIA
from tests.oracles.checkpoints import word_tokenizer

SMALL = (
    f"policy.revision={COMMIT}", "policy.num_threads=1", "loop.budget=16", "loop.labels_per_step=8",
    "loop.prompts_per_step=12", "loop.oversample=2", "loop.num_entropy_samples=2", "loop.waypoints=[0, 8, 16]",
    "training.batch_size=8", "training.learning_rate=1e-3", "evaluation.num_prompts=8",
    "evaluation.num_probe_prompts=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub that holds everything that the presets name."""
    folder = tmp_path_factory.mktemp("cache")
    hub_cache.write(folder, tmp_path_factory.mktemp("scratch"))
    return folder


@pytest.fixture
def no_hub(cache: Path) -> Iterator[None]:
    with offline(cache):
        yield


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def invoke(command: str, task: str, preset: str, *options: str, settings: tuple[str, ...] = SMALL) -> Result:
    words = [word for setting in settings for word in ("--set", setting)]
    return CliRunner().invoke(main, [command, "--task", task, "--preset", preset, *options, *words])


def spec(task: str, preset: str) -> RunSpec:
    return resolve(task, preset, "certainty", Changes((f"policy.revision={COMMIT}",)), 0)


# Settings


def test_table_1() -> None:
    shared: dict[str, Any] = {
        "labels_per_step": 128, "regime": "restart", "num_entropy_samples": 8, "learning_rate": 1e-6, "beta": 0.2,
        "batch_size": 64, "train_temperature": 0.7, "test_temperature": 0.25, "num_prompts": 1024,
    }  # fmt: skip
    expected = {
        "imdb": {"model": GPT2, "prompts_per_step": 4000, "oversample": 8, "epochs": 50, "budget": 768,
                 "waypoints": (128, 256, 512, 768), "template": "paper-sentiment-v1"},
        "tldr": {"model": PYTHIA, "prompts_per_step": 2048, "oversample": 4, "epochs": 70, "budget": 512,
                 "waypoints": (0, 128, 256, 384, 512), "template": "paper-summary-v1"},
    }  # fmt: skip
    for task, settings in expected.items():
        found = spec(task, "paper")
        sections = (found.policy, found.loop, found.sampling, found.training, found.evaluation)
        stated = {name: getattr(section, name) for section in sections for name in type(section).__slots__}
        template = settings.pop("template")
        assert {name: stated[name] for name in {**shared, **settings}} == {**shared, **settings}
        for part in (found.oracle, found.judge):
            asked = {"model": "gpt-4-1106-preview", "temperature": 0.05, "template": template, "reply": "text"}
            assert part.name == "openai"
            assert {name: part.params[name] for name in asked} == asked
        assert found.task.params["source"] == "hub"
        assert found.lora is None


def test_appendix_d() -> None:
    found = spec("imdb", "online")
    assert (found.policy.model, found.loop.regime) == (GPT2, "online")
    assert (found.training.learning_rate, found.training.beta, found.training.epochs) == (1e-6, 0.2, 1)
    assert found.training.batch_size == found.loop.labels_per_step == 64  # one update a phase
    assert found.loop.prompts_per_step == 8 * 64  # over-generates 8 times
    phases = (0, 20, 40, 60, 80, 100, 140, 190)  # those of the paper's table
    assert {64 * (phase + 1) for phase in phases} <= set(found.loop.waypoints)
    assert found.loop.waypoints[-1] == found.loop.budget == 64 * 191
    assert (found.sampling.train_temperature, found.sampling.test_temperature) == (0.7, 0.25)
    assert found.evaluation.num_prompts == 1024
    assert found.oracle == found.judge
    asked = {"model": "lvwerra/distilbert-imdb", "revision": DISTILBERT_COMMIT, "score": "POSITIVE", "scale": "logit"}
    assert {name: found.oracle.params[name] for name in asked} == asked


@pytest.mark.parametrize(("task", "preset"), [("imdb", "online"), ("imdb", "paper"), ("tldr", "paper")])
def test_every_setting_of_an_oracle_is_in_the_file(task: str, preset: str) -> None:
    """So that a default which changes later changes no run of a preset."""
    from apl_bench.presets import load

    _, tables = load(task, preset)
    for part in ("oracle", "judge"):
        assert {**getattr(spec(task, preset), part).params} == {k: v for k, v in tables[part].items() if k != "name"}


# What the loaders make of files of 2023


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(("model", "make"), [(GPT2, hub_cache.gpt2), (PYTHIA, hub_cache.pythia)])
def test_a_policy_from_the_cache_is_the_one_that_was_saved(model: str, make: Any) -> None:
    loaded, tokens = load_model(PolicySpec(model, COMMIT, "float32", 1))
    ids = torch.tensor([tokens.encode("A film about cats")])
    assert tokens.encode("A film about cats") == tiny.tokenizer().encode("A film about cats")
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, make()(ids).logits)


@pytest.mark.usefixtures("no_hub")
def test_the_classifier_from_the_cache_is_the_one_that_was_saved() -> None:
    params: dict[str, Any] = dict(spec("imdb", "online").oracle.params)
    (score,) = HuggingFace(**params).scores("film was", [" Great"])
    ids = torch.tensor([[2, *word_tokenizer().encode("film was great", add_special_tokens=False), 3]])
    with torch.no_grad():
        assert score == pytest.approx(hub_cache.distilbert()(ids).logits[0, 1].item(), abs=2e-6)


# From the hub's cache to a result


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("strategy", ["random", "certainty"])
def test_online_runs_to_its_end(tmp_path: Path, strategy: str) -> None:
    done = invoke("run", "imdb", "online", "--strategy", strategy, "--out", str(tmp_path / "runs"))
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "runs").glob("**/result.json")
    run = Run(path.parent)
    assert run.spec.policy.model == GPT2
    model = json.loads((path.parent / "spec.json").read_text())["model"]
    assert model["architecture"] == "GPT2LMHeadModel"
    replayed = CliRunner().invoke(main, ["replay", str(path.parent)])
    assert replayed.exit_code == 0, replayed.output


@pytest.mark.usefixtures("no_hub", "loopback")
@pytest.mark.parametrize(
    ("task", "strategy", "architecture"),
    [("imdb", "entropy+certainty", "GPT2LMHeadModel"), ("tldr", "certainty", "GPTNeoXForCausalLM")],
)
def test_paper_runs_to_its_end(tmp_path: Path, task: str, strategy: str, architecture: str) -> None:
    with FakeProvider() as server:
        there = tuple(f"{part}.base_url={server.base_url}" for part in ("oracle", "judge"))
        fewer = ("loop.budget=8", "loop.prompts_per_step=8", "loop.waypoints=[0, 8]", "evaluation.num_prompts=4")
        options = ("--strategy", strategy, "--out", str(tmp_path / "runs"))
        done = invoke("run", task, "paper", *options, settings=(*SMALL, *there, *fewer, "training.epochs=2"))
        assert done.exit_code == 0, done.output
    bodies = [call.body for call in server.calls]
    assert len(bodies) > 8
    assert {(body["model"], body["temperature"]) for body in bodies} == {("gpt-4-1106-preview", 0.05)}
    (path,) = (tmp_path / "runs").glob("**/result.json")
    assert json.loads((path.parent / "spec.json").read_text())["model"]["architecture"] == architecture


@pytest.mark.usefixtures("no_hub")
def test_a_step_draws_all_prompts_where_table_1_asks_for_more(tmp_path: Path) -> None:
    done = invoke("run", "imdb", "online", "--strategy", "entropy+certainty", "--out", str(tmp_path / "runs"),
                  settings=(*SMALL, "loop.oversample=8", "loop.budget=8", "loop.waypoints=[8]"))  # fmt: skip
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "runs").glob("**/result.json")
    (head, *_) = Run(path.parent).step_rows(1) or []
    assert (head["num_drawn"], head["num_candidates"]) == (30, 12)


# What a user is told


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(("task", "preset"), [("imdb", "online"), ("imdb", "paper"), ("tldr", "paper")])
def test_a_preset_alone_says_which_setting_is_missing(tmp_path: Path, task: str, preset: str) -> None:
    done = invoke("run", task, preset, "--strategy", "random", "--out", str(tmp_path), settings=())
    assert done.exit_code == 2
    assert "--set policy.revision=COMMIT, with the newest at https://huggingface.co/" in done.stderr
    assert f"in this machine's cache `main` is {COMMIT}" in done.stderr
    assert not list(tmp_path.glob("*-*"))  # no run was begun


def test_without_anything_it_says_how_to_get_the_model(tmp_path: Path) -> None:
    with offline(tmp_path / "empty"):
        done = invoke("run", "imdb", "online", "--strategy", "random", "--out", str(tmp_path / "runs"))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"hf download {GPT2} --revision {COMMIT}" in done.stderr


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("task", ["imdb", "tldr"])
def test_a_plan_says_what_the_paper_costs(tmp_path: Path, task: str) -> None:
    settings = (f"policy.revision={COMMIT}", "evaluation.num_prompts=20", "evaluation.num_probe_prompts=0")
    done = invoke("plan", task, "paper", "--strategy", "random", "--price", "10:30", "--ledger", str(tmp_path / "no"),
                  "--out", str(tmp_path / "runs"), settings=settings)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "calls over a network" in done.stdout
    assert "cut by the policy's own tokenizer" in " ".join(done.stdout.split())


def test_a_plan_without_the_data_says_how_to_get_them(tmp_path: Path) -> None:
    with offline(tmp_path / "empty"):
        done = invoke("plan", "tldr", "paper", "--strategy", "random", "--ledger", str(tmp_path / "no"), "--out",
                      str(tmp_path / "runs"), settings=())  # fmt: skip
    assert done.exit_code == 2
    assert "hf download --repo-type dataset CarperAI/openai_summarize_tldr --revision 80e30a9d" in done.stderr
