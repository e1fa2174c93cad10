"""Property tests: ``student.json`` is accepted unchanged, or rejected with a one-line error."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from helpers.fuzz import json_values
from helpers.hosts import HOST, imported_host
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from kd_plugin import KDError
from kd_plugin.errors import CheckpointError
from kd_plugin.host.launch.import_hooks import _patch_models
from kd_plugin.host.repository.family import network_options
from kd_plugin.students import StudentRecord

FIXTURES = Path(__file__).resolve().parent / "fixtures"
RECORDS = {
    name: (FIXTURES / "third" / name / "student.json").read_text()
    for name in ("pix2pix_end", "cycle_gan_end", "shapes_end")
}


def places(node: Any) -> list[tuple[Any, Any]]:
    """All objects of a record, each with each of its names."""
    if not isinstance(node, dict):
        return []
    return [(node, name) for name in node] + [place for value in node.values() for place in places(value)]


@st.composite
def changed_records(draw: st.DrawFn, name: str) -> Any:
    """The record of a fixture with one or two values replaced, removed or added, or something else in its place."""
    record = json.loads(RECORDS[name])
    changes = st.sampled_from([*["replaced"] * 4, "removed", "added", "other"])
    for how in draw(st.lists(changes, min_size=1, max_size=2)):
        if how == "other":
            return draw(json_values)
        node, key = draw(st.sampled_from(places(record)))
        if how == "removed":
            del node[key]
        else:
            node[key if how == "replaced" else draw(st.text(max_size=3))] = draw(json_values)
    return record


any_record = st.sampled_from(sorted(RECORDS)).flatmap(lambda name: st.tuples(st.just(name), changed_records(name)))


def with_channels(channels: Any) -> dict[str, Any]:
    record = json.loads(RECORDS["pix2pix_end"])
    return {**record, "students": {"G": {"class": "of.the.Users", "input_nc": channels}}}


@example(("pix2pix_end", with_channels([3])))
@example(("pix2pix_end", with_channels(0)))
@given(any_record)
def test_a_record_is_read_as_it_is_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changed: tuple[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    (folder / "student.json").write_text(json.dumps(changed[1]))
    try:
        record = StudentRecord.read(folder, network_options())
        assert record is not None
        asked = record.request
    except CheckpointError as error:
        event("refused")
        assert "student.json" in str(error) and "\n" not in str(error)
        return
    event("read")
    for name, value in record.options_for(Namespace(model="test")).items():
        assert type(value) is network_options()[name] and (type(value) is not int or value > 0)
    assert all(type(width) is int for width in asked.widths or ())
    again = StudentRecord.read(record.write(folder / "again").parent, network_options())
    assert again == record and again.request == asked


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Experiments below a folder, which is the current one, and a host whose options have the plugin's."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(FIXTURES / "teachers", folder / "teachers")
    for name in RECORDS:
        shutil.copytree(FIXTURES / "third" / name, folder / name)
    before = Path.cwd(), sys.excepthook
    os.chdir(folder)
    with imported_host(HOST, "2025") as models:
        _patch_models(models)
        yield folder
    os.chdir(before[0])
    sys.excepthook = before[1]


@pytest.mark.parametrize(
    ("script", "options"),
    [("train", "--continue_train"), ("test", ""), ("test", "--model test")],
)
@settings(max_examples=max(10, settings().max_examples // 6))
@given(changed=any_record)
def test_a_run_takes_a_record_or_refuses_it(runs: Path, script: str, options: str, changed: tuple[str, Any]) -> None:
    name, record = changed
    (runs / name / "student.json").write_text(json.dumps(record))
    shared = f"--dataroot images --checkpoints_dir . --name {name} --load_size 32 --crop_size 32"
    arguments = f"{script}.py {shared} {options}"
    parser = getattr(importlib.import_module(f"options.{script}_options"), f"{script.title()}Options")
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", arguments.split()),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        try:
            opt = parser().parse()
        except KDError as error:
            said.write(f"error: {error}\n")
        except SystemExit as ended:
            assert ended.code == 2
        else:
            event("taken")
            assert type(opt.ngf) is int and type(opt.input_nc) is int
            return
    assert "error: " in said.getvalue() and said.getvalue().count("\n") == 1
