"""The layout of the package: imports allowed between subpackages, and rules that hold for all of them.

The rows are those of the map in CONTRIBUTING.md, from highest to lowest. Imports inside functions and for type
checkers count too.
"""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kd_plugin

PACKAGE = Path(kd_plugin.__file__).parent
ROWS = [
    ["commands", "cli", "__main__", "__init__"],
    ["host.launch"],
    ["host.model"],
    ["host.options"],
    ["host.repository", "host.__init__"],
    ["compression"],
    ["report"],
    ["watch"],
    ["export"],
    ["students"],
    ["training"],
    ["distillation"],
    ["metrics"],
    ["losses"],
    ["networks"],
    ["errors", "files", "flags", "imports", "pictures", "processes", "progress", "version"],
]
MODULES = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in sorted(PACKAGE.rglob("*.py"))}
# Replaced outside the two files for it: methods of the run's parser and of optimizers, and hooks of Python, also that
# which starts processes.
REPLACED_ELSEWHERE = {
    "host.options.command_line": {"error", "parse_args"},
    "host.options.excepthook": {"excepthook"},
    "host.options.record": {"type"},
    "host.model.unreadable": {"excepthook"},
    "host.launch.runner": {"excepthook"},
    "host.launch.child_processes": {"get_command_line"},
    "training.guard": {"step"},
}
REPLACING = {"host.launch.import_hooks", "host.model.building"}


def row_of(module: str) -> int:
    for number, row in enumerate(ROWS):
        if any(module == room or module.startswith(f"{room}.") for room in row):
            return number
    raise AssertionError(f"kd_plugin.{module} is in no room")


def imports_of(module: str) -> Iterator[str]:
    """The modules of the package that a module imports."""
    file = MODULES[module]
    here = module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = here[: len(here) - node.level + 1]
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield inner if inner in MODULES else base if base in MODULES else f"{base}.__init__".lstrip(".")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kd_plugin":
            raise AssertionError(f"{module} imports {node.module} by its full name")


def texts_of(module: str) -> Iterator[tuple[int, str]]:
    """The strings of a module, its docstrings aside, each with its line."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and isinstance(n.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_rooms_below_it_only(module: str) -> None:
    row = row_of(module)
    for imported in imports_of(module):
        assert row_of(imported) >= row, f"kd_plugin.{module} imports {imported}"


def test_no_imports_form_a_circle() -> None:
    graph = {module: set(imports_of(module)) - {module} for module in MODULES}
    order = graphlib.TopologicalSorter(graph).static_order()  # raises an error that names a circle
    assert set(order) == set(MODULES)


def test_the_losses_know_networks_and_the_ground_alone() -> None:
    allowed = {row_of("losses"), row_of("networks"), row_of("errors")}
    found = {imported for module in MODULES if module.startswith("losses") for imported in imports_of(module)}
    assert {row_of(imported) for imported in found} <= allowed


def test_re_exports_are_in_three_places() -> None:
    inits = {module for module, file in MODULES.items() if file.name == "__init__.py" and list(imports_of(module))}
    assert inits == {"__init__", "losses.__init__", "students.__init__"}


def test_two_files_replace_functions_of_a_host() -> None:
    """Whoever assigns a function to an attribute of something that is not its own replaces one."""
    for module, file in MODULES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        replaced = set()
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign):
                continue
            value = node.value
            if isinstance(value, ast.Call):  # of a function that makes one
                maker = functions.get(ast.unparse(value.func))
                makes_one = maker is not None and "Callable" in ast.unparse(maker.returns or ast.Constant(""))
            else:
                makes_one = isinstance(value, ast.Lambda) or ast.unparse(value) in functions
            for target in node.targets:
                if makes_one and isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self":
                    replaced.add(target.attr)
        if module not in REPLACING:
            assert replaced == REPLACED_ELSEWHERE.get(module, set()), f"{module} replaces {', '.join(replaced)}"


@pytest.mark.parametrize(
    "module", [module for module in MODULES if row_of(module) > row_of("host.repository") and module != "flags"]
)
def test_options_are_named_by_the_layer_that_has_them(module: str) -> None:
    for line, text in texts_of(module):
        assert not re.search(r"(?<![\w-])--([A-Za-z]|$)", text), f"kd_plugin/{module}, line {line}: {text}"
