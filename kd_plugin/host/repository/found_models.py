"""Find the generators to distil in the source of a host's models, without importing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .family import find_family, is_generator, known_pairs

_BASES = ("base", "template")  # base classes, not models


def found_models(models: Path) -> dict[str, str]:
    """Return the generators to distil by model in a host's ``models/``; "" if a model's files name no networks."""
    names = (file.name.removesuffix("_model.py") for file in sorted(models.glob("*_model.py")))
    return {name: _distilled(models, name) for name in names if name not in _BASES}


def _distilled(models: Path, name: str) -> str:
    if name == "test":
        return "none: it only tests"
    sources = list(_sources(models, f"{name}_model"))
    texts = [text for text, _ in sources]
    if any(re.search(r"^\s*distill_pairs\s*=", text, re.MULTILINE) for text in texts):
        return "declared in its class"
    networks: list[str] = []
    for _, tree in sources:
        found, replaces = _networks(tree)
        networks += found
        if replaces:
            break
    family = find_family(models)
    named = family.models.get(name) if family else None
    for pairs in [named.pairs] if named and named.pairs else known_pairs():
        nets = [pair.net for pair in pairs]
        has_output = any(pairs[0].output in text for text in texts)
        if set(nets) <= set(networks) and (has_output or len(nets) > 1):  # a single name is ambiguous
            more = _watched(name for name in networks if name not in nets)
            return f"{' and '.join(nets)}{f'; {more}' if more else ''}"
    if watched := _watched(name for name in networks if name != "G"):
        return watched
    listed = ", ".join(sorted(set(networks)))
    return f"none by default, its networks are {listed}: declare distill_pairs in its class" if listed else ""


def _watched(networks: Iterable[str]) -> str:
    """Return a description of the generators among networks, which may end in ``*``; "" if there are none."""
    names = sorted({name for name in networks if is_generator(name.replace("*", "1")) and not name.endswith("_ema")})
    return f"{', '.join(names)}, found by watching a forward pass" if names else ""


def _sources(models: Path, module: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the source of a model, and of the models its module imports, which may be its base classes."""
    modules = [module]
    for module in modules:
        text, tree = parse(models / f"{module}.py")
        if tree is None:
            continue
        yield text, tree
        imported = (node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        names = dict.fromkeys(path.rpartition(".")[2] for path in imported)
        modules += [name for name in names if name.endswith("_model") and name not in modules]


def parse(file: Path) -> tuple[str, ast.Module | None]:
    """Return the text of a source file and its syntax tree, which is None if it is missing or cannot be parsed."""
    if not file.is_file():
        return "", None
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        return text, ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return text, None


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
