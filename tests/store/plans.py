"""How a database carries out queries: along which index, and without which detours."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event, text

from app.store.database import ReadConnection


def assert_walks(connection: ReadConnection, index: str, read: Callable[[], object]) -> None:
    """The query of a call reads an index in its order, from where it has to begin, and sorts
    nothing."""
    (query,) = _queries(read)
    if connection.dialect.name == "postgresql":
        nodes = _nodes(connection, *query)
        kinds = [node["Node Type"] for node in nodes]
        assert "Sort" not in kinds, nodes
        assert "Incremental Sort" not in kinds, nodes
        assert "Seq Scan" not in kinds, nodes
        assert index in [node.get("Index Name") for node in nodes], nodes
        (walk,) = [node for node in nodes if node.get("Index Name") == index]
        for bound in ("created_at", "id") if "ROW(" in str(nodes) else ():
            assert bound in walk["Index Cond"], walk
        return
    steps = _steps(connection, *query)
    assert not [step for step in steps if "TEMP B-TREE" in step], steps
    assert not [step for step in steps if step.startswith("SCAN") and index not in step], steps
    (walk_step,) = [step for step in steps if index in step]
    if "created_at) <" in query[0] or "(splits.created_at" in query[0]:
        assert "created_at" in walk_step.partition("(")[2], walk_step


def assert_finds_by_key(connection: ReadConnection, read: Callable[[], object]) -> None:
    """Every query of a call finds its rows by keys, and looks at no others."""
    for query in _queries(read):
        if connection.dialect.name == "postgresql":
            kinds = [node["Node Type"] for node in _nodes(connection, *query)]
            assert "Seq Scan" not in kinds, kinds
        else:
            steps = _steps(connection, *query)
            assert steps
            assert all(step.startswith(("SEARCH", "LIST SUBQUERY")) for step in steps), steps


def _queries(read: Callable[[], object]) -> list[tuple[str, Any]]:
    queries: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        queries.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        read()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return queries


def _steps(connection: ReadConnection, statement: str, parameters: Any) -> list[str]:
    """Of SQLite's plan."""
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return [step.detail for step in plan]


def _nodes(connection: ReadConnection, statement: str, parameters: Any) -> list[dict[str, Any]]:
    """Of PostgreSQL's plan. Of small tables it reads all; so these ways are made to look dear."""
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar()
    plan: Any = json.loads(found) if isinstance(found, str) else found
    waiting, nodes = [plan[0]["Plan"]], []
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += node.get("Plans", [])
    return nodes
