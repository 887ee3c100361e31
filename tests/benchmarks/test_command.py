"""apl-bench bench: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import apl_bench.benchmarks.shapes
from apl_bench.benchmarks.suites import SHAPES, SUITES
from apl_bench.cli import bench
from apl_bench.cli.main import main
from tests.benchmarks import tiny
from tests.cli.test_main import imported_by


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape called tiny."""
    monkeypatch.setattr(bench, "SHAPES", (*SHAPES, "tiny"))
    monkeypatch.setitem(apl_bench.benchmarks.shapes.SHAPES, "tiny", tiny.llama)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_help_lists_suites_and_shapes_and_imports_no_model_library() -> None:
    output = invoke("--help").output
    assert all(name in output and suite.summary.split(",")[0] in output for name, suite in SUITES.items())
    assert all(name in output for name in SHAPES)
    assert "ratios within one run" in output
    assert not imported_by("bench", "--help") & {"torch", "transformers", "datasets", "matplotlib"}


def contender_line(output: str, name: str) -> str:
    """All lines that begin with the contender's name."""
    return "\n".join(line for line in output.splitlines() if line.startswith(name))


@pytest.mark.usefixtures("called")
def test_it_prints_and_writes_the_same_tables(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    threads = "1"
    done = invoke("sampling", "training", "--shape", "tiny", "--repeats", "2", "--threads", threads,
                  "--profile", "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    markdown = (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")
    facts = content["environment"]
    assert facts["threads"] == 1
    assert facts["matmul peak, GFLOP/s"] > 0
    assert {"torch", "transformers", "trl", "machine", "date"} <= set(facts)
    assert content["shapes"] == {"tiny": tiny.llama().summary}
    assert [result["suite"] for result in content["results"]] == ["sampling"] * 4 + ["training"]
    for result in content["results"]:
        assert result["title"] in done.output
        assert result["title"] in markdown
        assert "aten::" in result["profile"]
        assert all(len(contender["seconds"]) == 2 for contender in result["contenders"])
        for contender in result["contenders"][1:]:
            assert f"{contender['ratio']['median']:.2f}" in contender_line(done.output, contender["name"])
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert all(f"wrote {tmp_path / 'out' / name}" in done.output for name in ("bench.md", "bench.json", "bench.png"))


@pytest.mark.usefixtures("called")
def test_without_a_ratio_there_is_no_figure(tmp_path: Path) -> None:
    done = invoke("peak", "--shape", "tiny", "--repeats", "1", "--threads", "1", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "share of peak" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.md"]


@pytest.mark.usefixtures("called")
def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    done = invoke("sampling", "--shape", "tiny", "--repeats", "1", "--threads", "1", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "pip install 'apl-bench[plots]'" in done.output
    assert not (tmp_path / "bench.png").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trainin"], "no suite called 'trainin'. Did you mean 'training'? There are: asking"),
        (["step", "--shape", "smollm2-imd"], "no shape called 'smollm2-imd'. Did you mean 'smollm2-imdb'?"),
        (["step", "--device", "cuda"], "--device is cuda, and torch finds none"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_written(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = invoke(*arguments, "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert text in done.stderr
    assert not (tmp_path / "out").exists()
