"""What is known about a statement before it runs.

Whatever cannot be decided is decided for the safe side: the connection is reset, the statement goes
to the primary, its result is not kept, and all kept results are dropped after it.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from overdrive.database import _lexer
from overdrive.database._histogram import Histogram
from overdrive.database._sql import Insert, Tree, parse
from overdrive.database.catalog import Catalog, Relation

__all__ = ["EVERYTHING", "NOTHING", "Analyst", "Verdict"]

EVERYTHING: Final = None
"""The effect of a statement that may have changed any table."""

NOTHING: Final[frozenset[int]] = frozenset()

_PARSED = frozenset({"select", "with", "values", "table", "(", "insert", "update", "delete",
                     "merge", "truncate"})  # fmt: skip
# They change the session or nothing, but no rows.
_SESSION = frozenset({"set", "reset", "show", "listen", "unlisten", "notify", "lock", "vacuum",
                      "analyze", "checkpoint", "deallocate", "discard", "close", "fetch", "move",
                      "declare"})  # fmt: skip
_CONTROL = {
    "begin": "begin", "start": "begin", "commit": "commit", "end": "commit", "rollback": "rollback",
    "abort": "rollback", "savepoint": "savepoint", "release": "savepoint",
}  # fmt: skip
_WRITING_WORDS = frozenset({"insert", "update", "delete", "merge", "into", "truncate"})
# Functions whose effect outlives their statement.
_SESSION_CALL = re.compile(r"^set_config$|advisory(?!_xact)|^dblink|^lo_|^pg_logical"
                           r"|^query_to_xml|^cursor_to_xml"
                           r"|^pg_(?:export|replication|reload|terminate)")  # fmt: skip
_TIME = re.compile(r"\b(?:now|today|tomorrow|yesterday|allballs)\b", re.IGNORECASE)
_NO_RESULT_TO_KEEP = frozenset({
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
    "current_user", "current_role", "session_user", "user", "system_user", "current_catalog",
    "current_schema", "tablesample", "ctid", "xmin", "xmax", "cmin", "cmax",
})  # fmt: skip
# Stable functions that depend on nothing but arguments and settings that all connections share.
_STABLE_BUT_SAME = frozenset({
    "array_agg", "array_to_json", "array_to_string", "concat", "concat_ws", "date", "date_bin",
    "date_part", "date_trunc", "extract", "format", "json_agg", "json_build_array",
    "json_build_object", "json_object_agg", "json_populate_record", "json_to_record",
    "json_to_recordset", "jsonb_agg", "jsonb_build_array", "jsonb_build_object",
    "jsonb_object_agg", "jsonb_to_record", "jsonb_to_recordset", "left", "length", "lower",
    "make_timestamptz", "phraseto_tsquery", "plainto_tsquery", "quote_literal", "row_to_json",
    "string_agg", "substring", "text", "timestamptz", "timezone", "to_char", "to_date", "to_json",
    "to_jsonb", "to_number", "to_timestamp", "to_tsquery", "to_tsvector", "trim", "ts_headline",
    "upper", "websearch_to_tsquery",
})  # fmt: skip


@dataclass(slots=True, eq=False)
class Verdict:
    """What is known about one text.

    Attributes:
        normal: The text without its literals.
        quiet: Whether it is one that needs no attention after it ran: no reset, no effect.
        session_safe: Whether the session is afterwards as it was.
        read_only: Whether it can only read, so that a replica may run it.
        keeps: The tables its result depends on, if the result may be kept.
        effects: The tables it may change; `EVERYTHING` is all.
        control: Whether it begins or ends a transaction: "begin", "commit", "rollback", "mixed".
        changes_schema: Whether it may change what the catalogs say.
        insert: Its shape, if it is a plain insert of parameters.
        single: Whether it is exactly one statement.
        row: The table, and the parameter that is the primary key, if it reads or changes nothing
            but the row with that key.
    """

    normal: str
    session_safe: bool = False
    read_only: bool = False
    keeps: frozenset[int] | None = None
    effects: frozenset[int] | None = EVERYTHING
    control: str | None = None
    changes_schema: bool = True
    insert: Insert | None = None
    single: bool = True
    row: tuple[int, int] | None = None
    quiet: bool = False
    calls: int = 0
    errors: int = 0
    rows: int = 0
    times: Histogram = field(default_factory=Histogram)


class Analyst:
    """Looks texts up, and works out what is not known yet.

    Args:
        size: How many texts are remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = max(size, 1)
        self._known: OrderedDict[str, Verdict] = OrderedDict()
        self.catalog: Catalog | None = None
        self.stale = False

    def look(self, text: str) -> Verdict:
        """Say what is known about a text; nothing is while the catalogs are being read again."""
        if self.stale:
            old = self._known.get(text)
            return self._judge_blindly(text) if old is None or old.control is None else old
        verdict = self._known.get(text)
        if verdict is None:
            verdict = self._known[text] = self._judge(text)
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return verdict

    def learn(self, catalog: Catalog | None) -> None:
        """Use a new reading of the catalogs. What was measured is kept."""
        self.stale = False
        self.catalog = catalog
        for text, old in self._known.items():
            new = self._judge(text)
            new.calls, new.errors, new.rows, new.times = old.calls, old.errors, old.rows, old.times
            self._known[text] = new

    def _judge_blindly(self, text: str) -> Verdict:
        lexed = _lexer.lex(text)
        if lexed is None or len(lexed.parts) != 1:
            return Verdict("(unreadable)" if lexed is None else lexed.normal, single=False)
        verdict = Verdict(lexed.normal)
        if lexed.parts[0].first in _PARSED:
            verdict.changes_schema = False
        else:
            _judge_command(verdict, lexed.parts[0].first, lexed.words)
        return verdict

    def verdicts(self) -> list[Verdict]:
        """Return all verdicts."""
        return list(self._known.values())

    def _judge(self, text: str) -> Verdict:
        lexed = _lexer.lex(text)
        if lexed is None or not lexed.parts:
            return Verdict("(unreadable)" if lexed is None else "", single=False)
        verdict = Verdict(lexed.normal, single=len(lexed.parts) == 1)
        if verdict.single and (first := lexed.parts[0].first) not in _PARSED:
            _judge_command(verdict, first, lexed.words)
            return verdict
        if any(part.first not in _PARSED for part in lexed.parts):
            verdict.control = "mixed"
            return verdict
        verdict.changes_schema = False
        trees = [parse(part.clean) for part in lexed.parts]
        if self.catalog is not None and None not in trees:
            found = [tree for tree in trees if tree is not None]
            _Judgement(self.catalog, lexed, found).fill(verdict)
        if any(tree is not None and tree.creates for tree in trees):
            verdict.changes_schema = True
            verdict.effects = EVERYTHING
        verdict.quiet = verdict.session_safe and verdict.effects == NOTHING
        return verdict


def _judge_command(verdict: Verdict, first: str, words: frozenset[str]) -> None:
    if first in _CONTROL and "chain" in words:
        verdict.control = "mixed"
    elif first in _CONTROL and "prepared" not in words:
        verdict.control = _CONTROL[first]
        if first == "rollback" and "to" in words:
            verdict.control = "savepoint"
        verdict.session_safe = True
        verdict.effects = NOTHING
        verdict.changes_schema = False
    elif first in _SESSION or (first == "explain" and not words & {"analyze", "analyse"}):
        verdict.effects = NOTHING
        verdict.changes_schema = False


class _Judgement:
    """The verdict about queries and changes of rows."""

    def __init__(self, catalog: Catalog, lexed: _lexer.Lexed, trees: list[Tree]) -> None:
        self._catalog = catalog
        self._trees = trees
        writing = lexed.words & _WRITING_WORDS
        if any(tree.locks for tree in trees):
            writing -= {"update"}
        self._says_so = not writing
        self._words = set(lexed.words)
        self._calls = set(lexed.calls)
        self._strings = lexed.strings
        self._unknown = False
        self._reads: dict[int, Relation] = {}
        self._read_names()
        self._own = [catalog.functions[w] for w in self._words if w in catalog.functions]

    def _read_names(self) -> None:
        """Find all relations, those inside views included, and all words, likewise."""
        own = frozenset[str]().union(*(tree.own_names for tree in self._trees))
        for name in frozenset().union(*(tree.reads for tree in self._trees)):
            relation = self._catalog.find(name)
            if relation is not None:
                self._reads[relation.oid] = relation
            elif name.schema is not None or name.name not in own:
                self._unknown = True
        for oid in self._catalog.read_by(self._reads):
            relation = self._catalog.relations.get(oid)
            if relation is None:
                self._unknown = True
                continue
            self._reads[oid] = relation
            if relation.definition is not None:
                self._read_view(relation.definition)

    def _read_view(self, definition: str) -> None:
        lexed = _lexer.lex(definition)
        tree = parse(lexed.parts[0].clean) if lexed is not None and lexed.parts else None
        if lexed is None or tree is None:
            self._unknown = True
            return
        self._words |= lexed.words
        self._calls |= lexed.calls
        self._strings += lexed.strings
        for name in tree.reads:
            if self._catalog.find(name) is None and name.name not in tree.own_names:
                self._unknown = True

    def fill(self, verdict: Verdict) -> None:
        """Fill in what this says."""
        catalog = self._catalog
        writes = any(tree.writes for tree in self._trees)
        locks = any(tree.locks or tree.creates for tree in self._trees)
        volatile = (
            any(function.volatile for function in self._own)
            or catalog.hidden[0]
            or (writes and catalog.in_changes[0])
        )
        varies = volatile or any(catalog.builtins.get(call, 0) > 1 for call in self._calls)
        verdict.effects = self._effects(known=not volatile and (writes or self._says_so))
        verdict.session_safe = self._is_session_safe(writes=writes)
        verdict.read_only = (
            not writes and self._says_so and not locks and not varies and verdict.session_safe
        )
        if verdict.read_only and verdict.single and self._may_be_kept():
            verdict.keeps = frozenset(self._reads)
        if verdict.single:
            verdict.insert = self._trees[0].insert
            if verdict.keeps is not None or verdict.effects:
                verdict.row = self._row(self._trees[0])

    def _row(self, tree: Tree) -> tuple[int, int] | None:
        """Find the one row that it is about."""
        if len(self._reads) != 1 or len(tree.reads) != 1:
            return None
        relation = next(iter(self._reads.values()))
        key = relation.key
        if key is None or not self._catalog.stands_alone(relation):
            return None
        if tree.insert is not None:
            columns = (tree.insert.columns or relation.columns)[: tree.insert.width]
            return (relation.oid, columns.index(key) + 1) if key in columns else None
        if tree.assigned is None or key in tree.assigned:
            return None
        return next(((relation.oid, n) for column, n in tree.equal if column == key), None)

    def _effects(self, *, known: bool) -> frozenset[int] | None:
        if not known or {"truncate", "cascade"} <= self._words:
            return EVERYTHING
        targets = [self._catalog.find(n) for tree in self._trees for n in tree.writes]
        oids = [relation.oid for relation in targets if relation is not None]
        if len(oids) < len(targets):
            return EVERYTHING
        effects = self._catalog.written_by(oids)
        for oid in effects:
            relation = self._catalog.relations.get(oid)
            if relation is None or relation.triggers or relation.rules:
                return EVERYTHING
        return effects

    def _is_session_safe(self, *, writes: bool) -> bool:
        catalog = self._catalog
        if (
            catalog.hidden[1]
            or (writes and catalog.in_changes[1])
            or any(function.changes_session for function in self._own)
            or any(_SESSION_CALL.search(call) for call in self._calls)
        ):
            return False
        if not writes or not catalog.any_changes_session:
            return True
        oids = catalog.written_by(self._reads)
        return not any(oid in catalog.relations and catalog.relations[oid].triggers for oid in oids)

    def _may_be_kept(self) -> bool:
        if self._unknown or not self._reads or self._words & _NO_RESULT_TO_KEEP:
            return False
        if any(_TIME.search(text) for text in self._strings):
            return False
        if not all(
            r.kind in {"r", "p", "v", "m"} and r.persistence != "t" and not r.row_security
            for r in self._reads.values()
        ):
            return False
        builtins = self._catalog.builtins
        return all(function.immutable for function in self._own) and all(
            builtins.get(call, 0) == 0 or call in _STABLE_BUT_SAME for call in self._calls
        )
