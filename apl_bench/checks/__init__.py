"""The conformance kit: what is wrong with a strategy, an oracle, a wrapper or a task, before a label is paid for.

Needs no model, no network and no data: plugins are tried on toy policies whose every number has a closed form.
"""

from apl_bench.checks.oracles import check_oracle
from apl_bench.checks.strategies import check_strategy
from apl_bench.checks.tasks import check_task
from apl_bench.checks.wrappers import check_wrapper
from apl_bench.contract import Finding

__all__ = ["Finding", "check_oracle", "check_strategy", "check_task", "check_wrapper"]
