"""A plugin whose replies no ledger can hold: the good ones beside them are kept, and the command says what is wrong."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from apl_bench import registry
from apl_bench.cli.main import main
from apl_bench.judgments.ledger import Ledger

NUM = 8
MODULE = '''
import json
from apl_bench.failures import OracleError
from apl_bench.protocols import Oracle, RemoteOracle
from apl_bench.types import Allowance, Reading, Reply, Verdict

BAD = {bad}
PLACE = 3


class Fickle({base}):
    """Prefers the longer text; what it says to its fourth question is bad."""

    summary = "the longer text, and now and then nonsense"
    {local}
    asked = 0

    def request(self, comparison):
        texts = [comparison.pair.prompt.text, *comparison.shown]
        return {{"provider": "fickle", "model": "longer", "texts": texts, "repeat": comparison.repeat}}

    def ask(self, comparisons):
        {ask}

    async def call(self, comparison):
        return self.answer(comparison)

    def allowance(self, comparison):
        return Allowance(100, 10)

    def answer(self, comparison):
        Fickle.asked += 1
        first, second = comparison.shown
        if Fickle.asked == PLACE + 1:
            return BAD
        return Reply("A" if len(first) > len(second) else "B", "longer", usage={{"prompt_tokens": 9}})

    def read(self, reply):
        return Reading({read})
'''
LETTER = 'Verdict.FIRST if reply.raw == "A" else Verdict.SECOND'
NOT_A_NUMBER = 'Reply("A", "longer", latency_s=float("nan"))'
KINDS = {
    "list": ("Oracle", "local = False", "return [self.answer(each) for each in comparisons]"),
    "iterator": ("Oracle", "local = False", "return (self.answer(each) for each in comparisons)"),
    "remote": ("RemoteOracle", "", "raise TypeError"),
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs the oracle `fickle`, a module of its own in each test."""
    place = tmp_path / "site"
    name = f"apl_fickle_{abs(hash(str(tmp_path)))}"

    def install(bad: str, kind: str = "list", read: str = LETTER) -> None:
        base, local, ask = KINDS[kind]
        info = place / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (place / f"{name}.py").write_text(MODULE.format(bad=bad, base=base, local=local, ask=ask, read=read))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[apl_bench.oracles]\nfickle = {name}:Fickle\n")
        monkeypatch.syspath_prepend(str(place))
        registry._discover.cache_clear()

    yield install
    registry._discover.cache_clear()


def run(folder: Path) -> Result:
    """Asks it about NUM pairs."""
    rows = [{"prompt": "The film", "first": f" {i} was good", "second": f" {i} was very good"} for i in range(NUM)]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--judge", "fickle", "--repeats", "1", "--order", "fixed", "--ledger", str(folder / "ledger")]
    return CliRunner().invoke(main, ["judge-report", str(path), *options, "--json"])


def kept(folder: Path) -> list[Any]:
    with Ledger(folder / "ledger") as ledger:
        return [record for record in ledger.records() if record.request.get("provider") == "fickle"]


@pytest.mark.parametrize(("bad", "said"), [
    (NOT_A_NUMBER, "$.latency_s is nan, which canonical JSON does not have"),
    ('Reply("A" * 5_000_000, "longer")', "bytes; expected at most 4194304"),
    ('Reply("\\ud800", "longer")', "which canonical JSON does not have"),
    ('Reply(None, "longer")', "reply.raw is None; expected a text"),
    ('Reply("A", "longer", usage={"prompt_tokens": "many"})', "expected counts of 0 or more, by name"),
    ('"A"', "it is of the type str; expected apl_bench.types.Reply"),
    ('Reply("A", "longer", usage=None)', "cannot be recorded"),
])  # fmt: skip
def test_a_bad_reply_is_one_sentence_and_its_siblings_are_kept(
    tmp_path: Path, plugin: Callable[..., None], bad: str, said: str
) -> None:
    plugin(bad)
    done = run(tmp_path)
    assert done.exit_code == 1, done.output
    (error,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert ":Fickle gave a reply that cannot be recorded, to the comparison with key " in error
    assert said in error
    assert "Mend the oracle, and run the same command again" in error
    assert "Traceback" not in done.output
    assert len(kept(tmp_path)) == NUM - 1
    again = run(tmp_path)
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(("kind", "least"), [("iterator", 3), ("remote", 3)])
def test_what_was_paid_for_beside_a_bad_reply_is_kept(
    tmp_path: Path, plugin: Callable[..., None], kind: str, least: int
) -> None:
    plugin(NOT_A_NUMBER, kind)
    done = run(tmp_path)
    assert done.exit_code == 1, done.output
    assert "gave a reply that cannot be recorded" in done.output
    (module,) = [path.stem for path in (tmp_path / "site").glob("*.py")]
    num_asked = importlib.import_module(module).Fickle.asked
    assert len(kept(tmp_path)) == num_asked - 1 >= least, "all that was answered but the bad one"
    assert run(tmp_path).exit_code == 0


def test_a_reply_that_its_own_oracle_cannot_read_is_told_and_kept(tmp_path: Path, plugin: Callable[..., None]) -> None:
    plugin('Reply("no JSON", "longer")', read="Verdict.FIRST if json.loads(reply.raw) else None")
    done = run(tmp_path)
    assert done.exit_code == 1, done.output
    assert ":Fickle cannot read the recorded reply with key " in done.output
    assert "JSONDecodeError" in done.output
    assert "Traceback" not in done.output
    assert len(kept(tmp_path)) == NUM


@pytest.mark.parametrize(("value", "said"), [
    ("float('inf')", "inf, which canonical JSON does not have"),
    ("[" * 40 + "]" * 40, "nested deeper than 16"),
])  # fmt: skip
def test_a_request_that_no_ledger_can_hold_is_told_before_anything_is_asked(
    tmp_path: Path, plugin: Callable[..., None], value: str, said: str
) -> None:
    plugin(NOT_A_NUMBER)
    (path,) = (tmp_path / "site").glob("*.py")
    path.write_text(path.read_text().replace('"model": "longer", "texts"', f'"model": {value}, "texts"'))
    done = run(tmp_path)
    assert done.exit_code == 1, done.output
    assert ":Fickle makes a request that cannot be recorded: " in done.output
    assert said in done.output
    assert importlib.import_module(path.stem).Fickle.asked == 0
