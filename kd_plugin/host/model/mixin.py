"""Mixin that distils the generators of a host's model class.

Usage: ``class DistillPix2PixModel(DistillMixin, Pix2PixModel)``. The mixin overrides the methods that a host calls.
Each passes the host's method to the :class:`~kd_plugin.host.model.run.DistillationRun`, which does not depend on how
the host computes its losses and steps its optimizers.
"""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from typing import Any, ClassVar

from ...errors import HostError
from ..options.distill import DistillConfig
from ..options.resume import NEXT_EPOCH
from ..repository.family import is_training
from ..repository.usual_options import usual_options
from .complete import complete_options_of
from .gather import gather_options
from .report_of_test import report_at_exit
from .run import DistillationRun
from .student import building_student


class DistillMixin:
    """Base class to put before a host's model class, to distil its generators from a teacher.

    The class may declare ``distill_pairs``, a list of (network, attribute that holds its output). The default is
    the pairs of pix2pix (``G`` -> ``fake_B``) or CycleGAN (``G_A`` -> ``fake_B``, ``G_B`` -> ``fake_A``).
    """

    distill_optional: ClassVar[bool] = False  # true for the runner, which also runs without --distill
    _host_defaults: ClassVar[dict[str, Any]] = {}  # empty until the host gathers the options of this model
    _run: DistillationRun | None = None  # set in a distillation once the host has built its networks

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        ahead = cls.__mro__[: cls.__mro__.index(DistillMixin)]
        if other := next((base for base in ahead if not issubclass(base, DistillMixin)), None):
            raise HostError(
                f"{cls.__name__} names DistillMixin after {other.__name__}, where it has no effect: "
                f"class {cls.__name__}(DistillMixin, {other.__name__})"
            )

    @classmethod
    def modify_commandline_options(cls, parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
        """Add and check the plugin's options or, in a test, restore the student's from its record."""
        return gather_options(cls, parser, is_train, super().modify_commandline_options)  # type: ignore[misc]

    def __init__(self, opt: Any, *arguments: Any, **named: Any) -> None:
        """Let the host build its networks, including the student."""
        if not self._host_defaults:
            complete_options_of(type(self), opt)
        config = DistillConfig.from_namespace(opt) if is_training(opt) else None
        if config and (following := getattr(opt, NEXT_EPOCH, None)):
            usual_options(opt).epoch_count = following
        with building_student(type(self), opt, config) as built:
            super().__init__(opt, *arguments, **named)  # type: ignore[call-arg]
        if config is None:
            report_at_exit(opt)
        else:
            host_class = type(self).__mro__[type(self).__mro__.index(DistillMixin) + 1]
            self._run = DistillationRun(self, host_class, config, built)

    def setup(self, *arguments: Any, **named: Any) -> Any:
        """Let the host set up its networks, then load the teachers and create the student's record."""
        host = partial(super().setup, *arguments, **named)  # type: ignore[misc]
        return self._run.setup(host, super().update_learning_rate) if self._run else host()  # type: ignore[misc]

    def data_dependent_initialize(self, *arguments: Any, **named: Any) -> Any:
        """Let a host with this method (CUT) create networks from a first batch, which is not a training step."""
        method = getattr(super(), "data_dependent_initialize", None)
        if method is None:  # the host looks for it, and finds this one
            return None
        host = partial(method, *arguments, **named)
        return self._run.initialize(host) if self._run else host()

    def set_input(self, *arguments: Any, **named: Any) -> Any:
        """Let the host receive a batch."""
        if self._run:
            self._run.take_batch(next(iter((*arguments, *named.values())), None))
        return super().set_input(*arguments, **named)  # type: ignore[misc]

    def optimize_parameters(self, *arguments: Any, **named: Any) -> Any:
        """Let the host train on its batch; a continued run skips batches that were trained before the save."""
        host = partial(super().optimize_parameters, *arguments, **named)  # type: ignore[misc]
        return self._run.optimize(host) if self._run else host()

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Run the host's forward pass; in training, compute the terms and attach them to the outputs."""
        host = partial(super().forward, *arguments, **named)  # type: ignore[misc]
        return self._run.forward(host) if self._run else host()

    def get_current_losses(self, *arguments: Any, **named: Any) -> Any:
        """Return the host's losses; empty for a skipped batch."""
        host = partial(super().get_current_losses, *arguments, **named)  # type: ignore[misc]
        return self._run.show(host) if self._run else host()

    def get_current_visuals(self, *arguments: Any, **named: Any) -> Any:
        """Return the images that the host displays; empty for a skipped batch."""
        host = partial(super().get_current_visuals, *arguments, **named)  # type: ignore[misc]
        return self._run.show(host) if self._run else host()

    def update_learning_rate(self, *arguments: Any, **named: Any) -> Any:
        """Let the host end (in hosts of some years, begin) an epoch, and update the weight schedules."""
        host = partial(super().update_learning_rate, *arguments, **named)  # type: ignore[misc]
        return self._run.set_learning_rate(host) if self._run else host()

    def save_networks(self, epoch: int | str, *arguments: Any, **named: Any) -> Any:
        """Let the host save its networks, and save the record, the adapters and the state of the run."""
        host = partial(super().save_networks, epoch, *arguments, **named)  # type: ignore[misc]
        return self._run.save(epoch, host) if self._run else host()
