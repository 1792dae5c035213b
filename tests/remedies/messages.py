"""Every error message in the source, found in its syntax tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[2] / "src" / "rmnet"


class Message(NamedTuple):
    """An error that some line makes; values in its text are `{}`."""

    file: str  # within src/rmnet
    line: int
    text: str


def messages() -> list[Message]:
    """Return the messages of all modules, in the order of the files."""
    return [message for file in sorted(SOURCE.rglob("*.py")) for message in _messages_of(file)]


def _messages_of(file: Path) -> list[Message]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: _text(node.value, {})
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in tree.body:  # functions that only make a text
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return):
            constants[node.name] = _text(node.body[-1].value or node, constants)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            text = _text(node.args[0], constants)
            is_error = re.search(r"(^|\.)(\w*Error|error)$", ast.unparse(node.func))
            if is_error and re.search(r"\w\w", text):
                found.append(Message(file.relative_to(SOURCE).as_posix(), node.lineno, text))
    return found


def _text(node: ast.AST, constants: dict[str, str]) -> str:
    """Return the words of a string expression, with `{}` for what only running it gives."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value, constants) for value in values)
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name) if name in constants:
            return constants[name]
        case ast.Call(func=ast.Name(id=name)) if name in constants:
            return constants[name]
    return "{}"
