"""The analysts' door: ClickHouse's HTTP protocol over the embedded engine, for reading only.

chDB lets one process open a folder. While a server has it open, every other program (notebooks,
`desirepath funnel`, Grafana, DBeaver, clickhouse-connect) reads through this port as if it were a
ClickHouse server. What may run is decided on the engine's own parse of the statement, never on its
text, and each query runs on a handle of its own that is read-only and limited.
"""

from desirepath_collector.clickhouse_http.limits import Limits
from desirepath_collector.clickhouse_http.server import Door, start

__all__ = ["Door", "Limits", "start"]
