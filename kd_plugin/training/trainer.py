"""The optimizer steps of a student that is trained on its teacher, whoever's loop it is.

Several students of one teacher share its pass, which is most of the cost::

    teach = TeacherPass(teacher, set().union(*(trainer.distiller.teacher_taps for trainer in trainers)))
    for images in batches:
        taught = teach(images)
        for trainer in trainers:
            trainer.step(images, taught)

Each is then trained bit for bit as it would be alone: a step draws no random numbers but those of the student's
dropout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..distillation.distiller import Distiller, Taught
from ..distillation.precision import HalfPrecision
from ..distillation.shares import GradientShares
from ..errors import ArgumentError
from ..losses.layout import keep_layout
from ..networks.taps import unwrap
from ..processes import is_distributed
from .adapter_training import average_gradient
from .average import WeightAverage
from .guard import Guard
from .objectives import Objective, load_state_of, state_of


class StudentTrainer:
    """Trains the student of a :class:`~kd_plugin.Distiller` on its terms, with Adam.

    The settings are those of the hosts: a constant learning rate for the first half of the steps, which then
    decreases linearly to 0.

    Args:
        distiller: student, teacher and terms.
        steps: number of steps of the training; None if :meth:`set_steps` is called later, within the first half.
        lr: initial learning rate.
        betas: coefficients of Adam.
        decay_from: the step from which the learning rate decreases; None for half of ``steps``.
        name: of the student, in messages.
        max_bad_steps: maximum number of consecutive steps that may be skipped because a value is not finite.
        objectives: further losses of the student's images.
        half: the mixed precision of the student, with which the distiller was made.

    Attributes:
        distiller: student, teacher and terms.
        average: the exponential moving average of the student's weights.
        done: number of completed steps.

    Raises:
        ArgumentError: If there are no steps, or the learning rate is to decrease after the last.
    """

    def __init__(
        self,
        distiller: Distiller,
        steps: int | None,
        *,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        decay_from: int | None = None,
        name: str = "student",
        max_bad_steps: int = 10,
        objectives: Sequence[Objective] = (),
        half: HalfPrecision | None = None,
    ) -> None:
        self.distiller = distiller
        self.done = 0
        self.objectives = list(objectives)
        self._half = half
        self._steps, self._decay_from = 0, 0
        if steps is not None:
            self.set_steps(steps, decay_from)
        student = distiller.student.train()
        parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        adapters = list(distiller.adapters.parameters())
        if is_distributed():
            for parameter in adapters:
                parameter.register_post_accumulate_grad_hook(average_gradient)  # type: ignore[no-untyped-call]
        # In one group: the adapters have the learning rate of the student.
        self._optimizer = torch.optim.Adam([*parameters, *adapters], lr=lr, betas=betas)
        optimizers = [self._optimizer, *(o.optimizer for o in self.objectives if o.optimizer)]
        self._schedules = [torch.optim.lr_scheduler.LambdaLR(o, self._factor) for o in optimizers]
        networks: dict[str, nn.Module] = {name: student}
        networks |= {f"{o.name} of {name}": o.network for o in self.objectives if o.network}
        self._guard = Guard(optimizers, [student], networks, max_bad_steps, half)
        self.average = WeightAverage(student)

    def set_steps(self, steps: int, decay_from: int | None = None) -> None:
        """Fix the number of steps; raises as the constructor.

        Args:
            steps: number of steps of the training, with those completed.
            decay_from: the step from which the learning rate decreases; None for half of ``steps``.
        """
        if steps < 1:
            raise ArgumentError(f"{steps} steps: give 1 or more")
        decay_from = max(steps // 2, self.done) if decay_from is None else decay_from
        if not 0 <= decay_from <= steps:
            raise ArgumentError(f"the learning rate decreases from step {decay_from} of {steps}: give 0 to {steps}")
        self._steps, self._decay_from = steps, decay_from

    def _factor(self, done: int) -> float:
        """Return the factor of the learning rate after some steps."""
        if done < self._decay_from or self._decay_from == self._steps:
            return 1.0
        return (self._steps - done) / (self._steps - self._decay_from)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(
        self,
        images: torch.Tensor,
        taught: Taught | None = None,
        epoch: float | None = None,
        batch: Mapping[str, torch.Tensor] | None = None,
        shares: GradientShares | None = None,
    ) -> dict[str, torch.Tensor]:
        """Train on a batch.

        Args:
            images: (B, C, H, W) in [-1, 1], on the device of the student.
            taught: the teacher's images and features for them; None to run the teacher.
            epoch: of the weight schedules, from 1; None to leave it.
            batch: further images, for the objectives.
            shares: measures the share of each loss in the student's gradient in this step.

        Returns:
            The weighted losses by name, scalars without a graph.

        Raises:
            ArgumentError: If the teacher does not support the images.
            KDError: If too many consecutive steps were skipped.
        """
        if epoch is not None:
            self.distiller.epoch = epoch
        self._guard.begin(int(self.distiller.epoch), self.done + 1)
        self._optimizer.zero_grad(set_to_none=True)
        with self.distiller.record() as recorder:
            self.distiller.student(images)
        call = recorder.calls[-1]
        result = self.distiller.distill(call, taught)
        output = call.output
        assert output is not None
        plain = keep_layout(output.float())
        losses = {**result.losses, **{o.name: o.loss(plain, batch or {}) for o in self.objectives}}
        self._guard.observe("", losses, [output, *call.features.values()])
        if shares:
            shares.begin(self.distiller.student, losses)
        torch.autograd.backward(torch.stack([value.float() for value in losses.values()]).sum())
        if shares:
            shares.end()
        self._optimizer.step()
        values = {name: value.detach() for name, value in losses.items()}
        for objective in self.objectives:
            values |= objective.after()
        for schedule in self._schedules:
            schedule.step()
        self.average.update()
        self.done += 1
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the state, from which the training continues exactly."""
        if self._half:
            self._half.update()
        return {
            "done": self.done,
            "steps": (self._steps, self._decay_from),
            "student": unwrap(self.distiller.student).state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedules": [schedule.state_dict() for schedule in self._schedules],
            "average": self.average.state_dict(),
            "objectives": {objective.name: state_of(objective) for objective in self.objectives},
            "scale": (self._half.scale, self._half.growth) if self._half else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict` of a trainer with the same settings."""
        self.done = int(state["done"])
        self._steps, self._decay_from = map(int, state["steps"])
        unwrap(self.distiller.student).load_state_dict(state["student"])
        self.distiller.load_state_dict(state["distiller"])
        self._optimizer.load_state_dict(state["optimizer"])
        for schedule, saved in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.average.load_state_dict(state["average"])
        for objective in self.objectives:
            load_state_of(objective, state["objectives"][objective.name])
        if self._half and state["scale"]:
            self._half.scale, self._half.growth = state["scale"]
