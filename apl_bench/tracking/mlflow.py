"""MLflow: runs of the experiment `apl-bench/<task>-<preset>`, on a server, in a database or in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apl_bench.tracking.rows import Place, Row
from apl_bench.tracking.tracker import Subject

if TYPE_CHECKING:
    from mlflow.entities import Run

IDENTITY = "apl_bench.identity"  # the tag by which a run is found again
_MOST_PARAMS = 100  # in one call


class MLflow:
    """Metrics by the time of their event, and the spec as parameters. The server says what is there already.

    `argument` is a tracking URI, such as sqlite:///mlflow.db; without one it is MLflow's own (MLFLOW_TRACKING_URI).
    """

    def __init__(self, argument: str | None) -> None:
        self._uri = argument
        self._client: Any = None
        self._run_id = ""

    def begin(self, run: Subject) -> set[Place]:
        """Find the run by its identity, or create it."""
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)
        experiment = self._experiment(f"apl-bench/{run.comparison}")
        query = f"tags.`{IDENTITY}` = '{run.identity}'"
        found: list[Run] = self._client.search_runs([experiment], filter_string=query, max_results=1)
        if not found:
            self._create(experiment, run)
            return set()
        self._run_id = found[0].info.run_id
        self._client.update_run(self._run_id, status="RUNNING")
        names = list(found[0].data.metrics)
        return {(name, point.step) for name in names for point in self._client.get_metric_history(self._run_id, name)}

    def log(self, row: Row) -> None:
        """One call for the row."""
        from mlflow.entities import Metric

        time_ms = round(row.time_s * 1000)
        metrics = [Metric(name, value, time_ms, row.x) for name, value in row.values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def end(self, complete: bool) -> None:
        """FINISHED, or KILLED until the run goes on."""
        self._client.set_terminated(self._run_id, "FINISHED" if complete else "KILLED")

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        identifier: str = known.experiment_id if known else self._client.create_experiment(name)
        return identifier

    def _create(self, experiment: str, run: Subject) -> None:
        from mlflow.entities import Param

        tags = {IDENTITY: run.identity, "apl_bench.strategy": run.strategy}
        self._run_id = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in run.config.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run_id, params=params[start : start + _MOST_PARAMS])
