"""Pytrees: round trips, order of leaves, registration, key paths, and the text of the errors."""
import dataclasses
import doctest
import enum
import functools
import pickle
from collections import OrderedDict, defaultdict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcgrad.tree as ft
from funcgrad import tree_util

Point = namedtuple("Point", "x y")


@ft.register_dataclass
@dataclasses.dataclass
class Layer:
    W: object
    b: object
    name: str = dataclasses.field(default="dense", metadata=dict(static=True))


@ft.register_pytree_node_class
@dataclasses.dataclass
class Scale:
    value: object
    unit: str

    def tree_flatten(self):
        return (self.value,), self.unit

    @classmethod
    def tree_unflatten(cls, unit, children):
        return cls(*children, unit)


@ft.register_pytree_with_keys_class
@dataclasses.dataclass
class Pair:
    left: object
    right: object

    def tree_flatten_with_keys(self):
        return ((ft.GetAttrKey("left"), self.left), (ft.GetAttrKey("right"), self.right)), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


KEYS = st.one_of(st.text(max_size=3), st.integers(-3, 3), st.booleans(),
                 st.floats(allow_nan=False, width=16), st.tuples(st.integers(0, 2), st.text(max_size=1)),
                 st.frozensets(st.integers(0, 9), max_size=3))


def nodes(children):
    return st.one_of(
        st.lists(children, max_size=3), st.lists(children, max_size=3).map(tuple),
        st.dictionaries(KEYS, children, max_size=4),
        st.dictionaries(KEYS, children, max_size=3).map(OrderedDict),
        st.dictionaries(KEYS, children, max_size=3).map(lambda d: defaultdict(int, d)),
        st.builds(Point, children, children), st.builds(Layer, children, children, st.sampled_from("ab")),
        st.builds(Scale, children, st.sampled_from("ms")), st.builds(Pair, children, children))


LEAVES = st.one_of(st.none(), st.integers(), st.text(max_size=1), st.floats(allow_nan=False))
TREES = st.recursive(LEAVES, nodes, max_leaves=12)


def text(tree):
    """Unlike ==, tells apart dicts of different order and keys such as 1 and True."""
    return repr(tree)


@given(TREES)
def test_unflatten_undoes_flatten(tree):
    leaves, treedef = ft.flatten(tree)
    assert len(leaves) == treedef.num_leaves
    assert text(ft.unflatten(treedef, leaves)) == text(tree)
    assert text(ft.map(lambda x: x, tree)) == text(tree)
    assert text(ft.map_with_path(lambda path, x: x, tree)) == text(tree)


@given(TREES)
def test_all_ways_to_flatten_agree(tree):
    leaves, treedef = ft.flatten(tree)
    pairs, treedef_with_path = ft.flatten_with_path(tree)
    assert [leaf for _, leaf in pairs] == leaves == treedef.flatten_up_to(tree)
    assert treedef == treedef_with_path and hash(treedef) == hash(treedef_with_path)
    assert ft.flatten(tree, is_leaf=lambda x: False) == (leaves, treedef)
    assert len({path for path, _ in pairs}) == len(pairs)
    assert ft.treedef_tuple([treedef]).children() == [treedef]


@given(st.dictionaries(KEYS, st.integers(), max_size=6), st.randoms())
def test_dicts_of_equal_keys_share_structure_and_leaf_order(tree, random):
    items = list(tree.items())
    random.shuffle(items)
    other = dict(items)
    assert ft.flatten(other) == ft.flatten(tree)
    assert hash(ft.structure(other)) == hash(ft.structure(tree))
    assert list(ft.unflatten(ft.structure(tree), ft.leaves(other)).items()) == list(tree.items())
    assert ft.structure(tree).flatten_up_to(other) == ft.leaves(tree)
    assert ft.map(lambda x, y: x == y, tree, other) == dict.fromkeys(tree, True)


# The expected leaves and structures are those of jax.tree 0.10.2.
@pytest.mark.parametrize("tree, leaves, treedef", [
    ({"b": 1, "a": 2}, [2, 1], "{'a': *, 'b': *}"),
    ({"w": {"z": 1, "y": 2}, "b": [3, (4,)]}, [3, 4, 2, 1], "{'b': [*, (*,)], 'w': {'y': *, 'z': *}}"),
    ({10: 1, 9: 2, -1: 3}, [3, 2, 1], "{-1: *, 9: *, 10: *}"),
    ({("b", 1): 1, ("a", 2): 2}, [2, 1], "{('a', 2): *, ('b', 1): *}"),
    ({"B": 1, "a": 2, "A": 3}, [3, 1, 2], "{'A': *, 'B': *, 'a': *}"),
    ([1, None, (), {}, []], [1], "[*, None, (), {}, []]"),
    (Point(1, [2]), [1, 2], "CustomNode(namedtuple[Point], [*, [*]])"),
    (OrderedDict(q=1, b=2), [1, 2], "CustomNode(OrderedDict[('q', 'b')], [*, *])"),
    (defaultdict(list, k=1, c=2), [2, 1], "CustomNode(defaultdict[(<class 'list'>, ('c', 'k'))], [*, *])"),
    (Layer(1, 2, "s"), [1, 2], "CustomNode(Layer[('s',)], [*, *])"),
    (Scale(1, "m"), [1], "CustomNode(Scale[m], [*])"),
    (ft.Partial(print, 1, b=2), [1, 2], "CustomNode(Partial[<built-in function print>], [(*,), {'b': *}])"),
])
def test_leaves_and_structure_as_in_jax(tree, leaves, treedef):
    assert ft.leaves(tree) == leaves
    assert repr(ft.structure(tree)) == f"PyTreeDef({treedef})"


def test_dict_keeps_insertion_order_and_key_objects():
    assert list(ft.map(lambda x: x, {"b": 1, "a": 2})) == ["b", "a"]
    assert list(ft.map(lambda x: x, defaultdict(int, b=1, a=2))) == ["b", "a"]
    Color = enum.StrEnum("Color", ["a", "b"])
    ft.flatten({"b": 1, "a": 2})
    assert type(next(iter(ft.map(lambda x: x, {Color.b: 1, Color.a: 2})))) is Color
    ft.flatten({1: 1})
    assert text(ft.map(lambda x: x, {True: 1})) == "{True: 1}"


def test_mixed_and_unsortable_keys():
    tree = {"a": 1, 1: 2, (2,): 3, None: 4}
    shuffled = {None: 4, (2,): 3, "a": 1, 1: 2}
    assert ft.flatten(tree) == ft.flatten(shuffled)
    assert ft.leaves(tree) == [4, 2, 1, 3]
    first, second = object(), object()
    assert ft.structure({first: 0, second: 0}) == ft.structure({second: 0, first: 0})


def test_equality_of_structures():
    def s(tree):
        return ft.structure(tree)
    assert s({"a": 1}) != s({"b": 1}) and s({"a": 1}) != s({"a": None})
    assert s([1]) != s((1,)) and s(1) != s(None)
    assert s(OrderedDict(a=1, b=2)) != s(OrderedDict(b=1, a=2))
    assert s(defaultdict(int, a=1)) != s(defaultdict(list, a=1)) != s({"a": 1})
    assert s(Layer(1, 2, "x")) != s(Layer(1, 2, "y")) and s(Layer(1, 2)) == s(Layer(3, 4))
    assert s(1) is ft.LEAF and s("text") is ft.LEAF and s(1) != 1
    assert len({s({"a": 1, "b": 2}), s({"b": 1, "a": 2})}) == 1


def test_treedef_is_immutable():
    with pytest.raises(AttributeError, match="immutable; its 'num_leaves' cannot be set"):
        ft.structure([1]).num_leaves = 3


def test_deep_nesting():
    tree = 1.0
    for i in range(500):
        tree = [tree] if i % 2 else {"a": tree}
    leaves, treedef = ft.flatten(tree)
    assert leaves == [1.0] and treedef == ft.structure(ft.map(lambda x: x, tree))
    assert hash(treedef) == hash(ft.structure(tree)) and len(repr(treedef)) > 500
    assert len(ft.leaves_with_path(tree)[0][0]) == 500 and treedef.flatten_up_to(tree) == [1.0]
    assert treedef.children()[0].num_leaves == 1


def test_is_leaf():
    assert ft.flatten([None, 1], is_leaf=lambda x: x is None)[0] == [None, 1]
    assert ft.map(len, {"a": (1, 2), "b": (3,)}, is_leaf=lambda x: isinstance(x, tuple)) == {"a": 2, "b": 1}
    tree = {"a": [1], "b": [2]}
    pairs, _ = ft.flatten_with_path(tree, lambda path, x: len(path) == 1, is_leaf_takes_path=True)
    assert [leaf for _, leaf in pairs] == [[1], [2]]
    assert ft.flatten_with_path([1], None, is_leaf_takes_path=True)[1] == ft.structure([1])


def test_subclasses_of_containers_are_leaves():
    class MyList(list):
        pass
    assert ft.structure(MyList([1])) is ft.LEAF
    assert ft.structure(type("D", (dict,), {})(a=1)) is ft.LEAF


def test_map_over_several_trees_and_prefixes():
    assert ft.map(lambda x, y: (x, y), {"a": 1}, {"a": {"c": 1}}) == {"a": (1, {"c": 1})}
    assert ft.map(lambda x, y: (x, y), [1], [None]) == [(1, None)]
    assert ft.map(lambda x, y, z: x + y + z, Point(1, 2), Point(3, 4), Point(5, 6)) == Point(9, 12)
    named = ft.map_with_path(lambda path, x, y: ft.keystr(path) + x + y, {"a": "x"}, {"a": "y"})
    assert named == {"a": "['a']xy"}


def test_reductions():
    assert ft.reduce(lambda x, y: x + y, {"b": "1", "a": ["2", "3"]}) == "231"
    assert ft.reduce(lambda x, y: (x, y), [1], None) == (None, 1) and ft.reduce(max, [], 5) == 5
    assert ft.reduce_associative(lambda x, y: f"({x}{y})", list("abcde")) == "((ab)(c(de)))"
    assert ft.reduce_associative(max, [], identity=0) == 0
    assert ft.all([True, 1]) and not ft.all([1, 0]) and ft.all([])
    with pytest.raises(TypeError, match="no initial value"):
        ft.reduce(max, [])
    with pytest.raises(TypeError, match="a tree without leaves"):
        ft.reduce_associative(max, [])


def test_transpose():
    outer, inner = ft.structure([0, 0]), ft.structure({"a": 0, "b": (0,)})
    tree = [{"a": 1, "b": (2,)}, {"b": (4,), "a": 3}]
    assert ft.transpose(outer, inner, tree) == {"a": [1, 3], "b": ([2, 4],)}
    assert ft.transpose(outer, None, tree) == {"a": [1, 3], "b": ([2, 4],)}
    assert ft.transpose(ft.structure([]), inner, []) == {"a": [], "b": ([],)}
    assert ft.transpose(outer, ft.structure(()), [(), ()]) == ()
    with pytest.raises(TypeError, match=r"subtree 1 differs in structure at its root\n  found:    a leaf of"):
        ft.transpose(outer, inner, [tree[0], 1])
    with pytest.raises(TypeError, match="inner structure is unknown"):
        ft.transpose(ft.structure([]), None, [])


def test_broadcast():
    full = {"b": [1, 2], "a": (3, {"y": 4, "x": 5})}
    assert ft.broadcast_prefix({"a": "A", "b": "B"}, full) == ["A", "A", "A", "B", "B"]
    assert ft.broadcast(7, full) == {"b": [7, 7], "a": (7, {"y": 7, "x": 7})}
    assert ft.broadcast_prefix([None, 0], [(1, 2), 3], is_leaf=lambda x: x is None) == [None, None, 0]
    with pytest.raises(ValueError, match=r"continues the prefix tree differs in structure at \['b'\]"):
        ft.broadcast_prefix({"a": 0, "b": [0]}, full)


def test_treedef_helpers():
    treedef = ft.structure({"b": 1, "a": [2, 3]})
    assert ft.treedef_children(treedef) == [ft.structure([2, 3]), ft.LEAF]
    assert ft.LEAF.children() == []
    assert ft.treedef_children(treedef)[0].num_leaves == 2
    assert ft.treedef_tuple([ft.LEAF, treedef]) == ft.structure((0, {"a": [0, 0], "b": 0}))
    assert [ft.treedef_is_leaf(ft.structure(x)) for x in (1, None, [], [1])] == [True, True, True, False]
    assert ft.all_leaves([1, "a"]) and not ft.all_leaves([1, None]) and not ft.all_leaves([1, (2,)])


def test_key_paths():
    tree = {"z": Point(1, [2]), "l": Layer(3, None), "s": Scale(4, "m"), "p": Pair(5, 6),
            "o": OrderedDict(q=7)}
    paths = [ft.keystr(path) for path, _ in ft.leaves_with_path(tree)]
    assert paths == ["['l'].W", "['o']['q']", "['p'].left", "['p'].right", "['s'][<flat index 0>]",
                     "['z'].x", "['z'].y[0]"]
    simple = [ft.keystr(path, simple=True, separator="/") for path, _ in ft.leaves_with_path(tree)]
    assert simple == ["l/W", "o/q", "p/left", "p/right", "s/0", "z/x", "z/y/0"]
    assert repr(ft.DictKey("a")) == "DictKey(key='a')" and ft.DictKey(0) != ft.SequenceKey(0)
    assert ft.leaves_with_path(3) == [((), 3)]
    assert ft.keystr(("custom", 1), simple=True, separator=".") == "custom.1"


# Errors ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("tree, other, words", [
    ({"d": [1, {"W": 1}]}, {"d": [1, {"b": 1}]},
     r"tree_map: tree 2 differs in structure at \['d'\]\[1\]\n  found:    dict with keys 'b'\n"
     r"  expected: dict with keys 'W'\n  instead:  add 'W'; remove 'b'"),
    ({"d": [1, 2]}, {"d": [1]}, r"at \['d'\]\n  found:    list of length 1\n  expected: list of length 2\n"
                                r"  instead:  put list of length 2 there"),
    ([1], (1,), r"at its root\n  found:    tuple of length 1\n  expected: list of length 1"),
    ([{}], [3], r"at \[0\]\n  found:    a leaf of type int\n  expected: dict with keys \(none\)"),
    ([None], [3], r"found:    a leaf of type int\n  expected: None\n.*is_leaf=lambda x: x is None"),
    (Point(1, [2]), Point(1, None), r"at \.y\n  found:    None\n  expected: list of length 1"),
    ({"a": 1}, OrderedDict(a=1), r"found:    OrderedDict with keys 'a'\n  expected: dict with keys 'a'"),
    (OrderedDict(a=1, b=2), OrderedDict(b=1, a=2), r"instead:  put OrderedDict with keys 'a', 'b' there"),
    (defaultdict(int, a=1), defaultdict(list, a=1), "expected: defaultdict of default factory <class 'int'>"),
    ({"a": 1}, {"a": 1, "b": 2, 3: 4}, r"instead:  remove 3, 'b'"),
    (Layer(1, 2, "x"), Layer(1, 2, "y"), r"found:    Layer of length 2 with static data \('y',\)"),
    (Scale([1], "m"), Scale([], "m"), r"at \[<flat index 0>\]\n  found:    list of length 0"),
])
def test_map_names_the_first_difference(tree, other, words):
    with pytest.raises(ValueError, match=words):
        ft.map(lambda x, y: x, tree, other)


def test_errors_name_the_tree():
    with pytest.raises(ValueError, match=r"^in_axes differs in structure at \[0\]\n"):
        ft.flatten_up_to(ft.structure([[1], 2]), [3, 4], what="in_axes")
    with pytest.raises(ValueError, match="tree_map: tree 3 differs"):
        ft.map(lambda *xs: xs, [1], [1], [])
    assert ft.flatten_up_to(ft.LEAF, [1, 2]) == [[1, 2]]


@pytest.mark.parametrize("leaves", [[], [1], [1, 2, 3], iter([1])])
def test_wrong_number_of_leaves(leaves):
    with pytest.raises(ValueError, match=r"expected: 2, for PyTreeDef\(\[\*, \*\]\)"):
        ft.unflatten(ft.structure([0, 0]), leaves)


def test_registering_twice():
    for cls in (list, Layer, ft.Partial):
        with pytest.raises(ValueError, match=f"{cls.__name__} is a pytree node already"):
            ft.register_pytree_node(cls, None, None)
    with pytest.raises(TypeError, match="must be a class"):
        ft.register_pytree_node([], None, None)


def test_registering_after_use_as_a_leaf_or_namedtuple():
    class Box:
        def __init__(self, x):
            self.x = x
    Row = namedtuple("Row", "x")
    assert ft.leaves([Row(1)]) == [1] and len(ft.leaves([Box(1), 2])) == 2
    ft.register_pytree_node(Box, lambda box: ((x for x in [box.x]), None), lambda _, xs: Box(*xs))
    ft.register_pytree_node(Row, lambda row: ((), row), lambda row, _: row)
    assert ft.leaves([Box([1, 3]), Row(1), 2]) == [1, 3, 2]


def test_register_dataclass_with_given_fields():
    @functools.partial(tree_util.register_dataclass, data_fields=["x"], meta_fields=["n"],
                       drop_fields=["cache"])
    @dataclasses.dataclass
    class State:
        x: float
        n: int
        cache: int = 0
        derived: int = dataclasses.field(init=False, default=3)
    assert ft.map(lambda x: 2 * x, State(1.5, 4, 9)) == State(3.0, 4)

    @dataclasses.dataclass
    class Bad:
        x: float
        y: float
    with pytest.raises(ValueError, match=r"list each field of Bad once\n  found:    data_fields=\['x'\]"):
        ft.register_dataclass(Bad, ["x"], [])
    with pytest.raises(ValueError, match="list each field"):
        ft.register_dataclass(Bad, ["x", "y"], ["y"])
    with pytest.raises(TypeError, match="fields of Bad are not known"):
        ft.register_dataclass(Bad, data_fields=["x", "y"])
    with pytest.raises(TypeError, match="fields of object are not known"):
        ft.register_dataclass(object)


def test_register_static():
    @ft.register_static
    class Mode(str):
        pass
    assert ft.flatten([Mode("a"), 1])[0] == [1]
    assert ft.structure(Mode("a")) == ft.structure(Mode("a")) != ft.structure(Mode("b"))
    assert ft.map(lambda x: x, Mode("a")) == "a"


def test_partial():
    double = ft.Partial(pow, 2)
    assert ft.map(lambda x: x + 1, double)(2) == 9 and double(3) == 8
    inner = functools.partial(pow, 2)
    outer = ft.Partial(inner, 3)
    assert ft.leaves(outer) == [3] and outer() == 8 and ft.map(lambda x: x, outer)() == 8
    assert ft.structure(outer) == ft.structure(ft.Partial(inner, 4)) != ft.structure(ft.Partial(pow, 4))
    assert ft.leaves(ft.Partial(pow, b=[1, 2], a=0)) == [0, 1, 2]


def test_names():
    assert tree_util.PyTreeDef is ft.TreeDef and set(tree_util.__all__) <= set(vars(tree_util))
    for name in ("flatten", "unflatten", "map", "leaves", "structure", "reduce", "reduce_associative",
                 "transpose", "all", "broadcast", "map_with_path", "flatten_with_path", "leaves_with_path"):
        assert getattr(ft, name) is getattr(tree_util, f"tree_{name}")


@pytest.mark.parametrize("module", [ft, tree_util])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_key_orders_of_data_do_not_pile_up():
    for i in range(10_000):
        ft.flatten({i: 0, -i - 1: 1})
    assert len(ft._orders) <= 4096


def test_leaves_may_be_anything_unhashable_or_odd():
    odd = [{1, 2}, b"x", pickle, lambda: 0, Ellipsis, float("nan")]
    assert all(x is y for x, y in zip(ft.leaves(odd), odd, strict=True))
