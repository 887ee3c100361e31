"""apl-bench plan: the same command line as run, nothing asked, nothing heavy loaded, nothing made up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apl_bench.cli.main import main
from apl_bench.cli.plan import plan_
from apl_bench.cli.run import run
from apl_bench.judgments.ledger import Ledger
from apl_bench.judgments.record import Record
from apl_bench.planning.calls import requests
from apl_bench.planning.counting import EXAMPLES, Source
from apl_bench.spec import PluginSpec
from apl_bench.types import Completion, Pair, Prompt, Reply

JUDGE = "openai(gpt-4.1-mini, template=paper-sentiment-v1)"
SMALL = ("--set", "evaluation.num_prompts=12", "--set", "evaluation.num_probe_prompts=0")


def invoke(folder: Path, *arguments: str) -> Result:
    given = ["plan", *arguments, "--out", str(folder / "runs"), "--ledger", str(folder / "ledger")]
    return CliRunner().invoke(main, given)


def planned(folder: Path, *arguments: str) -> Any:
    done = invoke(folder, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_it_takes_the_options_of_run_with_their_defaults_but_trackers() -> None:
    ours = {option.name: option for option in plan_.params}
    for option in (option for option in run.params if option.name != "track"):
        assert option.name in ours
        assert ours[option.name].opts == option.opts
        assert ours[option.name].default == option.default


def test_nothing_is_made_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    program = f"""
import sys
from apl_bench.cli.main import main
main(["plan", "--strategies", "random,certainty", "--judge", {JUDGE!r}, "--out", "runs", "--ledger", "ledger"],
     standalone_mode=False)
print([name for name in ("torch", "transformers", "datasets", "openai", "anthropic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "cut by the policy's own tokenizer" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_local_oracles_cost_nothing_and_need_no_prompts(tmp_path: Path) -> None:
    done = invoke(tmp_path, "--strategy", "random", "--seeds", "0-4", "--set", "task.source=file", "--set",
                  "task.path=missing.jsonl")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "$0.00: no call over a network" in done.stdout
    assert "nothing can be significant at .05 with fewer than 6" in done.stdout
    assert "verdicts                             2560  25600" in done.stdout


def test_figures_of_the_json_add_up(tmp_path: Path) -> None:
    found = planned(tmp_path, "--strategies", "random,sharp", "--seeds", "0,3", "--oracle", JUDGE, "--judge", JUDGE,
                    "--latency", "1", *SMALL)  # fmt: skip
    assert found["schema"] == "apl-plan/1"
    assert found["strategies"] == ["random", "uncertainty"]  # an alias is the name that it stands for
    oracle, judge = found["parts"]
    assert oracle["count"]["at_most"] == 2 * (128 + 2 * 3 * 128)
    assert judge["count"]["expected"] == 2 * (2 * 12 + 2 * 3 * 12)
    assert found["total"]["usd_expected"] == pytest.approx(
        sum(p["remote"]["bill"]["usd_expected"] for p in (oracle, judge))
    )
    assert found["design"][0]["between"] == "uncertainty - random"


def test_recorded_calls_of_the_model_say_what_the_next_will_take(tmp_path: Path) -> None:
    source = Source.of(PluginSpec("openai", {"model": "gpt-4.1-mini", "template": "paper-sentiment-v1"}), "random")
    pairs = [Pair(Prompt(str(n), f"Film {n}"), EXAMPLES[0].first, Completion(" x", (), True)) for n in range(25)]
    usage = {"prompt_tokens": 300, "completion_tokens": 70}
    with Ledger(tmp_path / "ledger") as ledger:
        replies = [Reply("A", "gpt-4.1-mini", usage=usage, latency_s=2.5)] * len(pairs)
        ledger.add(Record.of(*both) for both in zip(requests(source, pairs), replies, strict=True))
    remote = planned(tmp_path, "--strategy", "random", "--judge", JUDGE, *SMALL)["parts"][1]["remote"]
    assert remote["bill"]["tokens_expected"] == 60 * 370
    assert remote["call"]["basis"] == "the usage of 25 recorded calls of this model with these parameters"
    assert (remote["seconds"], remote["latency"]) == (12.5, "mean of 25 recorded calls")


def test_an_unknown_price_is_unknown_and_a_cap_on_dollars_says_so(tmp_path: Path) -> None:
    judge = JUDGE.replace("4.1-mini", "99")
    done = invoke(tmp_path, "--strategy", "random", "--judge", judge, "--max-cost", "5", *SMALL)
    assert done.exit_code == 0, done.output
    assert "has no 'gpt-99'; give --price" in done.stdout
    assert "a run would refuse it, as the price is unknown" in " ".join(done.stdout.split())
    assert "$" not in done.stdout.replace("$0.00", "")
    found = planned(tmp_path, "--strategy", "random", "--judge", judge, "--price", "1:1", "--max-cost", "5", *SMALL)
    assert found["fits"][0]["within"] == "always"
    assert found["total"]["usd_at_most"] == pytest.approx(found["total"]["tokens_at_most"] / 1e6)


@pytest.mark.parametrize(("cap", "words"), [
    (("--max-calls", "60"), "--max-calls 60 is enough, also for the 60"),
    (("--max-calls", "59"), "--max-calls 59 is not enough: 60 expected"),
    (("--max-tokens", "100000"), "--max-tokens 100000 is expected to be enough"),
])  # fmt: skip
def test_whether_a_cap_is_enough(cap: tuple[str, str], words: str, tmp_path: Path) -> None:
    done = invoke(tmp_path, "--strategy", "random", "--judge", JUDGE, *cap, *SMALL)
    assert words in " ".join(done.stdout.split())


def test_in_ci_a_remote_oracle_is_replayed_and_asked_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CI", "true")
    oracle, judge = planned(tmp_path, "--strategy", "random", "--judge", JUDGE)["parts"]
    assert (oracle["mode"], judge["mode"], judge["count"]["at_most"]) == ("record", "replay", 0)


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "no strategy to plan for; expected --strategy NAME"),
    (("--strategies", "random,certanty"), "Did you mean 'certainty'?"),
    (("--strategy", "random", "--task", "imbd"), "Did you mean 'imdb'?"),
    (("--strategy", "random", "--judge", "opneai:x"), "Did you mean 'openai'?"),
    (("--strategy", "random", "--batch", "judge"), "Classifier has no batch API"),
])  # fmt: skip
def test_what_run_would_refuse_is_refused(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = invoke(tmp_path, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
