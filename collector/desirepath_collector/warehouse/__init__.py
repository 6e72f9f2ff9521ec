"""ClickHouse, as the rest of Desirepath sees it: open, insert, ask.

from desirepath_collector.warehouse import Sql, connect
table = connect("./data").query(Sql("SELECT count() FROM resolved_events"))
"""

from desirepath_collector.warehouse.folder import (
    ServerFile,
    read_server_file,
    remove_server_file,
    write_server_file,
)
from desirepath_collector.warehouse.rows import EventRow, QuarantineRow
from desirepath_collector.warehouse.sql import Sql, identifier, literal
from desirepath_collector.warehouse.store import DEFAULT_DATABASE, Warehouse, connect

__all__ = [
    "DEFAULT_DATABASE",
    "EventRow",
    "QuarantineRow",
    "ServerFile",
    "Sql",
    "Warehouse",
    "connect",
    "identifier",
    "literal",
    "read_server_file",
    "remove_server_file",
    "write_server_file",
]
