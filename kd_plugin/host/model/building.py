"""Build generators that a host does not provide: other widths, depths and convolutions, and custom ones.

Hosts build every generator with ``networks.define_G``. While a model is constructed, that function is replaced by
one that builds the requested student, and calls the host's function for generators that the host provides. The host's
optimizers, checkpoints and initialisation work unchanged.
"""

from __future__ import annotations

import inspect
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from torch import nn

from ...errors import HostError
from ...networks.generator import parse_netG
from ...students import StudentRequest, build_student, is_registered
from ..options.student import not_in_options
from ..repository.usual_options import UsualOptions, usual_options

_UPSAMPLE = "convtranspose"  # DeepLIIF's name of the only upsampling of the plugin's generators


@dataclass(frozen=True)
class BuildCall:
    """A call of a host's ``define_G``, and the generator that was built."""

    define_G: Callable[..., nn.Module]  # of the host
    arguments: dict[str, Any]  # by name
    network: nn.Module
    by_host: bool  # whether the host, and not the plugin, built the network


@contextmanager
def building_students(host_class: type, student: StudentRequest) -> Iterator[list[BuildCall]]:
    """Context manager in which models of a class build the requested student; yields the list of calls.

    ``define_G`` is looked up in the modules of the bases of ``host_class``.

    Raises:
        HostError: on exit, if the settings require ``define_G`` and the host did not call it.
    """
    calls: list[BuildCall] = []
    originals = [(module, module.define_G) for module in _modules(host_class)]
    for module, original in originals:
        module.define_G = _replacement(original, student, calls)  # type: ignore[attr-defined]
    try:
        yield calls
    finally:
        for module, original in originals:
            module.define_G = original  # type: ignore[attr-defined]
    if not calls and not student.is_plain:
        raise HostError(
            f"{host_class.__name__} does not build generators with networks.define_G, which students of other "
            f"widths, convolutions or factories require: build the student in the model's class"
        )


def _modules(host_class: type) -> list[ModuleType]:
    """Return the distinct modules with a ``define_G`` that a model's class may call: ``networks``, in the family."""
    defining = [sys.modules.get(cls.__module__) for cls in host_class.__mro__]
    places = [place for module in defining if module for place in (module, *vars(module).values())]
    modules = dict.fromkeys(place for place in places if isinstance(place, ModuleType))
    return [module for module in modules if callable(getattr(module, "define_G", None))]


def _replacement(
    original: Callable[..., nn.Module], student: StudentRequest, calls: list[BuildCall]
) -> Callable[..., nn.Module]:
    signature = inspect.signature(original)
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    def define_G(*arguments: Any, **named: Any) -> nn.Module:
        call = signature.bind(*arguments, **named)
        call.apply_defaults()
        asked = dict(call.arguments)
        asked |= asked.pop(rest, {})
        usual = usual_options(Namespace(**asked))
        netG = getattr(usual, "netG", None)
        network = None
        if student.is_plain and not (isinstance(netG, str) and is_registered(netG)):
            try:
                network = original(*arguments, **named)
            except (NotImplementedError, ValueError, KeyError) as error:
                if not isinstance(netG, str) or netG not in str(error):  # the error is not about netG
                    raise
                parse_netG(netG)
        by_host = network is not None
        if network is None:
            if isinstance(usual, UsualOptions):
                raise not_in_options(student, netG)
            network = _initialised(build_student(_request(asked, student)), original, asked)
        calls.append(BuildCall(original, asked, network, by_host))
        return network

    return define_G


def _request(asked: dict[str, Any], student: StudentRequest) -> StudentRequest:
    upsample = asked.get("upsample", _UPSAMPLE)
    if upsample != _UPSAMPLE:
        raise HostError(
            f"upsample '{upsample}' is only known to the host: use {_UPSAMPLE}, or a student that the host builds "
            "(another ngf or netG, without widths or other convolutions)"
        )
    try:
        given = {name: asked[name] for name in ("input_nc", "output_nc", "ngf", "netG", "norm")}
        padding = asked.get("padding_type", student.padding)
        return replace(student, **given, dropout=asked["use_dropout"], padding=padding)
    except KeyError as error:
        raise HostError(f"define_G of this host has no argument {error}, which building a student requires") from None


def _initialised(network: nn.Module, define_G: Callable[..., nn.Module], asked: dict[str, Any]) -> nn.Module:
    """Initialise a network as the host's ``define_G`` does; hosts since 2025 do it in ``setup``."""
    if "gpu_ids" not in asked:
        return network
    init_net = vars(sys.modules[define_G.__module__]).get("init_net")
    if init_net is None:
        raise HostError(f"{define_G.__module__} has no init_net, which initialises generators in hosts of this kind")
    initialised: nn.Module = init_net(network, asked["init_type"], asked["init_gain"], asked["gpu_ids"])
    return initialised
