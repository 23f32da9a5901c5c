"""Everything that touches the package `sqlglot`, which parses SQL; imported when first wanted."""

from typing import Any, NamedTuple

from overdrive.errors import missing_extra

try:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
except ImportError as error:
    raise missing_extra("sqlglot", "database") from error

__all__ = ["Insert", "Name", "Tree", "parse"]


class Name(NamedTuple):
    """The name of a relation; `schema` is `None` where the search path decides."""

    schema: str | None
    name: str


class Insert(NamedTuple):
    """An `INSERT INTO table (columns) VALUES ($1, ..., $n)` and nothing more."""

    table: Name
    columns: tuple[str, ...] | None
    width: int


class Tree(NamedTuple):
    """What the parse tree of one query or change says.

    Attributes:
        reads: Relations named anywhere in it, those it writes included.
        writes: Relations it inserts into, updates, deletes from, merges into or truncates.
        own_names: Names it gives to its own queries (`WITH`), which are no relations.
        locks: Whether it locks rows, as by `FOR UPDATE`.
        creates: Whether it makes a table, as by `SELECT INTO`.
        insert: Its shape, if it is a plain insert of parameters.
        equal: Columns that must equal a parameter, and which, if it is about one table only.
        assigned: Columns that an update assigns; `None` if that is not plain to see.
    """

    reads: frozenset[Name]
    writes: frozenset[Name]
    own_names: frozenset[str]
    locks: bool
    creates: bool
    insert: Insert | None
    equal: tuple[tuple[str, int], ...]
    assigned: frozenset[str] | None


_CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
_ROOTS = (exp.Query, exp.Values, exp.TruncateTable, *_CHANGES)


def parse(clean: str) -> Tree | None:
    """Parse one statement whose literals are plain; `None` if it is of another kind."""
    try:
        root = sqlglot.parse_one(clean, read="postgres")
    except (SqlglotError, RecursionError):
        return None
    if not isinstance(root, _ROOTS):
        return None
    reads = {name for table in root.find_all(exp.Table) if (name := _name(table)) is not None}
    writes: set[Name] = set()
    for change in root.find_all(*_CHANGES):
        name = _target(change)
        if name is None:
            return None
        writes.add(name)
    if isinstance(root, exp.TruncateTable):
        writes |= reads
    return Tree(
        reads=frozenset(reads),
        writes=frozenset(writes),
        own_names=frozenset(_fold(c.args["alias"].this) for c in root.find_all(exp.CTE)),
        locks=root.find(exp.Lock) is not None,
        creates=root.find(exp.Into) is not None,
        insert=_plain_insert(root) if isinstance(root, exp.Insert) else None,
        equal=_equal(root),
        assigned=_assigned(root),
    )


def _fold(identifier: exp.Expression) -> str:
    name: str = identifier.name
    return name if identifier.args.get("quoted") else name.lower()


def _name(table: exp.Expression | None) -> Name | None:
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        return None
    schema = table.args.get("db")
    return Name(None if schema is None else _fold(schema), _fold(table.this))


def _target(change: exp.Expression) -> Name | None:
    target = change.this
    return _name(target.this if isinstance(target, exp.Schema) else target)


def _equal(root: Any) -> tuple[tuple[str, int], ...]:
    """Return the columns that all rows concerned have equal to a parameter."""
    where = root.args.get("where")
    if (
        not isinstance(root, exp.Select | exp.Update | exp.Delete)
        or not isinstance(where, exp.Where)
        or len(list(root.find_all(exp.Table))) != 1
        or root.find(exp.CTE) is not None
    ):
        return ()
    found = []
    conditions = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    for condition in conditions:
        sides = (condition.this, condition.args.get("expression"))
        for column, parameter in (sides, sides[::-1]):
            if (
                type(condition) is exp.EQ
                and isinstance(column, exp.Column)
                and isinstance(parameter, exp.Parameter)
                and parameter.name.isdigit()
            ):
                found.append((_fold(column.this), int(parameter.name)))
    return tuple(found)


def _assigned(root: Any) -> frozenset[str] | None:
    """Return which columns an update assigns; a statement of another kind assigns none."""
    if not isinstance(root, exp.Update):
        return frozenset()
    names = set()
    for item in root.expressions:
        if type(item) is not exp.EQ or not isinstance(item.this, exp.Column):
            return None
        names.add(_fold(item.this.this))
    return frozenset(names)


def _filled(node: exp.Expression) -> set[str]:
    return {key for key, value in node.args.items() if value}


def _plain_insert(insert: exp.Insert) -> Insert | None:
    values, target = insert.expression, insert.this
    if _filled(insert) != {"this", "expression"} or not isinstance(values, exp.Values):
        return None
    row = values.expressions[0]
    if len(values.expressions) != 1 or _filled(values) != {"expressions"}:
        return None
    items = row.expressions if isinstance(row, exp.Tuple) else [row]
    numbers = [item.name for item in items if isinstance(item, exp.Parameter)]
    if numbers != [str(i + 1) for i in range(len(items))]:
        return None
    columns = None
    if isinstance(target, exp.Schema):
        columns = tuple(_fold(c) for c in target.expressions if isinstance(c, exp.Identifier))
        target = target.this
    name = _name(target)
    if name is None or target.args.get("alias") or len(columns or items) != len(items):
        return None
    return Insert(name, columns, len(items))
