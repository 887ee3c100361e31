"""The runs/ of a submission: one file for what all runs share, and one for each seed, with the runs of all strategies.

    runs/shared.jsonl.zst       prompts, each once; tokens with their texts
    runs/seed-000.jsonl.zst     for each run a line with its spec and events, then one for each step and waypoint

Strategies with one seed meet the same prompts and opponents, which is why they stand in one file: zstd finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from apl_bench.judgments.streams import Bounds, StreamError, compress, lines
from apl_bench.leaderboard.findings import refuse
from apl_bench.leaderboard.packing.columns import MAX_TEXT, Vocabulary, is_text
from apl_bench.leaderboard.packing.files import Line, Rebuilt, pack_run, read_files, unpack_run
from apl_bench.leaderboard.packing.malformed import malformed
from apl_bench.leaderboard.packing.rows import Tables
from apl_bench.leaderboard.packing.tables import gather
from apl_bench.leaderboard.strict import open_plain, parse
from apl_bench.records import Run, run_path, to_json

LEVEL = 19  # of zstd: the highest whose window, 8 MB, is small
SHARED = "runs/shared.jsonl.zst"
BOUNDS = Bounds(num_packed_bytes=2**28, num_bytes=2**30, ratio=200, num_line_bytes=2**26)
_REMEDY = "build the submission with apl-bench submit, from runs as apl-bench wrote them"


@dataclass(frozen=True, slots=True)
class Sum:
    """A file's sha256, hex, and its size in bytes."""

    sha256: str
    num_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Of a file's content."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def seed_file(seed: int) -> str:
    """The file with the runs of a seed."""
    return f"runs/seed-{seed:03d}.jsonl.zst"


def pack_runs(runs: Sequence[Run], folder: Path) -> dict[str, dict[str, Sum]]:
    """Write the runs below a folder; returns the sums of each run's files, by its path. Equal runs give equal bytes."""
    tables = gather(runs)
    _write(folder / SHARED, [{"kind": "prompts", "prompts": [list(prompt) for prompt in tables.prompts]},
                             tables.vocabulary.to_json()])  # fmt: skip
    sums: dict[str, dict[str, Sum]] = {}
    for seed in sorted({run.spec.seed for run in runs}):
        of_seed = sorted((run for run in runs if run.spec.seed == seed), key=path_of)
        packed = [(run, pack_run(run, path_of(run), tables)) for run in of_seed]
        _write(folder / seed_file(seed), [line for _, found in packed for line in found])
        sums |= {path_of(run): {name: Sum.of(data) for name, data in read_files(run.path, run.spec).items()}
                 for run in of_seed}  # fmt: skip
    return dict(sorted(sums.items()))


def path_of(run: Run) -> str:
    """Where a run stands below runs/, as `apl-bench run` names it."""
    return run_path(Path(), run.spec).as_posix()


def _write(path: Path, rows: Sequence[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compress("".join(to_json(row) + "\n" for row in rows).encode(), LEVEL))


def read_tables(folder: Path) -> Tables:
    """What the runs share. Raises Refused."""
    rows = list(_rows(folder, SHARED))
    with malformed(SHARED):
        prompts, tokens = rows
        pairs = [(prompt_id, text) for prompt_id, text in prompts["prompts"]]
        if not all(is_text(word, MAX_TEXT) for pair in pairs for word in pair):
            raise ValueError(f"a prompt has an id and a text, of at most {MAX_TEXT} letters")
        return Tables(tuple(pairs), Vocabulary.from_json(tokens))


def read_packed(folder: Path, name: str) -> Iterator[list[Line]]:
    """The lines of each run of a seed's file, one run after another. Raises Refused."""
    found: list[Line] = []
    for row in _rows(folder, name):
        if row.get("kind") == "run" and found:
            yield found
            found = []
        found.append(row)
    if found:
        yield found


def rebuild(packed: Sequence[Line], tables: Tables, place: str) -> Rebuilt:
    """A run. Raises Refused (V112) for lines that are none of a run."""
    with malformed(place):
        return unpack_run(packed, tables)


def unpack_to(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a run's files below a folder of ours; their names are those that a run has."""
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _rows(folder: Path, name: str) -> Iterator[Line]:
    with open_plain(folder / name, name) as source:
        try:
            for number, line in enumerate(lines(source, True, BOUNDS), start=1):
                row = parse(line, f"{name}:{number}")
                if not isinstance(row, dict):
                    raise refuse("V112", f"{name}:{number}", "it is no object", _REMEDY)
                yield row
        except StreamError as error:
            raise refuse("V106", name, str(error), _REMEDY) from None


def dump(value: Any) -> str:
    """JSON for people to read."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
