"""The forward passes of a distilled training: the teachers run, and the terms are attached to the outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from ...distillation.attach import Attachment, attach
from ...distillation.balance import Balance
from ...distillation.shares import GradientShares
from ...errors import HostError
from ...networks.taps import Call, Recorder
from ...processes import say
from ...training.guard import Guard
from ...training.rng import kept_rng_state
from ...training.scaler import find_loss_scale
from ..options.names import naming_options
from ..repository.family import Pair
from .distilled_pair import DistilledPair
from .forward_watch import Place, watch_forward
from .pair import find_pairs, is_watched, network_of
from .summary import Summary
from .watch import Watch

Host = Callable[[], Any]  # method of the host's model with its arguments bound


class DistilledForward:
    """Runs the forward passes of a host's model with its teachers, and attaches the terms to the outputs.

    Args:
        model: the host's model.
        pairs: its generators with a teacher; one that yields no images to train on is removed.
        guard: observes the values of each step.
        summary, watch: measure some of the steps.
        batches: number of batches that the host sums the gradients of.
    """

    def __init__(
        self, model: Any, pairs: list[DistilledPair], guard: Guard, summary: Summary, watch: Watch, batches: int
    ) -> None:
        self._model, self._pairs = model, pairs
        self._guard, self._summary, self._watch, self._batches = guard, summary, watch, batches
        self._iteration = 0
        self._attached: list[Attachment] = []  # in the current step
        self._balancing: list[tuple[Balance, GradientShares]] = []  # of the current step

    def begin_step(self, epoch: int, iteration: int) -> None:
        """Register a training step before its forward pass; ``iteration`` counts from 1 in each epoch."""
        if any(attachment.passes == 0 for attachment in self._attached):
            images = ", ".join(d.pair.output or d.pair.net for d in self._pairs)
            warnings.warn(
                "the distillation terms of the last step received no gradient: the images they are attached to "
                f"({images}) do not contribute to the generator's loss",
                stacklevel=3,
            )
        self._attached.clear()
        self.end_step()  # of a host that does not train in optimize_parameters
        self._iteration = iteration
        self._guard.begin(epoch, iteration)
        self._summary.step(epoch, iteration)
        self._watch.step()
        for distilled in self._pairs:
            distilled.distiller.epoch = epoch

    def end_step(self) -> None:
        """End the measurements of a step, after its backward passes, and adjust the weights to the shares."""
        self._watch.finish()
        self._summary.end_step()
        for balance, shares in self._balancing:
            shares.end()
            balance.update(shares.last)
        self._balancing.clear()

    def run(self, host: Host, training: bool, validating: bool) -> Any:
        """Run the host's forward pass and the teachers, and return what the host's returns.

        Args:
            host: the host's forward pass.
            training: whether to attach the terms to the outputs; :meth:`begin_step` has been called.
            validating: whether to compute the terms without that, beside the host's losses.

        Raises:
            HostError: the output of a generator is not in the declared attribute.
        """
        for distilled in self._pairs:
            distilled.follow(network_of(self._model, distilled.pair))
        if training:
            self._find_places(host)
        with ExitStack() as stack:
            recorders = [stack.enter_context(distilled.distiller.record()) for distilled in self._pairs]
            if training:
                for distilled, recorder in zip(self._pairs, recorders, strict=True):
                    if distilled.place:
                        stack.enter_context(self._attaching(distilled, distilled.place, recorder))
            returned = host()
        attached: dict[int, torch.Tensor] = {}  # images with terms by id of the images without
        for distilled, recorder in zip(self._pairs, recorders, strict=True):
            pair = distilled.pair
            if distilled.place or is_watched(pair):  # found by watching a training step
                place = distilled.place
                if validating and place and place.call < len(recorder.calls):
                    self._teach(distilled, replace(recorder.calls[place.call], element=place.element), terms=True)
                continue
            output = getattr(self._model, pair.output, None)
            call = recorder.find(output) if isinstance(output, torch.Tensor) else None
            if call is None:
                raise self._no_output(pair)
            with naming_options():
                if training:
                    attached[id(output)] = self._distill(distilled, call)
                else:
                    self._teach(distilled, call, terms=validating)
        if not attached:
            return returned
        return tree_map(lambda value: attached.get(id(value), value), returned)  # hosts may compute losses from it

    def _find_places(self, host: Host) -> None:
        """Watch a forward pass for the outputs of generators whose place is not known yet.

        Raises:
            HostError: a generator with a teacher does not run in it, or its output is not where it is declared.
        """
        watched = [distilled for distilled in self._pairs if is_watched(distilled.pair) and not distilled.place]
        if not watched:
            return
        pairs = find_pairs(self._model)
        generators = {pair.net: network_of(self._model, pair) for pair in pairs}
        places = watch_forward(self._model, host, generators, {pair.net: pair.output for pair in pairs})
        for distilled in watched:
            net, output = distilled.pair
            distilled.place = places.get(net)
            if distilled.place:
                say(f"{net}: {distilled.place}")
            elif output:
                raise self._no_output(distilled.pair)
            else:
                say(
                    f"note: {net} returns no images with gradients in forward(), and trains on the host's losses only"
                )
                self._drop(distilled)

    def _no_output(self, pair: Pair) -> HostError:
        return HostError(
            f"forward() of {type(self._model).__name__} stores no output of net{pair.net} in '{pair.output}': "
            f'declare the attribute that holds its output, distill_pairs = [("{pair.net}", "...")]'
        )

    def _drop(self, distilled: DistilledPair) -> None:
        """Leave a generator out of the distillation."""
        self._pairs.remove(distilled)
        gone = {f"{name}{distilled.pair.suffix}" for name in distilled.distiller.terms}
        self._model.loss_names = [name for name in self._model.loss_names if name not in gone]

    @contextmanager
    def _attaching(self, distilled: DistilledPair, place: Place, recorder: Recorder) -> Iterator[None]:
        """Context manager in which a generator returns its images with the terms attached, where its place is.

        Other networks, and sums, may read the images before the forward pass ends.
        """

        attached: list[torch.Tensor] = []

        def attach_terms(network: nn.Module, arguments: Any, output: Any) -> Any:
            if len(recorder.calls) - 1 != place.call or not torch.is_grad_enabled():
                return None
            call = replace(recorder.calls[-1], element=place.element)
            before = call.images
            # The host may run its forward pass under autocast; terms are computed outside, as after it.
            with naming_options(), torch.autocast(before.device.type, enabled=False):
                after = self._distill(distilled, call)
            attached.append(after)
            return tree_map(lambda value: after if value is before else value, output)

        handle = distilled.distiller.student.register_forward_hook(attach_terms)
        try:
            yield
        finally:
            handle.remove()
        if not attached:
            net = distilled.pair.net
            raise HostError(
                f"net{net} ran {len(recorder.calls)} times in this step, and in the first at least {place.call + 1} "
                f"times, with gradients: distil only the generators that run in every step, --distill TERM:NAME"
            )

    def _distill(self, distilled: DistilledPair, call: Call) -> torch.Tensor:
        """Compute the terms of a generator, and return its images with the terms attached."""
        model, pair = self._model, distilled.pair
        result = distilled.distiller.distill(call)
        scale = self._scale(find_loss_scale(model, pair.net, result.output))
        images, attachment = attach(result.output, result.total, scale)
        self._attached.append(attachment)
        if distilled.place is None:
            setattr(model, pair.output, images)
        if pair.output.isidentifier():
            setattr(model, f"teacher_{pair.output}", result.teacher_output)
        for name, value in result.losses.items():
            setattr(model, f"loss_{name}{pair.suffix}", value.detach())
        self._guard.observe(pair.suffix, result.losses, (result.output, *call.features.values()))
        student, balance = distilled.distiller.student, distilled.distiller.balance
        begun = self._summary.look(pair.net, student, result.losses, scale)
        if balance is not None and not balance.is_due(self._iteration):
            balance = None
        if self._watch.measures or balance is not None:
            shares = begun or GradientShares()
            if begun is None:
                shares.begin(student, result.losses, scale)
            if self._watch.measures:
                self._watch.look(pair.suffix, shares, result.output, result.teacher_output)
            if balance is not None:
                self._balancing.append((balance, shares))
        return images

    def _teach(self, distilled: DistilledPair, call: Call, terms: bool) -> None:
        """Run the teacher outside a training step, and compute the terms if asked for; nothing else changes."""
        pair, distiller = distilled.pair, distilled.distiller
        with torch.no_grad(), kept_rng_state():
            if terms:
                result = distiller.distill(call)
                for name, value in result.losses.items():
                    setattr(self._model, f"loss_{name}{pair.suffix}", value)
            images = result.teacher_output if terms else distiller.teach(call)
        if pair.output.isidentifier():
            setattr(self._model, f"teacher_{pair.output}", images)

    def _scale(self, scale: Callable[[], float] | None) -> Callable[[], float] | None:
        """Return the factor of the host's loss: of its scaler, and of the batches that it sums gradients of."""
        return scale if self._batches == 1 else lambda: (scale() if scale else 1.0) / self._batches
