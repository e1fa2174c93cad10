"""Read a generator's architecture from its checkpoint.

The names and shapes of the tensors determine everything except a U-Net's dropout, so the options that a teacher was
trained with are not needed: the registered architectures recognise them. Checkpoints are untrusted: they are loaded
with ``weights_only=True``.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ..errors import ArgumentError, CheckpointError, KDError, UnknownNetworkError, first_line
from ..files import write_atomically
from .checkpoint_files import checkpoint_format
from .divided import family_keys
from .generator import GeneratorSpec, architectures, build_generator

_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and DistributedDataParallel, torch.compile


def inspect_checkpoint(path: str | os.PathLike[str]) -> GeneratorSpec:
    """Return the architecture of the generator in a ``.pth`` file as written by the hosts, a bare state dict.

    Raises:
        CheckpointError: If the file is missing or unreadable.
        UnknownNetworkError: If it does not contain a generator of the family.
    """
    return inspect_state_dict(read_state_dict(path), str(path))


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Load a state dict on the CPU, with the prefixes of DataParallel, DDP and torch.compile removed.

    Raises:
        CheckpointError: If it is missing, not a file, unreadable or not a state dict, or would run code.
    """
    file = Path(path)
    if checkpoint_format(file) == "safetensors":
        return _read_safetensors(file)
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: is damaged, or contains objects other than tensors, which could run code when loaded; "
            f"expected the bare state dict the host saves as *_net_G*.pth"
        ) from error
    except Exception as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{file}: is a TorchScript program, which contains code; expected the state dict the host saves"
            ) from error
        raise _damaged(file, error) from error  # the unpickler raises anything: struct.error, KeyError, ...
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{file}: contains a {type(loaded).__name__}, expected the state dict of a generator")
    others = [str(key) for key, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise CheckpointError(
            f"{file}: '{others[0]}' is not a tensor; expected the bare state dict the host saves as *_net_G*.pth"
        )
    return {_unwrapped(str(key)): value for key, value in loaded.items()}


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(
            f"{file}: is a safetensors file, which needs a package: pip install 'kd_plugin[safetensors]'"
        ) from error
    try:
        return {_unwrapped(key): tensor for key, tensor in load_file(file).items()}
    except Exception as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{file}: cannot be read, damaged or truncated ({first_line(error, 120)})")


def _unwrapped(key: str) -> str:
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def inspect_state_dict(state: Mapping[str, torch.Tensor], source: str = "state dict") -> GeneratorSpec:
    """Return the architecture of a generator's state dict, without wrapper prefixes.

    Raises:
        UnknownNetworkError: If it is not a generator of the family; the message names the ``source`` and the first
            tensor that does not match.
    """
    state = family_keys(state)
    errors: list[KDError] = []
    for architecture in architectures():
        try:
            spec = architecture.read(state)
            if spec is not None:
                if problem := _difference(spec, state):
                    raise CheckpointError(f"read as {spec.netG} with ngf {spec.ngf}, but {problem}")
                return spec
        except (CheckpointError, ArgumentError) as error:
            errors.append(error)
    if errors:
        raise UnknownNetworkError(f"{source}: {errors[0]}") from None
    titles = " or ".join(architecture.title for architecture in architectures())
    keys = list(state)
    some = ", ".join(keys[:3]) + (f", ... ({len(keys)} tensors)" if len(keys) > 3 else "")
    raise UnknownNetworkError(f"{source}: no first layer of a {titles} generator among {some}")


def _difference(spec: GeneratorSpec, state: Mapping[str, torch.Tensor]) -> str:
    """Return the first difference of a state dict from that of the recognised generator; "" if there is none."""
    with torch.device("meta"):
        expected = build_generator(spec).state_dict()
    for key, tensor in expected.items():
        found = state.get(key)
        if found is None:
            if not key.endswith("num_batches_tracked"):  # not in files from before PyTorch 0.4.1
                return f"'{key}' is missing"
        elif found.shape != tensor.shape:
            return f"'{key}' has the shape {tuple(found.shape)}, expected {tuple(tensor.shape)}"
        elif found.layout != torch.strided or (tensor.is_floating_point() and not found.is_floating_point()):
            kind = f"{found.layout} tensor of {found.dtype}"
            return f"'{key}' is a {kind}, expected a dense one of floating-point values"
    stray = find_stray(state, expected)
    return f"'{stray}' is unexpected" if stray else ""


def save_weights(weights: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write a state dict as the hosts do, atomically."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomically(file, lambda stream: torch.save(plain, stream))


def find_stray(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str | None:
    """Return the first unexpected tensor of a state dict, ignoring the statistics of old files."""
    return next((key for key in state if key not in wanted and not is_statistic(key)), None)


def is_statistic(key: str) -> bool:
    """Return whether a key names running statistics of a norm."""
    return key.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


def fill_network(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state dict, in float32, into a network on the meta device.

    Raises:
        RuntimeError: If a tensor is missing or has a different shape.
    """
    wanted, state = network.state_dict(), family_keys(state)
    # Running statistics of instance norm in old files are dropped, as in the family.
    tensors = {key: tensor.float() for key, tensor in state.items() if key in wanted and tensor.is_floating_point()}
    for key in wanted:
        if key.endswith("num_batches_tracked"):
            tensors[key] = state.get(key, torch.tensor(0))
    network.load_state_dict(tensors, strict=True, assign=True)
