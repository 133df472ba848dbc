"""Pytrees: nested containers taken apart into their leaves, and put together again.

In: any nesting of dict, list, tuple, namedtuple, OrderedDict, defaultdict, None and registered classes; every
other object is a leaf. Out: a flat list of leaves with a ``TreeDef``, the structure without the leaves.

    >>> leaves, treedef = tree_flatten({'b': 1., 'a': [2., None]})
    >>> leaves, treedef
    ([2.0, 1.0], PyTreeDef({'a': [*, None], 'b': *}))
    >>> tree_unflatten(treedef, ['x', 'y'])
    {'b': 'y', 'a': ['x', None]}

Leaves of a dict come in the sorted order of its keys; a rebuilt dict has the key order of the one flattened.
"""
from __future__ import annotations

import builtins
import dataclasses
import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple, NoReturn

IsLeaf = Callable[[Any], bool] | None
KeyPath = tuple[Any, ...]
_MISSING: Any = object()


# Key paths --------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class SequenceKey:
    """The step into item ``idx`` of a list or tuple, printed ``[0]``."""
    idx: int

    def __str__(self) -> str:
        return f"[{self.idx}]"


@dataclasses.dataclass(frozen=True)
class DictKey:
    """The step into entry ``key`` of a dict, printed ``['W']``."""
    key: Hashable

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclasses.dataclass(frozen=True)
class GetAttrKey:
    """The step into attribute ``name`` of a dataclass or namedtuple, printed ``.name``."""
    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclasses.dataclass(frozen=True)
class FlattenedIndexKey:
    """The step into child ``key`` of a class registered without keys, printed ``[<flat index 0>]``."""
    key: int

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


def keystr(keys: KeyPath, *, simple: bool = False, separator: str = '') -> str:
    """The text of a key path; ``simple`` drops brackets, dots and quotes.

    >>> path = (DictKey('dense'), SequenceKey(0))
    >>> keystr(path), keystr(path, simple=True, separator='/')
    ("['dense'][0]", 'dense/0')
    """
    def text(entry: Any) -> str:
        known = isinstance(entry, (SequenceKey, DictKey, GetAttrKey, FlattenedIndexKey))
        return str(next(iter(vars(entry).values())) if simple and known else entry)
    return separator.join([text(entry) for entry in keys])


# The order of dict keys -------------------------------------------------------------------------------------

class _Order:
    """Moves between the insertion order of a dict and the canonical one; invisible to equality."""
    __slots__ = ("restore", "sort")

    def __init__(self, sort: Callable, restore: Callable):
        self.sort, self.restore = sort, restore

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Order)

    def __hash__(self) -> int:
        return 0


_SORTED = _Order(tuple, tuple)


@functools.lru_cache(4096)
def _ranks(keys: frozenset) -> dict[Hashable, int]:
    # Looked up by set, so that equal key sets share one order even where sorting does not decide it.
    ranked = sorted(keys, key=lambda key: (type(key).__qualname__, repr(key)))
    with suppress(TypeError):
        ranked = sorted(ranked)
    return {key: rank for rank, key in enumerate(ranked)}


class _Orders(dict):
    """From keys in insertion order to their _Order; forgotten when full, as keys may come from data."""

    def __missing__(self, keys: tuple) -> _Order:
        ranks = _ranks(frozenset(keys))
        restore = [ranks[key] for key in keys]
        sort = sorted(range(len(keys)), key=restore.__getitem__)
        if len(self) >= 4096:
            self.clear()
        is_sorted = restore == list(range(len(keys)))
        self[keys] = _SORTED if is_sorted else _Order(itemgetter(*sort), itemgetter(*restore))
        return self[keys]


_orders = _Orders()


# Kinds of nodes ---------------------------------------------------------------------------------------------

class _Kind(NamedTuple):
    """How a class is taken apart into (metadata, children), put together, and its children are named."""
    split: Callable[[Any], tuple[Any, Sequence]]
    join: Callable[[Any, list], Any]
    entries: Callable[[Any], list]


def _split_dict(tree: dict) -> tuple[tuple, list]:
    keys = tuple(tree)
    order = _orders[keys]
    keys = order.sort(keys)
    return (order, keys), [tree[key] for key in keys]


def _join_dict(meta: tuple, children: list) -> dict:
    order, keys = meta
    tree = dict.fromkeys(order.restore(keys))
    tree.update(zip(keys, children, strict=True))
    return tree


def _split_defaultdict(tree: defaultdict) -> tuple[tuple, list]:
    meta, children = _split_dict(tree)
    return (*meta, tree.default_factory), children


def _dict_entries(tree: dict) -> list:
    return [DictKey(key) for key in _split_dict(tree)[0][1]]


def _sequence_entries(tree: Sequence) -> list:
    return [SequenceKey(i) for i in range(len(tree))]


_leaf_types: set[type] = set()  # those met so far: a set is asked faster than _Kinds


class _Kinds(dict):
    """From a class to its _Kind, or to None for a class whose instances are leaves."""

    def __missing__(self, cls: type) -> _Kind | None:
        kind = None
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            kind = _Kind(lambda tree: (None, tree), lambda _, children: cls(*children),
                         lambda tree: [GetAttrKey(name) for name in tree._fields])
        else:
            _leaf_types.add(cls)
        self[cls] = kind
        return kind


_kinds = _Kinds({
    list: _Kind(lambda tree: (None, tree), lambda _, children: list(children), _sequence_entries),
    tuple: _Kind(lambda tree: (None, tree), lambda _, children: tuple(children), _sequence_entries),
    dict: _Kind(_split_dict, _join_dict, _dict_entries),
    type(None): _Kind(lambda _: (None, ()), lambda _, children: None, lambda _: []),
    OrderedDict: _Kind(lambda tree: (tuple(tree), tuple(tree.values())),
                       lambda keys, children: OrderedDict(zip(keys, children, strict=True)),
                       lambda tree: [DictKey(key) for key in tree]),
    defaultdict: _Kind(_split_defaultdict,
                       lambda meta, children: defaultdict(meta[2], _join_dict(meta[:2], children)),
                       _dict_entries),
})


# Structures: None for a leaf, and (class, metadata, *structures of the children) for a node -----------------

def _flatten(tree: Any, leaves: list) -> tuple | None:
    """The structure of ``tree``, whose leaves are appended to ``leaves``."""
    cls = type(tree)
    if cls is dict:
        keys = tuple(tree)
        order = _orders[keys]
        if order is not _SORTED:
            keys = order.sort(keys)
        node: list = [dict, (order, keys)]
        for key in keys:
            child = tree[key]
            if type(child) in _leaf_types:
                leaves.append(child)
                node.append(None)
            else:
                node.append(_flatten(child, leaves))
        return tuple(node)
    kind = _kinds[cls]
    if kind is None:
        leaves.append(tree)
        return None
    meta, children = (None, tree) if cls is list or cls is tuple else kind.split(tree)
    node = [cls, meta]
    for child in children:
        if type(child) in _leaf_types:
            leaves.append(child)
            node.append(None)
        else:
            node.append(_flatten(child, leaves))
    return tuple(node)


def _flatten_with_path(tree: Any, path: KeyPath, is_leaf: Callable, pairs: list) -> tuple | None:
    kind = _kinds[type(tree)]
    if kind is None or is_leaf(path, tree):
        pairs.append((path, tree))
        return None
    meta, children = kind.split(tree)
    node = [type(tree), meta]
    for entry, child in zip(kind.entries(tree), children, strict=True):
        node.append(_flatten_with_path(child, (*path, entry), is_leaf, pairs))
    return tuple(node)


def _unflatten(spec: tuple, leaves: Any) -> Any:
    """The node of structure ``spec`` with leaves drawn from an iterator."""
    cls = spec[0]
    if cls is dict:
        order, keys = spec[1]
        tree = {} if order is _SORTED else dict.fromkeys(order.restore(keys))
        for key, child in zip(keys, spec[2:]):  # noqa: B905
            tree[key] = next(leaves) if child is None else _unflatten(child, leaves)
        return tree
    children = []
    for child in spec[2:]:
        children.append(next(leaves) if child is None else _unflatten(child, leaves))
    return children if cls is list else _kinds[cls].join(spec[1], children)


def _children_like(spec: tuple, tree: Any) -> Sequence | None:
    """The children of ``tree`` in the order of those of ``spec``; None where the two nodes differ."""
    cls = spec[0]
    if type(tree) is not cls:
        return None
    meta, children = (None, tree) if cls is list or cls is tuple else _kinds[cls].split(tree)
    return children if len(children) == len(spec) - 2 and meta == spec[1] else None


def _flatten_up_to(spec: tuple, tree: Any, out: list) -> bool:
    """Appends what ``tree`` holds at the leaves of ``spec``; False at the first difference."""
    if spec[0] is dict and type(tree) is dict:
        keys = spec[1][1]
        if len(tree) != len(keys):
            return False
        try:
            for key, child_spec in zip(keys, spec[2:]):  # noqa: B905
                child = tree[key]
                if child_spec is None:
                    out.append(child)
                elif not _flatten_up_to(child_spec, child, out):
                    return False
        except KeyError:
            return False
        return True
    children = _children_like(spec, tree)
    if children is None:
        return False
    for child_spec, child in zip(spec[2:], children):  # noqa: B905
        if child_spec is None:
            out.append(child)
        elif not _flatten_up_to(child_spec, child, out):
            return False
    return True


def _spec_text(spec: tuple | None) -> str:
    if spec is None:
        return "*"
    cls, meta, texts = spec[0], spec[1], []
    for child in spec[2:]:
        texts.append(_spec_text(child))
    if cls is dict:
        return "{" + ", ".join([f"{key!r}: {text}" for key, text in zip(meta[1], texts, strict=True)]) + "}"
    inner = ", ".join(texts)
    if cls is tuple:
        return f"({inner},)" if len(texts) == 1 else f"({inner})"
    if cls is type(None):
        return "None"
    if issubclass(cls, tuple) and meta is None:
        return f"CustomNode(namedtuple[{cls.__name__}], [{inner}])"
    data = (meta[2], meta[1]) if cls is defaultdict else meta
    return f"[{inner}]" if cls is list else f"CustomNode({cls.__name__}[{data}], [{inner}])"


class TreeDef:
    """The structure of a pytree without its leaves: immutable, hashable, compared by value.

    Dicts of equal key sets have equal structures, whatever their insertion order.

    >>> treedef = tree_structure({'a': 1, 'b': [2, 3]})
    >>> treedef, treedef.num_leaves, treedef == tree_structure({'b': [0, 0], 'a': 0})
    (PyTreeDef({'a': *, 'b': [*, *]}), 3, True)
    """
    __slots__ = ("_hash", "_spec", "num_leaves")
    num_leaves: int

    def __init__(self, spec: tuple | None, num_leaves: int):
        _set(self, "_spec", spec)
        _set(self, "num_leaves", num_leaves)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a PyTreeDef is immutable; its {name!r} cannot be set")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self._spec == other._spec if isinstance(other, TreeDef) else NotImplemented

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            _set(self, "_hash", hash(self._spec))
            return self._hash

    def __repr__(self) -> str:
        return f"PyTreeDef({_spec_text(self._spec)})"

    def unflatten(self, leaves: Iterable) -> Any:
        """See ``tree_unflatten``."""
        leaves = leaves if isinstance(leaves, (list, tuple)) else list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(_message("tree_unflatten: the number of leaves does not fit the structure",
                                      len(leaves), f"{self.num_leaves}, for {self}",
                                      "pass one leaf for each * of the structure"))
        return leaves[0] if self._spec is None else _unflatten(self._spec, iter(leaves))

    def flatten_up_to(self, tree: Any) -> list:
        """See the function ``flatten_up_to``."""
        return flatten_up_to(self, tree)

    def children(self) -> list[TreeDef]:
        """The structures of the children of the root; none for a leaf."""
        return [TreeDef(spec, _count(spec)) if spec else LEAF for spec in (self._spec or ())[2:]]


_set = object.__setattr__
LEAF = TreeDef(None, 1)


def _count(spec: tuple | None) -> int:
    if spec is None:
        return 1
    count = 0
    for child in spec[2:]:
        count += _count(child)
    return count


# Errors -----------------------------------------------------------------------------------------------------

def _message(where: str, found: object, expected: object, instead: str) -> str:
    return f"{where}\n  found:    {found}\n  expected: {expected}\n  instead:  {instead}"


def _first_difference(spec: tuple | None, tree: Any, path: KeyPath) -> tuple[KeyPath, tuple, Any] | None:
    if spec is None:
        return None
    children = _children_like(spec, tree)
    if children is None:
        return path, spec, tree
    for child_spec, child, entry in zip(spec[2:], children, _kinds[spec[0]].entries(tree), strict=True):
        difference = _first_difference(child_spec, child, (*path, entry))
        if difference:
            return difference
    return None


def _keys(cls: type, meta: Any) -> tuple | None:
    return meta[1] if cls in (dict, defaultdict) else meta if cls is OrderedDict else None


def _describe(cls: type, meta: Any, count: int) -> str:
    keys, name = _keys(cls, meta), cls.__name__
    if cls is type(None):
        return "None"
    if _kinds[cls] is None:
        return f"a leaf of type {name}"
    if keys is not None:
        factory = f" of default factory {meta[2]!r}" if cls is defaultdict else ""
        return f"{name}{factory} with keys {', '.join([repr(key) for key in keys]) or '(none)'}"
    return f"{name} of length {count}" + ("" if meta is None else f" with static data {meta!r}")


def _raise_difference(what: str, spec: tuple, tree: Any) -> NoReturn:
    path, spec, tree = _first_difference(spec, tree, ())
    cls, kind = type(tree), _kinds[type(tree)]
    meta, children = (None, ()) if kind is None else kind.split(tree)
    expected = _describe(spec[0], spec[1], len(spec) - 2)
    instead = f"put {expected} there"
    if spec[0] is type(None):
        instead += ", or treat None as a leaf: is_leaf=lambda x: x is None"
    keys, wanted = _keys(cls, meta), _keys(spec[0], spec[1])
    if cls is spec[0] and keys is not None and set(keys) != set(wanted):
        add, drop = [k for k in wanted if k not in keys], [k for k in keys if k not in wanted]
        instead = "; ".join([f"{verb} {', '.join([repr(key) for key in names])}"
                             for verb, names in (("add", add), ("remove", drop)) if names])
    where = f"at {keystr(path)}" if path else "at its root"
    raise ValueError(_message(f"{what} differs in structure {where}",
                              _describe(cls, meta, len(children)), expected, instead))


# Flatten, unflatten, map ------------------------------------------------------------------------------------

def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list, TreeDef]:
    """The leaves of ``tree`` in canonical order, and its structure.

    ``is_leaf(subtree)`` may stop the descent: where it is true, the subtree is a leaf.

    >>> tree_flatten([1, (2, 3)], is_leaf=lambda x: isinstance(x, tuple))
    ([1, (2, 3)], PyTreeDef([*, *]))
    """
    if is_leaf is not None:
        pairs, treedef = tree_flatten_with_path(tree, is_leaf)
        return [leaf for _, leaf in pairs], treedef
    if type(tree) in _leaf_types:
        return [tree], LEAF
    leaves: list = []
    spec = _flatten(tree, leaves)
    return leaves, TreeDef(spec, len(leaves)) if spec else LEAF


def match(treedef: TreeDef, tree: Any) -> list | None:
    """What ``tree`` holds at the leaves of ``treedef``; None where they differ. Faster than to flatten and compare.

    >>> match(tree_structure((0, {'a': 0})), (1, {'a': [2]})), match(tree_structure([0]), (1,))
    ([1, [2]], None)
    """
    if treedef._spec is None:
        return [tree]
    out: list = []
    return out if _flatten_up_to(treedef._spec, tree, out) else None


def tree_unflatten(treedef: TreeDef, leaves: Iterable) -> Any:
    """The tree of structure ``treedef`` with the given leaves; ValueError if their number does not fit.

    >>> tree_unflatten(tree_structure({'b': 0, 'a': 0}), [1, 2])
    {'b': 2, 'a': 1}
    """
    return treedef.unflatten(leaves)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list:
    """The leaves of ``tree``: ``tree_leaves({'b': 1, 'a': [2, None]})`` is ``[2, 1]``."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> TreeDef:
    """The structure of ``tree``: ``tree_structure([1, None])`` is ``PyTreeDef([*, None])``."""
    return tree_flatten(tree, is_leaf)[1]


def flatten_up_to(treedef: TreeDef, tree: Any, what: str = "tree") -> list:
    """The subtrees of ``tree`` at the leaves of ``treedef``, which ``tree`` must match down to there.

    Raises ValueError that names ``what`` and the path of the first difference.

    >>> flatten_up_to(tree_structure({'a': 0, 'b': [0]}), {'b': [(1, 2)], 'a': 3})
    [3, (1, 2)]
    """
    if treedef._spec is None:
        return [tree]
    out: list = []
    if not _flatten_up_to(treedef._spec, tree, out):
        _raise_difference(what, treedef._spec, tree)
    return out


def tree_map(f: Callable, tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """``f`` of the leaves of ``tree`` and of what the other trees hold at the same places.

    Raises ValueError if one of ``rest`` differs in structure from ``tree``, down to the leaves of ``tree``.

    >>> tree_map(lambda x, y: x + y, {'a': 1, 'b': 2}, {'b': 10, 'a': 20})
    {'a': 21, 'b': 12}
    """
    leaves, treedef = tree_flatten(tree, is_leaf)
    if not rest:
        return treedef.unflatten([f(leaf) for leaf in leaves])
    columns = [flatten_up_to(treedef, x, f"tree_map: tree {i}") for i, x in enumerate(rest, 2)]
    return treedef.unflatten([f(*xs) for xs in zip(leaves, *columns, strict=True)])


def tree_reduce(function: Callable, tree: Any, initializer: Any = _MISSING, is_leaf: IsLeaf = None) -> Any:
    """The leaves combined from left to right; TypeError for no leaf and no initializer.

    >>> tree_reduce(lambda x, y: x + y, {'a': 1, 'b': [2, 3]})
    6
    """
    start = () if initializer is _MISSING else (initializer,)
    return functools.reduce(function, tree_leaves(tree, is_leaf), *start)


def tree_reduce_associative(operation: Callable, tree: Any, *, identity: Any = _MISSING,
                            is_leaf: IsLeaf = None) -> Any:
    """The leaves combined as a balanced tree, in order; TypeError for no leaf and no identity.

    >>> tree_reduce_associative(lambda x, y: f'({x}{y})', list('abcd'))
    '((ab)(cd))'
    """
    def combine(leaves: list) -> Any:
        half = len(leaves) // 2
        return operation(combine(leaves[:half]), combine(leaves[half:])) if half else leaves[0]
    leaves = tree_leaves(tree, is_leaf)
    if not leaves and identity is _MISSING:
        raise TypeError(_message("tree_reduce_associative: nothing to combine", "a tree without leaves",
                                 "at least one leaf, or an identity", "pass identity="))
    return combine(leaves) if leaves else identity


def tree_all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """Whether all leaves are true: ``tree_all([True, {'a': 0}])`` is ``False``."""
    return builtins.all(tree_leaves(tree, is_leaf))


def tree_transpose(outer_treedef: TreeDef, inner_treedef: TreeDef | None, pytree_to_transpose: Any) -> Any:
    """A tree of structure ``outer`` of ``inner`` turned into one of ``inner`` of ``outer``.

    ``inner_treedef=None`` reads it off the first subtree. Raises TypeError if the tree has another structure.

    >>> tree_transpose(tree_structure([0, 0]), None, [{'a': 1, 'b': 2}, {'a': 3, 'b': 4}])
    {'a': [1, 3], 'b': [2, 4]}
    """
    if inner_treedef is None and outer_treedef.num_leaves == 0:
        raise TypeError(_message("tree_transpose: the inner structure is unknown",
                                 f"None, for {outer_treedef}", "an inner structure: no subtree shows it",
                                 "pass inner_treedef=tree_structure(...)"))
    try:
        subtrees = flatten_up_to(outer_treedef, pytree_to_transpose, "tree_transpose: tree")
        inner = inner_treedef or tree_structure(subtrees[0])
        rows = [flatten_up_to(inner, x, f"tree_transpose: subtree {i}") for i, x in enumerate(subtrees)]
    except ValueError as error:
        raise TypeError(str(error)) from None
    columns = [[row[i] for row in rows] for i in range(inner.num_leaves)]
    return inner.unflatten([outer_treedef.unflatten(column) for column in columns])


def broadcast_prefix(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> list:
    """For each leaf of ``full_tree`` the leaf of ``prefix_tree`` above it (``is_leaf``: of the prefix).

    Raises ValueError, naming the path, if ``full_tree`` does not continue ``prefix_tree``.

    >>> broadcast_prefix((1, 2), ({'a': 'x', 'b': 'y'}, 'z'))
    [1, 1, 2]
    """
    leaves, treedef = tree_flatten(prefix_tree, is_leaf)
    subtrees = flatten_up_to(treedef, full_tree, "the tree that continues the prefix tree")
    return [leaf for leaf, subtree in zip(leaves, subtrees, strict=True) for _ in tree_leaves(subtree)]


def tree_broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> Any:
    """``full_tree`` with each leaf replaced by the leaf of ``prefix_tree`` above it; see broadcast_prefix.

    >>> tree_broadcast((1, 2), ({'a': 'x', 'b': 'y'}, 'z'))
    ({'a': 1, 'b': 1}, 2)
    """
    return tree_structure(full_tree).unflatten(broadcast_prefix(prefix_tree, full_tree, is_leaf))


def tree_flatten_with_path(tree: Any, is_leaf: Callable | None = None,
                           is_leaf_takes_path: bool = False) -> tuple[list[tuple[KeyPath, Any]], TreeDef]:
    """The pairs (key path, leaf) of ``tree``, and its structure; ``is_leaf`` may take (path, subtree).

    >>> [(keystr(path), leaf) for path, leaf in tree_flatten_with_path({'W': [1, 2]})[0]]
    [("['W'][0]", 1), ("['W'][1]", 2)]
    """
    def stop(path: KeyPath, node: Any) -> bool:
        return is_leaf is not None and (is_leaf(path, node) if is_leaf_takes_path else is_leaf(node))
    pairs: list = []
    spec = _flatten_with_path(tree, (), stop, pairs)
    return pairs, TreeDef(spec, len(pairs)) if spec else LEAF


def tree_leaves_with_path(tree: Any, is_leaf: Callable | None = None,
                          is_leaf_takes_path: bool = False) -> list[tuple[KeyPath, Any]]:
    """The pairs (key path, leaf): ``tree_leaves_with_path([7])`` is ``[((SequenceKey(idx=0),), 7)]``."""
    return tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


def tree_map_with_path(f: Callable, tree: Any, *rest: Any, is_leaf: Callable | None = None,
                       is_leaf_takes_path: bool = False) -> Any:
    """As tree_map, with the key path as first argument of ``f``.

    >>> tree_map_with_path(lambda path, x: keystr(path), {'W': [1, 2]})
    {'W': ["['W'][0]", "['W'][1]"]}
    """
    pairs, treedef = tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    columns = [flatten_up_to(treedef, x, f"tree_map_with_path: tree {i}") for i, x in enumerate(rest, 2)]
    return treedef.unflatten([f(*pair, *xs) for pair, *xs in zip(pairs, *columns, strict=True)])


def all_leaves(iterable: Iterable, is_leaf: IsLeaf = None) -> bool:
    """Whether every item is a leaf: ``all_leaves([1, (2,)])`` is ``False``; None is a node."""
    return builtins.all([tree_structure(x, is_leaf) is LEAF for x in iterable])


def is_tree_node(typ: type) -> bool:
    """Whether instances of a class are nodes, not leaves."""
    return _kinds[typ] is not None


def flatten_one_level(tree: Any) -> tuple[Iterable[Any], Any]:
    """The children of a node, and its static data. Raises ValueError for a leaf.

    >>> flatten_one_level({'b': [1, 2], 'a': 3})
    ((3, [1, 2]), ('a', 'b'))
    """
    kind = _kinds[type(tree)]
    if kind is None:
        raise ValueError(_message("flatten_one_level: a leaf has no children", repr(tree), "a node of a pytree",
                                  "is_tree_node(type(x)) to ask first"))
    meta, children = kind.split(tree)
    return (tree if isinstance(tree, list | tuple) else tuple(children)), (meta[1] if type(tree) is dict else meta)


def flatten_one_level_with_keys(tree: Any) -> tuple[Iterable[tuple[Any, Any]], Any]:
    """As ``flatten_one_level``, with the key entry of each child: pairs ``(key entry, child)``."""
    children, meta = flatten_one_level(tree)
    return tuple(zip(_kinds[type(tree)].entries(tree), children, strict=True)), meta


def treedef_children(treedef: TreeDef) -> list[TreeDef]:
    """The structures below the root: those of ``[1, (2,)]`` are ``[PyTreeDef(*), PyTreeDef((*,))]``."""
    return treedef.children()


def treedef_tuple(treedefs: Iterable[TreeDef]) -> TreeDef:
    """The structure of a tuple of trees: ``treedef_tuple([LEAF, LEAF])`` is ``PyTreeDef((*, *))``."""
    treedefs = list(treedefs)
    return TreeDef((tuple, None, *[t._spec for t in treedefs]), sum([t.num_leaves for t in treedefs]))


def treedef_is_leaf(treedef: TreeDef) -> bool:
    """Whether the root has no children, as for a leaf, None and ``[]``."""
    return treedef._spec is None or len(treedef._spec) == 2


# Registration -----------------------------------------------------------------------------------------------

_registered = {list, tuple, dict, type(None), OrderedDict, defaultdict}


def _register(cls: type, kind: _Kind) -> None:
    if not isinstance(cls, type):
        raise TypeError(_message("a pytree node type must be a class", repr(cls), "a class", "pass type(x)"))
    if cls in _registered:
        raise ValueError(_message(f"{cls.__name__} is a pytree node already", "a second registration",
                                  "one registration for each class", "drop one, or register a subclass"))
    _registered.add(cls)
    _leaf_types.discard(cls)
    _kinds[cls] = kind


def register_pytree_node(nodetype: type, flatten_func: Callable, unflatten_func: Callable,
                         flatten_with_keys_func: Callable | None = None) -> None:
    """Makes instances of a class nodes; ``flatten_func(x)`` is (children, hashable static data).

    ``unflatten_func(static, children)`` builds an instance; ``flatten_with_keys_func(x)`` is
    ([(key entry, child), ...], static). Raises ValueError if the class is registered already.

    >>> class Point:
    ...     def __init__(self, x, y): self.x, self.y = x, y
    >>> register_pytree_node(Point, lambda p: ((p.x, p.y), None), lambda _, xy: Point(*xy))
    >>> tree_map(lambda v: -v, Point(1, 2)).y
    -2
    """
    def split(tree: Any) -> tuple[Any, tuple]:
        children, static = flatten_func(tree)
        return static, tuple(children)

    def entries(tree: Any) -> list:
        if flatten_with_keys_func is None:
            return [FlattenedIndexKey(i) for i in range(len(split(tree)[1]))]
        return [entry for entry, _ in flatten_with_keys_func(tree)[0]]
    _register(nodetype, _Kind(split, unflatten_func, entries))


def register_pytree_with_keys(nodetype: type, flatten_with_keys: Callable, unflatten_func: Callable,
                              flatten_func: Callable | None = None) -> None:
    """As register_pytree_node, by ``flatten_with_keys(x)``, which is ([(key entry, child), ...], static)."""
    def without_keys(tree: Any) -> tuple[list, Any]:
        pairs, static = flatten_with_keys(tree)
        return [child for _, child in pairs], static
    register_pytree_node(nodetype, flatten_func or without_keys, unflatten_func, flatten_with_keys)


def register_pytree_node_class(cls: type) -> type:
    """Decorator for a class with ``tree_flatten`` and the classmethod ``tree_unflatten(static, children)``.

    >>> @register_pytree_node_class
    ... class Scale:
    ...     def __init__(self, x): self.x = x
    ...     def tree_flatten(self): return (self.x,), None
    ...     @classmethod
    ...     def tree_unflatten(cls, static, children): return cls(*children)
    >>> tree_leaves(Scale(3))
    [3]
    """
    register_pytree_node(cls, methodcaller("tree_flatten"), cls.tree_unflatten)
    return cls


def register_pytree_with_keys_class(cls: type) -> type:
    """Decorator for a class with ``tree_flatten_with_keys(self)`` and the classmethod ``tree_unflatten``."""
    register_pytree_with_keys(cls, methodcaller("tree_flatten_with_keys"), cls.tree_unflatten,
                              methodcaller("tree_flatten") if hasattr(cls, "tree_flatten") else None)
    return cls


def register_dataclass(nodetype: type, data_fields: Sequence[str] | None = None,
                       meta_fields: Sequence[str] | None = None, drop_fields: Sequence[str] = ()) -> type:
    """Makes instances of a dataclass nodes: ``data_fields`` hold subtrees, ``meta_fields`` static data.

    Without the two, fields of ``field(metadata=dict(static=True))`` are static; drop_fields are left out.
    Raises TypeError if only one of the two is given, ValueError if they do not divide the fields among them.

    >>> @register_dataclass
    ... @dataclasses.dataclass
    ... class Layer:
    ...     W: float
    ...     name: str = dataclasses.field(metadata=dict(static=True))
    >>> tree_map(lambda x: 2 * x, Layer(3., 'dense'))
    Layer(W=6.0, name='dense')
    """
    fields = dataclasses.fields(nodetype) if dataclasses.is_dataclass(nodetype) else None
    if (data_fields is None) != (meta_fields is None) or (data_fields is None and fields is None):
        raise TypeError(_message(f"register_dataclass: the fields of {nodetype.__name__} are not known",
                                 f"data_fields={data_fields}, meta_fields={meta_fields}",
                                 "both, or neither for a dataclass",
                                 "pass data_fields=[...], meta_fields=[...]"))
    init = [f for f in fields or () if f.init and f.name not in drop_fields]
    if data_fields is None:
        data_fields = [f.name for f in init if not f.metadata.get("static", False)]
        meta_fields = [f.name for f in init if f.metadata.get("static", False)]
    data, meta = tuple(data_fields), tuple(meta_fields)
    names = sorted([f.name for f in init]) if fields is not None else sorted({*data, *meta})
    if sorted(data + meta) != names:
        raise ValueError(_message(f"register_dataclass: list each field of {nodetype.__name__} once",
                                  f"data_fields={list(data)}, meta_fields={list(meta)}", f"{names}",
                                  "list each in one of the two; name left out fields in drop_fields"))
    _register(nodetype, _Kind(
        lambda tree: (tuple([getattr(tree, name) for name in meta]), [getattr(tree, name) for name in data]),
        lambda static, children: nodetype(**dict(zip(meta + data, (*static, *children), strict=True))),
        lambda tree: [GetAttrKey(name) for name in data]))
    return nodetype


def static_field(**kwargs: Any) -> Any:
    """``dataclasses.field`` of a static field, for ``register_dataclass``; its name in ``funcgrad.tree`` is ``static``."""
    metadata = {**(kwargs.pop("metadata", None) or {}), "static": True}
    return dataclasses.field(metadata=metadata, **kwargs)


def register_static(cls: type) -> type:
    """Decorator that makes instances of a hashable class nodes without leaves, part of the structure."""
    _register(cls, _Kind(lambda tree: (tree, ()), lambda tree, _: tree, lambda _: []))
    return cls


@dataclasses.dataclass(frozen=True)
class _Function:
    """Keeps functools.partial from merging the arguments of an inner partial into those of an outer one."""
    function: Callable

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class Partial(functools.partial):
    """functools.partial as a pytree: the bound arguments are its children, the function is static.

    >>> tree_map(lambda x: 10 * x, Partial(pow, 2))(2)
    400
    """

    def __new__(cls, func: Callable, *args: Any, **kwargs: Any) -> Partial:
        function = _Function(func) if isinstance(func, functools.partial) else func
        return super().__new__(cls, function, *args, **kwargs)


register_pytree_node(Partial, lambda p: ((p.args, p.keywords), p.func),
                     lambda func, bound: Partial(func, *bound[0], **bound[1]))


# The names of jax.tree; from here on `map` and `all` are no longer the builtins -----------------------------

all, broadcast, flatten, unflatten, map = tree_all, tree_broadcast, tree_flatten, tree_unflatten, tree_map
leaves, structure, reduce, transpose = tree_leaves, tree_structure, tree_reduce, tree_transpose
reduce_associative, static = tree_reduce_associative, static_field
flatten_with_path, leaves_with_path = tree_flatten_with_path, tree_leaves_with_path
map_with_path = tree_map_with_path
