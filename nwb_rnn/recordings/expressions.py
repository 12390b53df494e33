"""Small expressions over the columns of a table, such as ``"is_good == 1 and type != 'probe'"``.

The text is parsed by Python's own parser and walked node by node over whole columns; nothing in it is
ever executed. Allowed: names of columns, numbers, texts, True, False, lists of these, ``+ - * / // %``,
comparisons, ``in``, ``and``, ``or``, ``not``, and the functions ``isnan(x)``, ``abs(x)`` and
``column("any name")`` for names with blanks. A comparison with a missing number (NaN) is False.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError

LONGEST = 2000

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
}


def evaluate(expression: str, columns: Mapping[str, np.ndarray], table: str) -> np.ndarray:
    """Rows of a table for which an expression holds.

    Parameters
    ----------
    expression : such as ``"is_good == 1"``, ``"type in ['left', 'right']"``, ``"stop_time - start_time < 5"``
    columns : name -> (n,) numbers, booleans or texts
    table : name of the table, for the error messages

    Returns
    -------
    (n,) bool

    Raises
    ------
    InputError : not such an expression, or it names no column of this table
    """
    if not isinstance(expression, str) or len(expression) > LONGEST:
        raise InputError(
            f"a condition must be a text of at most {LONGEST} characters, such as 'is_good == 1'"
        )
    rows = len(next(iter(columns.values()))) if columns else 0
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        with np.errstate(all="ignore"):
            result = _Walker(columns, table, expression).value(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise InputError(f"cannot read the condition {expression!r} ({reason}); {_ALLOWED}") from error
    result = np.asarray(result)
    if result.dtype.kind != "b":
        raise InputError(
            f"the condition {expression!r} gives {result.dtype} values; compare them, as in 'x == 1'"
        )
    return np.broadcast_to(result, (rows,)).copy()


_ALLOWED = (
    "use column names, numbers, texts, + - * / // %, == != < <= > >=, in, and, or, not, isnan(x), abs(x) "
    "or column('any name')"
)


class _Walker:
    """Value of each node of a parsed expression, over whole columns."""

    def __init__(self, columns: Mapping[str, np.ndarray], table: str, expression: str):
        self.columns, self.table, self.expression = columns, table, expression

    def value(self, node: ast.AST) -> Any:
        match node:
            case ast.Name():
                return self.column(node.id)
            case ast.Constant(value=bool() | int() | float() | str()):
                return _constant(node.value)
            case ast.List() | ast.Tuple() | ast.Set():
                return [self.value(item) for item in node.elts]
            case ast.BoolOp():
                return self.combine(node)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                sides = [_number(self.value(side)) for side in (node.left, node.right)]
                return _ARITHMETIC[type(node.op)](*sides)
            case ast.Compare():
                return self.compare(node)
            case ast.Call(func=ast.Name(), args=[argument], keywords=[]):
                return self.call(node.func.id, argument)
        raise InputError(
            f"{type(node).__name__} is not allowed in the condition {self.expression!r}; {_ALLOWED}"
        )

    def column(self, name: str) -> np.ndarray:
        if name not in self.columns:
            has = ", ".join(self.columns) or "no column"
            raise InputError(
                f"the condition {self.expression!r} names {name!r}; table {self.table!r} has {has}"
            )
        return np.asarray(self.columns[name])

    def combine(self, node: ast.BoolOp) -> np.ndarray:
        parts = [_truth(self.value(part), self.expression) for part in node.values]
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        result = parts[0]
        for part in parts[1:]:
            result = join(result, part)
        return result

    def unary(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return ~_truth(self.value(node.operand), self.expression)
        number = _number(self.value(node.operand))
        if isinstance(node.op, ast.USub):
            return np.negative(number)
        if isinstance(node.op, ast.UAdd):
            return number
        raise InputError(f"'~' is not allowed in the condition {self.expression!r}; write 'not'")

    def compare(self, node: ast.Compare) -> np.ndarray:
        left, result = self.value(node.left), np.asarray(True)
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.value(right_node)
            result = np.logical_and(result, self.one_comparison(operator, left, right))
            left = right
        return result

    def one_comparison(self, operator: ast.cmpop, left: Any, right: Any) -> np.ndarray:
        if isinstance(operator, ast.In | ast.NotIn):
            choices = right if isinstance(right, list) else [right]
            hits = np.zeros(np.shape(left), dtype=bool)
            for choice in choices:
                hits = hits | self.alike(np.equal, left, choice)
            return ~hits if isinstance(operator, ast.NotIn) else hits
        if type(operator) not in _COMPARE or isinstance(left, list) or isinstance(right, list):
            raise InputError(f"cannot compare so in the condition {self.expression!r}; {_ALLOWED}")
        return self.alike(_COMPARE[type(operator)], left, right)

    def alike(self, function: Callable[[Any, Any], Any], left: Any, right: Any) -> np.ndarray:
        left, right = np.asarray(left), np.asarray(right)
        if (left.dtype.kind == "U") != (right.dtype.kind == "U"):
            raise InputError(
                f"the condition {self.expression!r} compares a text with a number; "
                "put texts in quotes, and numbers without"
            )
        result = function(left, right)
        missing = np.zeros(np.shape(result), dtype=bool)
        for side in (left, right):
            if side.dtype.kind == "f":
                missing = missing | np.isnan(side)
        return result & ~missing

    def call(self, function: str, argument: ast.expr) -> Any:
        if function == "column" and isinstance(argument, ast.Constant):
            return self.column(str(argument.value))
        if function == "isnan":
            return np.isnan(_number(self.value(argument)))
        if function == "abs":
            return np.abs(_number(self.value(argument)))
        raise InputError(f"{function}() is not allowed in the condition {self.expression!r}; {_ALLOWED}")


def _constant(value: bool | int | float | str) -> Any:
    if isinstance(value, str | bool):
        return np.asarray(value)
    return np.asarray(value if isinstance(value, int) and abs(value) < 2**53 else float(value))


def _number(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if isinstance(value, list) or array.dtype.kind not in "fiub":
        raise TypeError("arithmetic needs numbers")
    return array.astype(float)


def _truth(value: Any, expression: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind != "b":
        raise InputError(
            f"a part of the condition {expression!r} is neither true nor false; compare it, as in 'x == 1'"
        )
    return array
