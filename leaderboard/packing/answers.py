"""Replies as columns, and the judgments that follow from texts and replies: requests and keys are built anew.

Replies of local oracles that ship are left out where asking them again gives the same bytes, which packing tries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from apl_bench.judging import Judged, Judging, Manner, Mode
from apl_bench.judgments.record import Record, reply_of, reply_table
from apl_bench.leaderboard.packing.oracles import CHEAP, Answered, frame_of, offline
from apl_bench.records import to_json
from apl_bench.spec import PluginSpec, RunSpec
from apl_bench.types import Pair, Reply
from apl_bench.wrapping import Wrapped

PARTS = ("oracle", "judge")
_REPLY = tuple(column.name for column in fields(Reply))


class NoLedger:
    """A ledger that has nothing: what is asked is kept by the run alone."""

    def get_many(self, keys: Sequence[str], generation: int = 0) -> dict[str, Record]:
        del keys, generation
        return {}

    def add(self, records: Iterable[Record]) -> dict[Any, Record]:
        raise TypeError(f"{len(list(records))} records for no ledger")


@dataclass
class Part:
    """The oracle or the judge of a run while its files are built: answers pairs, and notes each record that is new."""

    source: Wrapped
    order: str
    generation: int
    records: dict[str, Record]
    _judging: Judging = field(init=False)

    def __post_init__(self) -> None:
        self._judging = Judging(self.source, NoLedger(), Manner(Mode.OFF, self.order))

    def judge(self, pairs: Sequence[Pair]) -> list[Judged]:
        """A verdict for each pair; records go to `records` in the order in which a run would have written them."""
        judged = self._judging.judge(pairs)
        for item in judged:
            for record in item.records:
                if record.key not in self.records:
                    self.records[record.key] = replace(record, generation=self.generation)
        return judged


def plugin_of(spec: RunSpec, part: str) -> PluginSpec:
    """The oracle or the judge of a spec."""
    return spec.oracle if part == "oracle" else spec.judge


def pack_part(plugin: PluginSpec, asked: Sequence[Record], generation: int) -> dict[str, Any]:
    """What has to be kept of the answers to the questions of a part, in the order in which they were first asked."""
    packed: dict[str, Any] = {"generation": generation}
    if plugin.name in CHEAP:
        return {**packed, "replies": None}
    frame = frame_of(plugin, asked[0].request if asked else None)
    return {**packed, **({} if frame is None else {"frame": frame}), "replies": pack_replies(asked)}


def keep_replies(packed: Mapping[str, Any], asked: Sequence[Record]) -> dict[str, Any]:
    """The same with the replies in it, for an oracle that gives others today."""
    return {**packed, "replies": pack_replies(asked)}


def pack_replies(asked: Sequence[Record]) -> dict[str, Any]:
    """A column for each field of a reply; a field that is the same in all stands once."""
    tables = [json.loads(to_json(reply_table(record.reply))) for record in asked]
    columns = {name: [table.get(name) for table in tables] for name in _REPLY}
    return {name: {"all": column[0]} if column and all(value == column[0] for value in column) else {"each": column}
            for name, column in columns.items()} | {"num": len(asked)}  # fmt: skip


def unpack_replies(packed: Mapping[str, Any]) -> list[Reply]:
    """What `pack_replies` was given. Raises RecordError and ValueError."""
    num = packed["num"]
    columns = {}
    for name in _REPLY:
        column = packed[name]
        columns[name] = column["each"] if "each" in column else [column["all"]] * num
        if len(columns[name]) != num:
            raise ValueError(f"the column {name} has {len(columns[name])} of {num} replies")
    rows = zip(*columns.values(), strict=True)
    return [reply_of({name: value for name, value in zip(columns, row, strict=True)
                      if name != "logprobs" or value is not None}) for row in rows]  # fmt: skip


def opened(plugin: PluginSpec, packed: Mapping[str, Any], order: str, records: dict[str, Record]) -> Part:
    """A part that answers from what was packed. Raises SpecError, RecordError and ValueError."""
    source, generation = offline(plugin, packed.get("frame")), packed["generation"]
    if type(generation) is not int or not 0 <= generation <= 10**6:
        raise ValueError(f"{generation!r} is no generation")
    if packed["replies"] is None:
        if plugin.name not in CHEAP:
            raise ValueError(f"the oracle {plugin.name!r} cannot be asked again, and its replies are missing")
        return Part(source, order, generation, records)
    replies = unpack_replies(packed["replies"])
    return Part(Wrapped(Answered(source.oracle, iter(replies)), source.wrappers), order, generation, records)
