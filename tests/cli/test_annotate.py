"""The commands by which people answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result

from apl_bench.annotation.queue import Queue
from apl_bench.cli.main import main
from tests.annotation.queues import check_of, item


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["annotate", *map(str, arguments)])


@pytest.fixture
def queue() -> Queue:
    opened = Queue.named("films")
    opened.enqueue([item(1), item(2), check_of(item(1), "repeat")])
    return opened


def test_a_queue_that_is_not_there_is_named(queue: Queue) -> None:
    for command in (["page"], ["status"], ["agreement"], ["export", "--", "film", "x.jsonl"]):
        result = call(command[0], *(command[2:] or ["film"]))
        assert result.exit_code == 2
        assert "no queue called 'film'" in result.stderr
        assert "there are: films" in result.stderr


def test_status(queue: Queue) -> None:
    assert "0 of 2 items have a label; 1 hidden checks; a run has used 0" in call("status", "films").stdout
    queue.submit(item(1).id, "A", "ann", None, "test/1")
    queue.take([item(1).id])
    (queue.folder / "answers-bob.jsonl").write_text("broken \x1b[31m\n")
    result = call("status", "films")
    assert "1 of 2 items have a label" in result.stdout
    assert "a run has used 1" in result.stdout
    assert "ann" in result.stdout
    assert "answers-bob.jsonl line 1 is left out" in result.stderr


@pytest.mark.parametrize("form", ["jsonl", "label-studio", "argilla"])
def test_out_and_in_again(queue: Queue, tmp_path: Path, form: str) -> None:
    file, config = tmp_path / "items", tmp_path / "config.xml"
    result = call("export", "films", file, "--format", form, "--config", config)
    assert result.exit_code == 0, result.output
    assert "3 items and 0 answers written" in result.stdout
    assert "<Pairwise" in config.read_text()
    again = call("export", "films", file, "--format", form)
    assert again.exit_code == 2
    assert "exists" in again.stderr
    assert "0 answers taken" in call("import", "films", file, "--format", form).stdout
    if form == "jsonl":
        lines = [{**json.loads(line), "verdict": "T"} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        refused = call("import", "films", file)
        assert refused.exit_code == 2
        assert "line 1: expected who answered; give --annotator" in refused.stderr
        assert "3 answers taken" in call("import", "films", file, "--annotator", "ann").stdout
        assert queue.refresh().undecided() == []
        answered = tmp_path / "answered"
        assert "3 items and 3 answers" in call("export", "films", answered, "--answers").stdout
        assert "0 answers taken" in call("import", "films", answered).stdout


def test_agreement(queue: Queue) -> None:
    for name in ("ann", "bob"):
        queue.submit(item(1).id, "A", name, None, "test/1")
        queue.submit(item(2).id, "B", name, None, "test/1")
    shown = call("agreement", "films").stdout
    assert "kappa (Cohen)" in shown
    assert "ann, bob" in shown
    found = json.loads(call("agreement", "films", "--json").stdout)
    assert found["schema"] == "apl-agreement/1"
    assert found["pairs"][0]["kappa"]["value"] == 1


@pytest.mark.parametrize("name", ["../x", "a b", ""])
def test_an_annotator_is_a_name(queue: Queue, name: str) -> None:
    result = call("page", "films", "--annotator", name or "é")
    assert result.exit_code == 2
    assert "letters, digits" in result.stderr


def test_a_terminal_is_needed_for_the_terminal(queue: Queue) -> None:
    result = call("terminal", "films")
    assert result.exit_code == 2
    assert "annotate page" in result.stderr


@pytest.mark.usefixtures("loopback")
def test_the_page_ends_when_all_is_answered(queue: Queue) -> None:
    command = [sys.executable, "-m", "apl_bench", "annotate", "page", "films", "--annotator", "ann", "--until-done"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    url = process.stdout.readline().split()[-1]
    origin = url.split("/", 3)
    for _ in range(3):
        page = urllib.request.urlopen(url).read().decode()
        fields = {name: page.split(f'name="{name}" value="')[1].split('"')[0] for name in ("secret", "item")}
        body = urlencode({**fields, "verdict": "A"}).encode()
        request = urllib.request.Request(f"{url}answer", body, {"Origin": "//".join([origin[0], origin[2]])})
        last = urllib.request.urlopen(request).read().decode()
    assert "All is answered" in last
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "All is answered" in out
    assert len(queue.refresh().by("ann")) == 3


def test_a_port_that_is_taken_is_said(queue: Queue) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = call("page", "films", "--annotator", "ann", "--port", taken.getsockname()[1])
    assert result.exit_code == 2
    assert "choose another --port" in result.stderr
