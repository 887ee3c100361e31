"""The store keeps what it is given, or nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from apl_bench.sweep.store import LOOK_EVERY, Store, digest
from apl_bench.types import JSON

GROUP = digest("g")


def blocks(store: Store) -> list[Path]:
    return sorted(store.folder.rglob("*.json"))


def test_values_come_back_to_the_last_bit(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    values: dict[str, JSON] = {"a": [" text\u2028\ud800", [1, 2], True, -0.1 - 0.2], "b": [5e-324, -1e308]}
    store.put(GROUP, values)
    store.put(GROUP, {"c": None})
    assert Store(tmp_path, 1).get(GROUP) == {**values, "c": None}
    assert store.get(digest("h")) == {}


def test_torn_and_altered_blocks_are_refused(tmp_path: Path) -> None:
    for alter in (lambda data: data[:-1], lambda data: data.replace(b"1", b"2"), lambda _: b""):
        store = Store(tmp_path, 1 << 20)
        store.put(GROUP, {"a": 1})
        (path,) = blocks(store)
        path.write_bytes(alter(path.read_bytes()))
        assert store.get(GROUP) == {}
        assert [str(path) in notice for notice in store.notices] == [True]
        assert not path.exists()


def test_a_block_of_another_group_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    store.put(digest("h"), {"a": 1})
    (path,) = blocks(store)
    store.put(GROUP, {"b": 1})
    os.replace(path, store._group(GROUP) / path.name)
    assert store.get(GROUP) == {"b": 1}
    assert len(store.notices) == 1


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    sha256 = store.put_file(GROUP, "weights", lambda path: path.write_bytes(b"1234"))
    path = store.get_file(GROUP, "weights", sha256)
    assert path is not None
    assert path.read_bytes() == b"1234"
    assert store.get_file(GROUP, "none", sha256) is None
    path.write_bytes(b"1235")
    assert store.get_file(GROUP, "weights", sha256) is None
    assert not path.exists()


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path, 10_000)
    for number in range(2 * LOOK_EVERY):
        store.put(digest(number), {"a": "x" * 1000})
        for path in blocks(store):  # as if each took a second
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 1))
        if number > 0:
            assert store.get(digest(0)) != {}, "used each time"
    sizes = [path.stat().st_size for path in blocks(store)]
    assert sum(sizes) <= 10_000 + LOOK_EVERY * max(sizes)
    assert store.get(digest(1)) == {}
    assert store.get(digest(2 * LOOK_EVERY - 1)) != {}
    assert store.notices == []


def test_writers_of_the_same_and_of_others_at_once(tmp_path: Path) -> None:
    def write(who: int) -> None:
        store = Store(tmp_path, 1 << 20)
        for number in range(20):
            store.put(GROUP, {f"{number}": number})
            store.put(GROUP, {f"{who}-{number}": number})
            assert store.get(GROUP)[str(number)] == number
        assert store.notices == []

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Store(tmp_path, 1 << 20).get(GROUP)) == 20 + 4 * 20


def test_names_do_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1.5, None]}) == digest({"b": [1.5, None], "a": 1})
    assert digest(["1"]) != digest([1])
    values: list[JSON] = [1, 1.5, "1.5", None, [], {}, "[]"]
    assert len({digest(value) for value in values}) == 7
