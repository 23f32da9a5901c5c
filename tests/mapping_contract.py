"""What every mutable mapping promises; `dict` passes it too, which tests the tests."""

import copy
import pickle
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView

import pytest


class Colliding:
    """A key whose hash is always the same and whose equality calls a function."""

    def __init__(self, value, on_compare=lambda: None):
        self.value = value
        self.on_compare = on_compare

    def __hash__(self):
        return 1

    def __eq__(self, other):
        self.on_compare()
        return isinstance(other, Colliding) and self.value == other.value


class Text(str):
    """A `str` that is not exactly one."""

    __slots__ = ()


class LikeText:
    """A key that says to be equal to a `str`."""

    def __init__(self, text):
        self.text = text

    def __hash__(self):
        return hash(self.text)

    def __eq__(self, other):
        return self.text == other


class MappingContract:
    make = dict

    def filled(self):
        mapping = self.make()
        mapping.update(a=1, b=2)
        return mapping

    def test_it_is_a_mutable_mapping(self):
        assert isinstance(self.make(), MutableMapping)
        assert isinstance(self.make(), Mapping)

    def test_it_matches_mapping_patterns(self):
        match self.filled():
            case {"a": 1, "b": found}:
                assert found == 2
            case _:
                pytest.fail("no match")

    def test_get_gives_the_default_for_a_missing_key(self):
        assert self.filled().get("a") == 1
        assert self.filled().get("c") is None
        assert self.filled().get("c", 3) == 3

    @pytest.mark.parametrize("key", ["a", Text("a"), "ä", "\N{SNOWMAN}", "\N{FOX FACE}" * 9, 1])
    def test_a_key_of_any_kind_is_found_by_an_equal_one(self, key):
        mapping = self.make()
        mapping[key] = 1
        equal = str(key)[:1] + str(key)[1:] if isinstance(key, str) else key + 0.0
        assert mapping.get(equal) == mapping[equal] == 1
        assert mapping.get(equal, 2) == 1
        assert equal in mapping
        assert mapping.get(str(key) * 2) is None

    def test_a_str_is_found_by_what_says_to_be_equal_to_it_and_the_other_way_round(self):
        mapping = self.make()
        mapping[LikeText("a")] = 1
        assert mapping.get("a") == mapping["a"] == 1
        assert mapping.get("b", 2) == 2
        mapping["c"] = 3
        assert mapping.get(LikeText("c")) == 3

    def test_get_takes_one_or_two_arguments(self):
        mapping = self.filled()
        for call in (
            mapping.get,
            lambda: mapping.get("a", 1, 2),
            lambda: mapping.get("a", other=1),
            lambda: type(mapping).get(1, "a"),
        ):
            with pytest.raises(TypeError):
                call()
        assert type(mapping).get(mapping, "a") == 1
        get = mapping.get
        assert [get("a"), get("c"), get("c", 3)] == [1, None, 3]

    @pytest.mark.parametrize("key", ["c", 3, None, (1, 2), ()])
    def test_a_missing_key_raises_key_error_with_the_key(self, key):
        mapping = self.filled()
        for use in (mapping.__getitem__, mapping.__delitem__, mapping.pop):
            with pytest.raises(KeyError) as caught:
                use(key)
            assert caught.value.args == (key,)

    def test_an_unhashable_key_raises_type_error(self):
        mapping = self.make()
        with pytest.raises(TypeError, match="unhashable"):
            mapping[[]] = 1
        with pytest.raises(TypeError, match="unhashable"):
            mapping.get([])
        with pytest.raises(TypeError, match="unhashable"):
            assert [] in mapping

    def test_pop_takes_the_value_or_gives_the_default(self):
        mapping = self.filled()
        assert mapping.pop("a") == 1
        assert mapping.pop("a", None) is None
        assert mapping.pop("a", 5) == 5
        assert dict(mapping) == {"b": 2}

    def test_popitem_takes_every_pair_once_and_then_raises_key_error(self):
        mapping = self.filled()
        assert {mapping.popitem(), mapping.popitem()} == {("a", 1), ("b", 2)}
        with pytest.raises(KeyError):
            mapping.popitem()

    def test_setdefault_keeps_what_is_there(self):
        mapping = self.make()
        assert mapping.setdefault("a", 1) == 1
        assert mapping.setdefault("a", 2) == 1
        assert mapping.setdefault("b") is None
        assert mapping == {"a": 1, "b": None}

    def test_update_takes_mappings_pairs_and_keywords(self):
        class HasKeys:
            def keys(self):
                return ["x"]

            def __getitem__(self, key):
                return key * 2

        mapping = self.make()
        mapping.update()
        mapping.update({"a": 1})
        mapping.update([("b", 2), ["c", 3], "de"])
        mapping.update(HasKeys())
        mapping.update({"a": 4}, f=5)
        mapping.update(self.filled())
        assert mapping == {"a": 1, "b": 2, "c": 3, "d": "e", "x": "xx", "f": 5}

    @pytest.mark.parametrize(
        ("source", "error"),
        [(1, TypeError), ([1], TypeError), (["abc"], ValueError), ([()], ValueError)],
    )
    def test_update_refuses_what_has_no_pairs(self, source, error):
        with pytest.raises(error):
            self.make().update(source)

    def test_update_refuses_a_second_mapping(self):
        with pytest.raises(TypeError):
            self.make().update({}, {})

    def test_update_with_itself_changes_nothing(self):
        mapping = self.filled()
        mapping.update(mapping)
        assert mapping == {"a": 1, "b": 2}

    def test_the_stored_key_stays_when_an_equal_one_is_stored(self):
        mapping = self.make()
        mapping[1] = "int"
        mapping[True] = "bool"
        assert list(map(repr, mapping)) == ["1"]
        assert mapping[1.0] == "bool"

    def test_a_value_that_is_none_is_there(self):
        mapping = self.make()
        mapping["a"] = None
        assert "a" in mapping
        assert mapping["a"] is None
        assert mapping.pop("a", "default") is None

    def test_nan_is_found_by_identity(self):
        nan = float("nan")
        mapping = self.make()
        mapping[nan] = 1
        assert mapping[nan] == 1
        assert -nan not in mapping

    def test_equality_is_that_of_the_content(self):
        mapping = self.filled()
        assert mapping == {"b": 2, "a": 1}
        assert {"b": 2, "a": 1} == mapping  # noqa: SIM300 - from the other side
        assert mapping == self.filled()
        assert mapping != {"a": 1}
        assert mapping != {"a": 1, "b": 3}
        assert mapping != [("a", 1), ("b", 2)]
        assert mapping != 1
        with pytest.raises(TypeError):
            assert mapping < mapping  # noqa: PLR0124 - there is no order

    def test_it_is_unhashable(self):
        with pytest.raises(TypeError, match="unhashable"):
            hash(self.make())

    def test_union_makes_a_third(self):
        mapping = self.filled()
        assert mapping | {"b": 3} == {"a": 1, "b": 3}
        assert {"b": 3} | mapping == {"a": 1, "b": 2}
        assert type(mapping | mapping) is type(mapping)
        assert mapping == {"a": 1, "b": 2}
        with pytest.raises(TypeError):
            assert mapping | 1
        same = mapping
        mapping |= [("c", 3)]
        assert same is mapping
        assert mapping == {"a": 1, "b": 2, "c": 3}

    def test_views_follow_the_mapping(self):
        mapping = self.filled()
        keys, values, items = mapping.keys(), mapping.values(), mapping.items()
        assert isinstance(keys, KeysView)
        assert isinstance(values, ValuesView)
        assert isinstance(items, ItemsView)
        mapping["c"] = 3
        del mapping["a"]
        assert sorted(keys) == ["b", "c"]
        assert sorted(values) == [2, 3]
        assert sorted(items) == [("b", 2), ("c", 3)]
        assert len(keys) == len(values) == len(items) == 2
        assert "c" in keys
        assert 3 in values
        assert 1 not in values
        assert ("c", 3) in items
        assert ("c", 2) not in items

    def test_views_are_sets(self):
        mapping = self.filled()
        assert mapping.keys() == {"a", "b"}
        assert mapping.keys() & {"a", "z"} == {"a"}
        assert mapping.items() - {("a", 1)} == {("b", 2)}
        assert mapping.keys().isdisjoint(["z"])

    def test_an_empty_one_is_false(self):
        assert not self.make()
        assert self.filled()

    def test_copies_are_shallow_and_apart(self):
        mapping = self.make()
        mapping["a"] = [1]
        for other in (mapping.copy(), copy.copy(mapping)):
            assert other == mapping
            assert type(other) is type(mapping)
            assert other["a"] is mapping["a"]
            other["b"] = 2
            assert "b" not in mapping
        assert copy.deepcopy(mapping)["a"] is not mapping["a"]

    def test_it_survives_pickling(self):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(self.filled(), protocol))  # noqa: S301 - our own
            assert again == self.filled()
            assert type(again) is type(self.filled())

    def test_a_value_that_cannot_be_pickled_raises(self):
        mapping = self.make()
        mapping["a"] = (i for i in ())
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(mapping)

    def test_its_repr_shows_the_content_and_survives_itself(self):
        mapping = self.make()
        mapping["self"] = mapping
        assert "'self'" in repr(mapping)
        assert "..." in repr(mapping)

    def test_clear_empties(self):
        mapping = self.filled()
        mapping.clear()
        assert len(mapping) == 0
        assert list(mapping) == []
