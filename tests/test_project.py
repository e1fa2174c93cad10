"""Consistency between files: versions, supported Pythons, public names, and generated lists."""

from __future__ import annotations

import importlib
import re
import runpy

import pytest
import torch
from helpers.commands import REPOSITORY

from kd_plugin import __version__
from kd_plugin.losses import Term, registry

GENERATE = runpy.run_path(str(REPOSITORY / "docs" / "generate.py"))


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def python_version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


@pytest.mark.parametrize("page", GENERATE["LISTS"])
def test_lists_are_what_make_lists_writes(page: str) -> None:
    assert GENERATE["updated"](page) == read(page), "run make lists"
    assert "TODO" not in read(page), "say in the last column when to reach for the term"


@pytest.mark.parametrize("page", GENERATE["LISTS"])
def test_lists_are_out_of_date_when_a_term_is_added(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class NewLoss(Term):
        name, summary, reads, default_weight = "brand_new", "a new term", "output", 7.0

        def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
            return (student - teacher).abs().mean()

    monkeypatch.setitem(registry._TERMS, "brand_new", NewLoss)
    assert "brand_new" in GENERATE["updated"](page)


@pytest.mark.parametrize("package", ["kd_plugin", "kd_plugin.losses", "kd_plugin.students"])
def test_every_public_function_and_class_is_in_the_api_pages(package: str) -> None:
    module = importlib.import_module(package)
    pages = "".join(page.read_text(encoding="utf-8") for page in (REPOSITORY / "docs" / "api").glob("*.rst"))
    described = re.findall(r"^\.\. auto(?:class|exception|function):: (?:.*\.)?(\w+)", pages, re.MULTILINE)
    objects = {name: getattr(module, name) for name in module.__all__}
    named = {name for name, value in objects.items() if getattr(value, "__module__", "").startswith("kd_plugin")}
    assert named and named <= {*described}


def test_pre_commit_has_the_ruff_of_the_dev_extra() -> None:
    (ruff,) = re.findall(r'"ruff==([\d.]+)"', read("pyproject.toml"))
    assert f"ruff-pre-commit\n    rev: v{ruff}\n" in read(".pre-commit-config.yaml")


def test_continuous_integration_runs_on_the_oldest_and_the_newest_python() -> None:
    project, workflow = read("pyproject.toml"), read(".github/workflows/ci.yml")
    supported = sorted(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project), key=python_version)
    assert f'requires-python = ">={supported[0]}"' in project
    assert re.search(r"python: \[(.*)\]", workflow)[1] == f'"{supported[0]}", "{supported[-1]}"'
    assert re.findall(r'python-version: "(.*)"', workflow) == [supported[-1]]  # of the documentation
    assert "- run: .ci/run\n" in workflow and "- run: make docs\n" in workflow


def test_citation_has_the_version_and_the_papers_of_the_terms() -> None:
    citation = read("CITATION.cff")
    assert f"\nversion: {__version__}\n" in citation
    papers = re.findall(r'  - type: .*\n    title: "?(.*?)"?\n[\s\S]*?notes: The term (\w+)\.', citation)
    assert [term for _, term in papers] == ["wavelet", "srp"]
    for title, term in papers:
        assert title in " ".join(importlib.import_module(registry.get_term(term).__module__).__doc__.split())


@pytest.mark.xdist_group("one_process")
def test_tests_of_a_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist 3.8 with pytest 9.2 spreads them without a word, and fixtures are then built in every process."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("in one process")
    assert request.node.nodeid.endswith("@one_process")
