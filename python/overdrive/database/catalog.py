"""What the database says about its tables, views and functions."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overdrive.database import _lexer
from overdrive.database._sql import Name

if TYPE_CHECKING:
    from overdrive.database._asyncpg import Connection

__all__ = ["TRIGGER", "Catalog", "Function", "Relation", "load"]

TRIGGER = "overdrive_notify_change"
"""Name of the triggers, and of their function, that report changes."""

# Extensions whose functions neither write tables nor change the session.
_HARMLESS_EXTENSIONS = [
    "btree_gin", "btree_gist", "citext", "cube", "fuzzystrmatch", "hstore", "intarray", "isn",
    "ltree", "pg_trgm", "pgcrypto", "plpgsql", "postgis", "seg", "unaccent", "uuid-ossp", "vector",
]  # fmt: skip

_RELATIONS = """
    select c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relrowsecurity,
        (select coalesce(array_agg(t.tgfoid), '{}') from pg_trigger t
         where t.tgrelid = c.oid and not t.tgisinternal and t.tgname <> $1) as triggers,
        exists (select from pg_rewrite r where r.ev_class = c.oid and r.ev_type <> '1') as rules,
        case when c.relkind = 'v' then pg_get_viewdef(c.oid) end as definition,
        (select coalesce(array_agg(a.attname::text order by a.attnum), '{}') from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
        exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
            and (a.attidentity = 'a' or a.attgenerated <> '')) as generated,
        (select a.attname::text from pg_index i join pg_attribute a
            on a.attrelid = c.oid and a.attnum = i.indkey[0]
         where i.indrelid = c.oid and i.indisprimary and i.indnkeyatts = 1
            and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) as key
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname not in
        ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
"""
_PARENTS = "select inhrelid, inhparent from pg_inherits"
_SOURCES = """
    select distinct r.ev_class, d.refobjid from pg_depend d
    join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    where d.refclassid = 'pg_class'::regclass and r.ev_class <> d.refobjid
"""
_CASCADES = """
    select confrelid, conrelid from pg_constraint
    where contype = 'f' and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd'))
"""
_BUILTINS = """
    select proname::text, max(case provolatile when 'v' then 2 when 's' then 1 else 0 end)
    from pg_proc p where pronamespace in ('pg_catalog'::regnamespace,
        'information_schema'::regnamespace) or exists (select from pg_depend d
        join pg_extension e on d.refobjid = e.oid where d.classid = 'pg_proc'::regclass
        and d.objid = p.oid and d.refclassid = 'pg_extension'::regclass
        and d.deptype = 'e' and e.extname = any($1))
    group by proname
"""
_FUNCTIONS = """
    select p.oid, p.proname::text, p.provolatile = 'i' as immutable,
        p.provolatile = 'v' as volatile, p.prosrc, l.lanname in ('sql', 'plpgsql') as readable,
        exists (select from pg_depend d where d.refclassid = 'pg_proc'::regclass
        and d.refobjid = p.oid
        and d.classid not in ('pg_trigger'::regclass, 'pg_rewrite'::regclass,
        'pg_proc'::regclass,
        'pg_event_trigger'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)) as hidden,
        exists (select from pg_depend d where d.refclassid = 'pg_proc'::regclass
        and d.refobjid = p.oid and d.classid in ('pg_attrdef'::regclass,
        'pg_constraint'::regclass)) as in_changes
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and p.proname !~ $2 and not exists (select from pg_depend d
        join pg_extension e on d.refobjid = e.oid where d.classid = 'pg_proc'::regclass
        and d.objid = p.oid and d.refclassid = 'pg_extension'::regclass
        and d.deptype = 'e' and e.extname = any($1))
"""

# In the body of a function: what may change the session it runs in.
_CHANGES_SESSION = re.compile(
    r"set_config|advisory|dblink|\b(?:execute|listen|unlisten|prepare|deallocate|discard|reset|lock"
    r"|load|declare\s+\w+\s+.*\bhold)\b|\bset\s+(?:local\s+|session\s+)?[\w.]+\s*(?:to\b|=|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like; `key` is the column of a primary key of one integer."""

    oid: int
    name: Name
    kind: str
    persistence: str
    row_security: bool
    triggers: tuple[int, ...]
    rules: bool
    definition: str | None
    columns: tuple[str, ...]
    generated: bool
    key: str | None


@dataclass(frozen=True, slots=True)
class Function:
    """All functions of one name that are neither PostgreSQL's own nor a known extension's.

    Attributes:
        immutable: Whether the result depends on the arguments only.
        volatile: Whether it may do anything, such as write.
        changes_session: Whether its text may change settings, locks or the like.
        hidden: Whether policies, operators or casts use it, where no statement shows it.
        in_changes: Whether defaults or checks use it, where no change shows it.
    """

    immutable: bool
    volatile: bool
    changes_session: bool
    hidden: bool
    in_changes: bool


class Catalog:
    """One reading of the system catalogs.

    Args:
        relations: All relations but the system's own.
        parents: Pairs of partition or child, and parent.
        sources: Pairs of view, and relation in it.
        cascades: Pairs of table, and table that a delete or update of the first may change.
        builtins: PostgreSQL's own functions by name: 0 is immutable, 1 stable, 2 volatile.
        functions: The others, by name.
        session_triggers: Trigger functions that may change the session.
        search_path: Schemas in which names are looked up.
    """

    def __init__(
        self,
        *,
        relations: Iterable[Relation],
        parents: Iterable[tuple[int, int]],
        sources: Iterable[tuple[int, int]],
        cascades: Iterable[tuple[int, int]],
        builtins: Mapping[str, int],
        functions: Mapping[str, Function],
        session_triggers: Iterable[int],
        search_path: Iterable[str],
    ) -> None:
        self.relations = {relation.oid: relation for relation in relations}
        self.builtins = builtins
        self.functions = functions
        self.session_triggers = frozenset(session_triggers)
        self.search_path = tuple(search_path)
        self.any_changes_session = any(f.changes_session for f in functions.values())
        self.hidden = _worst(f for f in functions.values() if f.hidden)
        self.in_changes = _worst(f for f in functions.values() if f.in_changes)
        self._by_name = {relation.name: relation for relation in self.relations.values()}
        self._children: dict[int, set[int]] = defaultdict(set)
        self._parents: dict[int, set[int]] = defaultdict(set)
        for child, parent in parents:
            self._children[parent].add(child)
            self._parents[child].add(parent)
        self._sources: dict[int, set[int]] = defaultdict(set)
        for view, source in sources:
            self._sources[view].add(source)
        self._cascades: dict[int, set[int]] = defaultdict(set)
        for table, other in cascades:
            self._cascades[table].add(other)

    def find(self, name: Name) -> Relation | None:
        """Look a relation up as PostgreSQL would, temporary tables aside."""
        if name.schema is not None:
            return self._by_name.get(name)
        for schema in self.search_path:
            relation = self._by_name.get(Name(schema, name.name))
            if relation is not None:
                return relation
        return None

    def read_by(self, oids: Iterable[int]) -> frozenset[int]:
        """Return all relations whose rows a query of these relations may show."""
        return self._closure(oids, self._children, self._sources)

    def written_by(self, oids: Iterable[int]) -> frozenset[int]:
        """Return all relations whose rows a change of these may change, triggers aside."""
        return self._closure(oids, self._children, self._sources, self._cascades)

    def stands_alone(self, relation: Relation) -> bool:
        """Whether a change of its rows changes those rows and nothing else."""
        return (
            relation.kind == "r"
            and not relation.triggers
            and not relation.rules
            and not self._cascades.get(relation.oid)
            and not self._children.get(relation.oid)
            and not self._parents.get(relation.oid)
        )

    def family(self, oid: int) -> frozenset[int]:
        """Return a table with everything it inherits from and that inherits from it."""
        return self._closure([oid], self._parents) | self._closure([oid], self._children)

    @staticmethod
    def _closure(start: Iterable[int], *steps: Mapping[int, set[int]]) -> frozenset[int]:
        found: set[int] = set()
        todo = list(start)
        while todo:
            oid = todo.pop()
            if oid not in found:
                found.add(oid)
                for step in steps:
                    todo.extend(step.get(oid, ()))
        return frozenset(found)


async def load(connection: "Connection", *, timeout: float) -> Catalog:
    """Read the system catalogs."""

    async def rows(query: str, *args: Any) -> list[Any]:
        found: list[Any] = await connection.fetch(query, *args, timeout=timeout)
        return found

    functions = await rows(_FUNCTIONS, _HARMLESS_EXTENSIONS, f"^{TRIGGER}")
    suspects = _suspects(functions)
    by_name: dict[str, list[Any]] = defaultdict(list)
    for function in functions:
        by_name[function["proname"]].append(function)
    return Catalog(
        relations=[_relation(row) for row in await rows(_RELATIONS, TRIGGER)],
        parents=await rows(_PARENTS),
        sources=await rows(_SOURCES),
        cascades=await rows(_CASCADES),
        builtins=dict(await rows(_BUILTINS, _HARMLESS_EXTENSIONS)),
        functions={
            name: Function(
                immutable=all(f["immutable"] for f in group),
                volatile=any(f["volatile"] for f in group),
                changes_session=name in suspects,
                hidden=any(f["hidden"] for f in group),
                in_changes=any(f["in_changes"] for f in group),
            )
            for name, group in by_name.items()
        },
        session_triggers=[f["oid"] for f in functions if f["proname"] in suspects],
        search_path=(await rows("select current_schemas(false)"))[0][0],
    )


def _relation(row: Any) -> Relation:
    oid, schema, name, kind, persistence, security, triggers, rules, definition, *rest = row
    return Relation(
        oid, Name(schema, name), kind, persistence, security, tuple(triggers), rules, definition,
        tuple(rest[0]), *rest[1:],
    )  # fmt: skip


def _worst(functions: Iterable[Function]) -> tuple[bool, bool]:
    """Return whether one is volatile, and whether one changes the session."""
    group = list(functions)
    return any(f.volatile for f in group), any(f.changes_session for f in group)


def _suspects(functions: Iterable[Any]) -> set[str]:
    """Return the names of functions that may change the session, directly or by others."""
    words: dict[str, set[str]] = defaultdict(set)
    suspects: set[str] = set()
    for function in functions:
        name, body = function["proname"], function["prosrc"] or ""
        lexed = _lexer.lex(body)
        if lexed is None or not function["readable"] or _CHANGES_SESSION.search(body):
            suspects.add(name)
        else:
            words[name] |= lexed.words
    while more := {name for name, used in words.items() if used & suspects} - suspects:
        suspects |= more
    return suspects
