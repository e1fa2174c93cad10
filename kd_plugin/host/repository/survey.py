"""Survey the capabilities of a host by parsing its files, without importing or running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import HostError
from .family import CONSTRUCTIONS, find_family
from .folder import find_host
from .found_models import found_models, parse
from .gathering import gathers_options
from .installed import InstalledHost
from .model_files import patches, status

_APART = 'in KD_DISTILL="--distill ..." or the FILE of kd run --kd_options FILE'


@dataclass(frozen=True)
class Finding:
    """A capability of a host."""

    what: str
    found: str  # "" if nothing was found
    where: str = ""  # file and line
    needed: bool = False  # whether the plugin requires it


@dataclass
class Survey:
    """Result of :func:`survey`."""

    folder: str  # of the host
    kind: str  # short description of the host
    findings: list[Finding]  # one per capability
    models: dict[str, str]  # the generators to distil by model; "" where the files name no networks
    patches: dict[str, str]  # state of the plugin's model files present in the host, by path
    scripts: list[str]  # train.py and test.py where present, relative to ``folder``

    @property
    def missing(self) -> list[str]:
        """The required capabilities that were not found."""
        return [finding.what for finding in self.findings if finding.needed and not finding.found]


def survey(host: Path, installed: InstalledHost | None = None) -> Survey:
    """Return the capabilities of a host: a repository or, if ``installed`` is given, an installed package.

    Raises:
        HostError: the folder does not exist.
    """
    if not host.is_dir():
        raise HostError(f"{host}: no such folder")
    root = find_host(host) or host
    sources = {
        name: _Source(host, root / name) for name in ("models/__init__.py", _networks(root), "models/base_model.py")
    }
    for name in ("train.py", "test.py"):
        sources[name] = _Source(host, next((f / name for f in (host, root) if (f / name).is_file()), host / name))
    if installed and installed.module:  # trains and tests
        sources["train.py"] = _Source(host, installed.module)
    init, networks, base, train, test = sources.values()
    finds_models = init.function("find_model_using_name") or init.import_of("find_model_using_name")
    define_G, init_net = networks.function("define_G"), networks.function("init_net")
    arguments = [argument.arg for argument in define_G.args.args] if define_G else []
    assigned = networks.assignment("define_G")
    built = f"define_G({', '.join(arguments)})" if define_G else "define_G" if assigned else ""
    made = [c for c in CONSTRUCTIONS if any(_calls(f.function(c.function), "init_net") for f in (base, networks))]
    used = [c for c in CONSTRUCTIONS if base.has(c.parallel) or networks.has(c.parallel)]
    years = made or [c for c in used if c is CONSTRUCTIONS[0]]  # DataParallel occurs in all years
    findings = [
        Finding("models looked up by name", "find_model_using_name" if finds_models else "",
                init.at(finds_models), needed=True),
        Finding("generators built by", built, networks.at(define_G or assigned)),
        Finding("networks initialised", made[0].initialised if made else "", networks.at(init_net)),
        Finding("several GPUs", used[0].parallel if used else ""),
        Finding("checkpoints saved by", "save_networks" if base.function("save_networks") else "",
                base.at(base.function("save_networks"))),
        Finding("learning rate set", _learning_rate(train), train.at(None) if train.tree else ""),
        Finding("training script", "train.py" if train.tree else "", needed=True),
        Finding("test script", "test.py" if test.tree else ""),
    ]  # fmt: skip
    added = [status(root, files) for files in patches().values()] if init.tree else []
    there = {path: how for files in added for path, how in files.items() if how != "missing"}
    gathering = gathers_options(root)
    given = [_APART] if init.tree else []
    if gathering:
        given.insert(0, "on the command line")
    findings.append(Finding("options of the plugin", ", or ".join(given), gathering))
    if installed and installed.scripts:
        runs = ", ".join(f"kd run {name}" for name in installed.scripts)
        findings = [f for f in findings if f.what != "test script"]
        findings = [replace(f, found=runs) if f.what == "training script" else f for f in findings]
    models = found_models(root / "models")
    scripts = [] if installed else [script.name for script in (train, test) if script.tree]
    return Survey(str(host), _kind(root, years[0].years if years else ""), findings, models, there, scripts)


class _Source:
    """A parsed file of a host; ``tree`` is None if the file is missing or cannot be parsed."""

    def __init__(self, host: Path, file: Path) -> None:
        self.name = str(file.relative_to(host) if file.is_relative_to(host) else file)
        _, self.tree = parse(file)

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(self.tree) if self.tree else iter(())

    def function(self, name: str) -> ast.FunctionDef | None:
        return next((n for n in self.nodes() if isinstance(n, ast.FunctionDef) and n.name == name), None)

    def assignment(self, name: str) -> ast.stmt | None:
        """Return the statement that assigns a name in a module."""
        for node in self.tree.body if self.tree else ():
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node
        return None

    def import_of(self, name: str) -> ast.stmt | None:
        """Return the statement that imports a name into a module."""
        for node in self.tree.body if self.tree else ():
            if isinstance(node, ast.ImportFrom) and any(name in (a.asname, a.name) for a in node.names):
                return node
        return None

    def has(self, name: str) -> bool:
        return any(_name(node) == name for node in self.nodes())

    def at(self, node: ast.stmt | None) -> str:
        return f"{self.name}:{node.lineno}" if node else self.name if self.tree else ""


def _name(node: ast.AST) -> str | None:
    """Return the last component of a name or attribute."""
    name: str | None = getattr(node, "attr", getattr(node, "id", None))
    return name


def _calls(function: ast.FunctionDef | None, name: str) -> bool:
    nodes = ast.walk(function) if function else ()
    return any(isinstance(node, ast.Call) and _name(node.func) == name for node in nodes)


def _learning_rate(train: _Source) -> str:
    """Return whether the learning rate is set before or after the steps of an epoch."""
    lines = {
        name: node.lineno
        for node in train.nodes()
        if isinstance(node, ast.Call)
        and (name := getattr(node.func, "attr", "")) in ("update_learning_rate", "optimize_parameters")
    }
    if len(lines) < 2:
        return ""
    before = lines["update_learning_rate"] < lines["optimize_parameters"]
    return "before every epoch" if before else "after every epoch"


def _kind(host: Path, years: str) -> str:
    if not (host / "models" / "__init__.py").is_file():
        return "not a host: it has no models/__init__.py"
    family = find_family(host / "models")
    name = family.name if family else "a host with custom models"
    return name if not years or (family and family.identified_by) else f"{name}, {years}"


def _networks(host: Path) -> str:
    """Return the module that builds the generators: ``models/networks.py``, or another with ``define_G``."""
    usual = host / "models" / "networks.py"
    others = sorted(host.glob("models/*_networks.py"), key=lambda file: ("gan" not in file.name, file.name))
    found = (file for file in others if not usual.is_file() and "def define_G(" in file.read_text(errors="replace"))
    return f"models/{next(found, usual).name}"
