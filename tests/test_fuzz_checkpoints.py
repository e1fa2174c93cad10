"""Property tests: a checkpoint is read as exactly its network, or rejected with a one-line error."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from helpers.fuzz import generator_specs
from hypothesis import event, given
from hypothesis import strategies as st

from kd_plugin import GeneratorSpec, inspect_checkpoint, load_teacher
from kd_plugin.errors import CheckpointError
from kd_plugin.networks.checkpoint import inspect_state_dict, is_statistic
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.state import RunState

State = dict[str, torch.Tensor]


@given(generator_specs())
def test_a_generator_is_read_as_its_description(spec: GeneratorSpec) -> None:
    assert inspect_state_dict(build_generator(spec).state_dict()) == spec


def cut(tensor: torch.Tensor, to: int) -> torch.Tensor:
    return tensor.narrow(0, 0, min(to, len(tensor))) if tensor.ndim else tensor


CHANGES: dict[str, Callable[[State, str, str], Any]] = {
    "removed": lambda state, key, other: state.pop(key),
    "renamed": lambda state, key, other: state.update({f"{key}.0": state.pop(key)}),
    "renumbered": lambda state, key, other: state.update({key.replace("1", "2"): state.pop(key)}),
    "wrapped": lambda state, key, other: state.update({f"module.{key}": state.pop(key)}),
    "doubled": lambda state, key, other: state.update({key.replace("1", "9", 1): state[key]}),
    "swapped": lambda state, key, other: state.update({key: state[other], other: state[key]}),
    "longer": lambda state, key, other: state.update({key: torch.cat([torch.atleast_1d(state[key])] * 2)}),
    "shorter": lambda state, key, other: state.update({key: cut(state[key], 1)}),
    "empty": lambda state, key, other: state.update({key: cut(state[key], 0)}),
    "deeper": lambda state, key, other: state.update({key: state[key][None]}),
    "half": lambda state, key, other: state.update({key: state[key].half()}),
    "integers": lambda state, key, other: state.update({key: state[key].to(torch.int64)}),
    "complex": lambda state, key, other: state.update({key: state[key].to(torch.complex64)}),
}


@given(generator_specs(), st.data())
def test_changed_tensors_are_refused_or_are_those_of_the_network(
    tmp_path_factory: pytest.TempPathFactory, spec: GeneratorSpec, data: st.DataObject
) -> None:
    state, file = dict(build_generator(spec).state_dict()), tmp_path_factory.getbasetemp() / "changed.pth"
    # Above all the first tensors and the last ones, whose shapes say what it is a network of.
    keys = st.sampled_from(list(state)) | st.sampled_from([*list(state)[:3], *list(state)[-3:]])
    for change in data.draw(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=2)):
        key, other = data.draw(keys), data.draw(keys)
        if {key, other} <= state.keys():
            CHANGES[change](state, key, other)
    torch.save(state, file)
    try:
        network = load_teacher(file)
    except CheckpointError as error:
        event("refused")
        assert str(file) in str(error) and "\n" not in str(error)
        return
    event("read")
    loaded = network.state_dict()
    given = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    assert all(key in loaded or is_statistic(key) for key in given)
    for key, tensor in loaded.items():
        assert key.endswith("num_batches_tracked") or torch.equal(tensor, given[key].float())
    side = max(network.spec.multiple, 16)
    assert network(torch.zeros(1, network.spec.input_nc, side, side)).shape[1] == network.spec.output_nc


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("model.1.weight", lambda t: t.to(torch.int64), "'model.1.weight' is a torch.strided tensor of torch.int64"),
        ("model.1.weight", lambda t: t.to_sparse(), "'model.1.weight' is a torch.sparse_coo tensor of torch.float32"),
        ("model.1.weight", lambda t: t[:, :0], r"'model.1.weight' has the shape \(2, 0, 7, 7\), expected the four"),
        ("model.1.weight", lambda t: t[:0], r"'model.1.weight' has the shape \(0, 1, 7, 7\), expected the four"),
        ("model.2.num_batches_tracked", lambda t: t.expand(2), r"'model.2.num_batches_tracked' has the shape \(2,\)"),
    ],
    ids=["integers", "sparse", "no inputs", "no outputs", "a count of batches that is none"],
)
def test_tensors_that_no_network_can_hold(
    tmp_path: Path, key: str, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    """Each was read without an error once, or ended in one of PyTorch."""
    state = build_generator(GeneratorSpec("resnet", 1, 1, 2, 1, "batch", False, False)).state_dict()
    torch.save({**state, key: change(state[key])}, tmp_path / "G.pth")
    with pytest.raises(CheckpointError, match=message):
        load_teacher(tmp_path / "G.pth")


SMALL = build_generator(GeneratorSpec("resnet", 1, 1, 2, 1, "instance", False, True)).state_dict()


def file_of(kind: str, folder: Path) -> bytes:
    """The bytes of a checkpoint, or of the state of a run."""
    file = folder / f"whole.{kind}"
    if kind == "state":
        RunState(1, 2, True, 0, 1, 0.1, networks={"G": SMALL}, pools={"pool": [torch.zeros(2)]}).write(folder)
        return (folder / "latest_distill_state.pth").read_bytes()
    if kind == "safetensors":
        safetensors.torch.save_file(SMALL, file)
    else:
        torch.save(SMALL, file, _use_new_zipfile_serialization=kind == "zip")
    return file.read_bytes()


edits = st.lists(
    st.tuples(
        st.integers(0, 2500) | st.integers(0, 10**5),  # above all at the beginning, where the structure is
        st.sampled_from([1, 1, 8, 100]),
        st.one_of(st.just(b""), st.binary(min_size=1, max_size=8), st.binary(min_size=50, max_size=100)),
    ),
    max_size=4,
)


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors", "state"])
@given(edits=edits, kept=st.just(1.0) | st.floats(0, 1))
def test_changed_bytes_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, kind: str, edits: list[tuple[int, int, bytes]], kept: float
) -> None:
    """Replaced, removed, inserted, cut short: nothing but our error escapes."""
    folder = tmp_path_factory.getbasetemp() / f"bytes_{kind}"
    folder.mkdir(exist_ok=True)
    content = bytearray(file_of(kind, folder))
    for place, length, new in edits:
        place %= max(len(content), 1)
        content[place : place + length] = new
    file = folder / ("latest_distill_state.pth" if kind == "state" else "G.pth")
    file.write_bytes(content[: int(kept * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if kind == "state":
                state = RunState.read(folder)
                assert state is not None and isinstance(state.place, tuple)
            else:
                build_generator(inspect_checkpoint(file))
        except CheckpointError as error:
            assert str(file) in str(error) and "\n" not in str(error)
