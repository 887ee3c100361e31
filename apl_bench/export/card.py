"""The dataset card: the header that the hub reads, and what people should know before they use the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from apl_bench.comparison import strategy_label
from apl_bench.export import origins
from apl_bench.export.formats import FORMATS, SPLIT, features, type_name
from apl_bench.export.markdown import template
from apl_bench.export.preferences import PROVENANCE, Acquired, Style, schema
from apl_bench.registry import BUILT_IN, ORACLES
from apl_bench.wording import safe

if TYPE_CHECKING:
    import jinja2

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LOADERS = {
    "jsonl": 'data = datasets.load_dataset("FOLDER", split="train")',
    "parquet": 'data = datasets.load_dataset("FOLDER", split="train")',
    "datasets": 'data = datasets.load_from_disk("FOLDER")["train"]',
}


@dataclass(frozen=True)
class Described:
    """A data set as its card describes it."""

    runs: Sequence[Acquired]
    style: Style
    format: str
    num_bytes: int  # in memory, as the hub's loader counts

    @property
    def num_rows(self) -> int:
        """Preferences of all runs."""
        return sum(len(run.rows) for run in self.runs)

    @property
    def origins(self) -> list[origins.Origin]:
        """Whose the prompts and the completions are, each once."""
        found = [origins.prompts_of(self.runs[0].run.manifest["data"])]
        found += [origins.policy_of(run.run.spec.policy.model) for run in self.runs]
        return list(dict.fromkeys(found))

    @property
    def by_people(self) -> bool:
        """Whether any label is by people."""
        return any(run.run.spec.oracle.name == "human" for run in self.runs)


def dataset_card(described: Described) -> str:
    """README.md: YAML between two lines of dashes, then Markdown."""
    return f"---\n{_header(described)}---\n\n{_template().render(_facts(described))}"


def run_table(acquired: Acquired) -> dict[str, Any]:
    """A run as the card and export.json list it."""
    spec = acquired.run.spec
    return {
        "identity": spec.identity,
        "task": spec.task.name,
        "preset": spec.preset,
        "strategy": strategy_label(spec),
        "seed": spec.seed,
        "num_labels": acquired.num_labels,
        "num_ties": acquired.num_ties,
        "num_invalid": acquired.num_invalid,
        "num_preferences": len(acquired.rows),
    }


def _header(described: Described) -> str:
    from huggingface_hub import DatasetCardData

    num, written = described.num_rows, FORMATS[described.format]
    split = {"name": SPLIT, "num_bytes": described.num_bytes, "num_examples": num}
    card = DatasetCardData(
        language=["en"],
        license=origins.joint(described.origins),
        annotations_creators=["other" if described.by_people else "machine-generated"],
        language_creators=["machine-generated"],
        pretty_name=_title(described),
        size_categories=[next((name for limit, name in _SIZES if num < limit), "n>10M")],
        source_datasets=["original"],
        task_categories=["text-generation"],
        tags=["apl-bench", "active-learning", "preference", "dpo", "trl"],
        configs=[{"config_name": "default", "data_files": [{"split": SPLIT, "path": written.data_files}]}],
        dataset_info={"features": features(schema(described.style)), "splits": [split]},
    )
    return card.to_yaml(line_break="\n").rstrip("\n") + "\n"


def _title(described: Described) -> str:
    presets = sorted({run.run.spec.preset for run in described.runs})
    return f"apl-bench preferences: {safe(described.runs[0].run.spec.task.name)}, {', '.join(map(safe, presets))}"


def _facts(described: Described) -> dict[str, Any]:
    runs, specs = described.runs, [run.run.spec for run in described.runs]
    data = ", ".join(f"{key} {value}" for key, value in runs[0].run.manifest["data"].items())
    return {
        "title": _title(described),
        "num_rows": described.num_rows,
        "num_labels": sum(run.num_labels for run in runs),
        "num_ties": sum(run.num_ties for run in runs),
        "num_invalid": sum(run.num_invalid for run in runs),
        "runs": [run_table(run) for run in runs],
        "data": data,
        "policies": _each(spec.policy.model for spec in specs),
        "regimes": _each(f"{spec.loop.regime}, {spec.training.beta}" for spec in specs),
        "oracles": _each(_oracle(spec.oracle.to_table()) for spec in specs),
        "versions": _each(_version(run.run.manifest.get("versions", {})) for run in runs),
        "style": described.style,
        "format": described.format,
        "columns": [{"name": column.name, "type": type_name(column.type), "meaning": column.meaning}
                    for column in PROVENANCE],
        "loader": _LOADERS[described.format],
        "beta": specs[0].training.beta,
        "by_people": described.by_people,
        "is_remote": any(not _is_own(spec.oracle.name) for spec in specs),
        "origins": [origin.sentence for origin in described.origins],
        "licence": origins.joint(described.origins),
    }  # fmt: skip


def _each(values: Any) -> list[str]:
    """Each once, in the order met."""
    return list(dict.fromkeys(values))


def _oracle(table: Mapping[str, Any]) -> str:
    parameters = ", ".join(f"{key}={value}" for key, value in table.items() if key != "name")
    return f"{table['name']}({parameters})" if parameters else str(table["name"])


def _version(versions: Mapping[str, Any]) -> str:
    return f"apl-bench {versions.get('apl-bench', 'of an unknown version')}"


def _is_own(oracle: str) -> bool:
    """Whether an oracle is a part of apl-bench and computes its answers here."""
    own = [entry.name for entry in ORACLES.entries() if entry.origin == BUILT_IN]
    return oracle in own and ORACLES.load(oracle).local


@cache
def _template() -> jinja2.Template:
    return template(files("apl_bench.export").joinpath("card.md").read_text(encoding="utf-8"))
