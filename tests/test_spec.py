"""The spec: what it refuses, how it is overridden, and that its identity never changes unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apl_bench import presets
from apl_bench.presets import Changes, load, names, resolve
from apl_bench.spec import PluginSpec, RunSpec, override
from apl_bench.types import SpecError

TABLES: dict[str, dict[str, Any]] = {
    "task": {"name": "toy"},
    "strategy": {"name": "random"},
    "oracle": {"name": "simulated", "noise": 0.1},
    "judge": {"name": "simulated"},
    "policy": {"model": "shipped:toy", "dtype": "float32", "num_threads": 1},
    "loop": {"regime": "restart", "budget": 8, "labels_per_step": 4, "prompts_per_step": 16, "oversample": 2,
             "num_entropy_samples": 2, "waypoints": [0, 4, 8]},
    "sampling": {"train_temperature": 0.7, "test_temperature": 0.25},
    "training": {"learning_rate": 1e-4, "beta": 0.2, "batch_size": 4, "epochs": 1, "adam_beta1": 0.9,
                 "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0},
    "evaluation": {"num_prompts": 8, "num_probe_prompts": 0},
    "judging": {"order": "random"},
}  # fmt: skip


def toy(*settings: str, seed: int = 0) -> RunSpec:
    tables: dict[str, dict[str, Any]] = TABLES
    for setting in settings:
        tables = override(tables, setting)
    return RunSpec.from_tables("toy", tables, seed)


def test_the_identity_is_golden() -> None:
    """Whoever changes this number orphans every recorded run: bump the prefix, and say so in CHANGELOG."""
    assert toy().identity == "c77fdea3f3e113838689aff7c5cbf08863bb537c27f6bb234d5c013f49c20a11"


def test_the_identity_changes_with_every_setting() -> None:
    changes = ["loop.budget=4", "training.beta=0.1", "oracle.noise=0.2", "task.name=other", "policy.num_threads=2"]
    changed = [toy("loop.waypoints=[0, 4]", change).identity for change in changes]
    assert len({toy().identity, toy(seed=1).identity, *changed}) == len(changes) + 2


def test_a_spec_comes_back_from_its_own_record() -> None:
    tables = toy().to_tables()
    again = RunSpec.from_tables(tables.pop("preset"), tables, tables.pop("seed"))
    assert again == toy()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loop.budgett=8", r"no setting called 'loop.budgett'. Did you mean 'loop.budget'\?"),
        ("lop.budget=8", r"no table to set called 'lop'. Did you mean 'loop'\?"),
        ("budget=8", "not of the form table.key=value"),
        ("loop.budget=eight", "loop.budget is 'eight'; expected a whole number"),
        ("loop.budget=3", "loop.budget is 3; expected at least one step of 4 labels"),
        ("loop.budget=true", "loop.budget is True; expected a whole number"),
        ("loop.waypoints=[0, 5]", "increasing multiples of 4 up to loop.budget = 8"),
        ("loop.waypoints=[8, 4]", "increasing multiples"),
        ("loop.regime=reset", "loop.regime is 'reset'; expected restart or continue or online"),
        ("loop.prompts_per_step=3", "expected at least loop.labels_per_step = 4"),
        ("sampling.test_temperature=0", "sampling.test_temperature is 0.0; expected a number above 0"),
        ("training.learning_rate=nan", "training.learning_rate is nan; expected a finite number"),
        ("judging.order=coin", "judging.order is 'coin'; expected random or both or fixed"),
        ("evaluation.num_probe_prompts=9", "expected 0 to evaluation.num_prompts = 8"),
    ],
)
def test_a_bad_setting_is_named_with_what_was_expected(setting: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        toy(setting)


def test_a_preset_that_leaves_something_unsaid_is_refused() -> None:
    without = {**TABLES, "training": {key: value for key, value in TABLES["training"].items() if key != "beta"}}
    with pytest.raises(SpecError, match=r"\[training\] lacks beta"):
        RunSpec.from_tables("toy", without, 0)
    with pytest.raises(SpecError, match=r"has no table \[judging\]"):
        RunSpec.from_tables("toy", {key: value for key, value in TABLES.items() if key != "judging"}, 0)


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_number_of_steps_is_the_budget_divided_by_a_step(size: int, steps: int) -> None:
    extra = f"loop.labels_per_step={size}", f"loop.prompts_per_step={size}", f"loop.budget={size * steps + size - 1}"
    tables: dict[str, dict[str, Any]] = TABLES
    for setting in (*extra, "loop.waypoints=[0]"):
        tables = override(tables, setting)
    assert RunSpec.from_tables("toy", tables, 0).loop.num_steps == steps


@pytest.mark.parametrize("name", names())
def test_every_preset_makes_a_spec(name: str) -> None:
    task, _, preset = name.partition("-")
    assert resolve(task, preset, "random", Changes(), 0).preset == preset


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str], str]:
    """A preset of one's own: the shipped one with one text in place of another."""

    def write(old: str, new: str) -> str:
        path = tmp_path / "mine.toml"
        shipped = (Path(presets.__file__).parent / "imdb-lite.toml").read_text()
        assert old in shipped
        path.write_text(shipped.replace(old, new, 1))
        return str(path)

    return write


def test_a_preset_of_ones_own_is_named_by_its_file(own: Callable[[str, str], str]) -> None:
    spec = resolve("imdb", own("epochs = 2", "epochs = 5"), "random", Changes(), 0)
    assert (spec.preset, spec.training.epochs) == ("mine", 5)


@pytest.mark.parametrize("address", ["https://me:secret@host/v1", "http://me@127.0.0.1:1/v1"])
def test_an_address_with_a_password_is_not_recorded(address: str) -> None:
    with pytest.raises(SpecError, match=r"judge\.base_url has a name or password") as caught:
        resolve("imdb", "lite", "random", Changes(judge=f'openai(m, base_url="{address}")'), 0)
    assert "secret" not in str(caught.value)


def test_another_oracle_or_judge_takes_the_place_of_the_presets_and_knows_its_part() -> None:
    spec = resolve("imdb", "lite", "random", Changes((), "flip(0.1, classifier)", "classifier:oracle"), 0)
    assert spec.oracle == PluginSpec("classifier", {"model": "oracle"}, (PluginSpec("flip", {"rate": 0.1, "seed": 0}),))
    assert spec.judge == PluginSpec("classifier", {"model": "oracle"})
    judged = resolve("imdb", "lite", "random", Changes(judge="classifier"), 0)
    assert judged == resolve("imdb", "lite", "random", Changes(), 0), "stated by the part, as in the preset"
    again = RunSpec.from_tables(
        spec.preset, {k: v for k, v in spec.to_tables().items() if k not in ("preset", "seed")}, 0
    )
    assert again == spec
    assert again.identity == spec.identity != judged.identity


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[task]", "[tusk]", "no table in a preset called 'tusk'. Did you mean 'task'"),
        ('[oracle]\nname = "classifier"', "[oracle]", "oracle.name is None; expected the name of a plugin"),
        ("[task]", "[strategy]\nwidth = 1\n[task]", r"has a table \[strategy\].*--set strategy.key=value"),
        ("[task]", "seed = 3\n[task]", r"seed in .*mine.toml is 3; expected a table, \[seed\]"),
        ('name = "imdb"', 'name = "tldr"', "is for task 'tldr', not 'imdb'"),
        ("[task]", "[task", "mine.toml is not TOML"),
    ],
)
def test_a_malformed_preset_of_ones_own_is_refused_by_name(
    own: Callable[[str, str], str], old: str, new: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        resolve("imdb", own(old, new), "random", Changes(), 0)


def test_a_preset_is_known_by_the_name_that_list_prints() -> None:
    assert resolve("imdb", "imdb-lite", "random", Changes(), 0) == resolve("imdb", "lite", "random", Changes(), 0)


def test_a_task_without_presets_says_what_to_do() -> None:
    with pytest.raises(SpecError, match=r"no preset of task 'mine' ships.*imdb-\w+\.toml and give it: --preset FILE"):
        load("mine", "lite")


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no preset of task 'imdb' called 'light'. Did you mean 'lite'\?"):
        load("imdb", "light")
