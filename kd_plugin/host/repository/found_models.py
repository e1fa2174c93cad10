"""Find the generators to distil in the source of a host's models, without importing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .family import known_pairs

_BASES = ("base", "template")  # base classes, not models


def found_models(models: Path) -> dict[str, str]:
    """Return the generators to distil by model in a host's ``models/``; "" if a model's files name no networks."""
    names = (file.name.removesuffix("_model.py") for file in sorted(models.glob("*_model.py")))
    return {name: _distilled(models, name) for name in names if name not in _BASES}


def _distilled(models: Path, name: str) -> str:
    if name == "test":
        return "none: it only tests"
    texts = list(_texts(models, f"{name}_model"))
    if any(re.search(r"^\s*distill_pairs\s*=", text, re.MULTILINE) for text in texts):
        return "declared in its class"
    networks: list[str] = []
    for text in texts:
        found, replaces = _networks(ast.parse(text))
        networks += found
        if replaces:
            break
    for pairs in known_pairs():
        nets = [pair.net for pair in pairs]
        has_output = any(pairs[0].output in text for text in texts)
        if set(nets) <= set(networks) and (has_output or len(nets) > 1):  # a single name is ambiguous
            return " and ".join(nets)
    listed = ", ".join(sorted(set(networks)))
    return f"none by default, its networks are {listed}: declare distill_pairs in its class" if listed else ""


def _texts(models: Path, module: str) -> Iterator[str]:
    """Yield the source of a model, and of the models its module imports, which may be its base classes."""
    seen: set[str] = set()
    modules = [module]
    for module in modules:
        file = models / f"{module}.py"
        if module in seen or not file.is_file():
            continue
        seen.add(module)
        text = file.read_text(encoding="utf-8", errors="replace")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        yield text
        imported = (node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        modules += [name for name in (path.rpartition(".")[2] for path in imported) if name.endswith("_model")]


def _networks(tree: ast.Module) -> tuple[list[str], bool]:
    """Return the names that a module adds to ``model_names``, and whether it overrides those of its base class."""
    names: list[str] = []
    replaces = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(map(_is_model_names, node.targets)):
            replaces = True
            names += _strings(node.value)
        elif isinstance(node, ast.AugAssign) and _is_model_names(node.target):
            names += _strings(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_model_names(node.func.value):
            names += [name for argument in node.args for name in _strings(argument)]
    return names, replaces


def _is_model_names(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "model_names"


def _strings(node: ast.AST) -> Iterator[str]:
    """Yield the strings in a list; ``*`` replaces an ending known only at run time: ``f"G{i}"`` gives ``G*``."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case (
            ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) | ast.BinOp(left=ast.Constant(value=str(text)))
        ):
            yield f"{text}*"
        case ast.BinOp(left=left, right=right) | ast.IfExp(body=left, orelse=right):
            yield from (*_strings(left), *_strings(right))
        case ast.ListComp(elt=element):
            yield from _strings(element)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            for element in elements:
                yield from _strings(element)
