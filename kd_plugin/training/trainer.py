"""The optimizer steps of a student that is trained on its teacher alone, whoever's loop it is.

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

from collections.abc import Mapping
from typing import Any

import torch

from ..distillation.distiller import Distiller, Taught
from ..errors import ArgumentError
from .average import WeightAverage
from .guard import Guard


class StudentTrainer:
    """Trains the student of a :class:`~kd_plugin.Distiller` on its terms, with Adam.

    The settings are those of the hosts: a constant learning rate for the first half of the steps, which then
    decreases linearly to 0.

    Args:
        distiller: student, teacher and terms.
        steps: number of steps of the training.
        lr: initial learning rate.
        betas: coefficients of Adam.
        decay_from: the step from which the learning rate decreases; None for half of ``steps``.
        name: of the student, in messages.
        max_bad_steps: maximum number of consecutive steps that may be skipped because a value is not finite.

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
        steps: int,
        *,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        decay_from: int | None = None,
        name: str = "student",
        max_bad_steps: int = 10,
    ) -> None:
        if steps < 1:
            raise ArgumentError(f"{steps} steps: give 1 or more")
        decay_from = steps // 2 if decay_from is None else decay_from
        if not 0 <= decay_from <= steps:
            raise ArgumentError(f"the learning rate decreases from step {decay_from} of {steps}: give 0 to {steps}")
        self.distiller = distiller
        self.done = 0
        self._steps, self._decay_from = steps, decay_from
        student = distiller.student.train()
        parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        # In one group: the adapters have the learning rate of the student.
        self._optimizer = torch.optim.Adam([*parameters, *distiller.adapters.parameters()], lr=lr, betas=betas)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._factor)
        self._guard = Guard([self._optimizer], [student], {name: student}, max_bad_steps)
        self.average = WeightAverage(student)

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
        self, images: torch.Tensor, taught: Taught | None = None, epoch: float | None = None
    ) -> dict[str, torch.Tensor]:
        """Train on a batch.

        Args:
            images: (B, C, H, W) in [-1, 1], on the device of the student.
            taught: the teacher's images and features for them; None to run the teacher.
            epoch: of the weight schedules, from 1; None to leave it.

        Returns:
            The weighted terms by name, scalars without a graph.

        Raises:
            ArgumentError: If the teacher does not support the images.
            TrainingError: If too many consecutive steps were skipped.
        """
        if epoch is not None:
            self.distiller.epoch = epoch
        self._guard.begin(int(self.distiller.epoch), self.done + 1)
        self._optimizer.zero_grad(set_to_none=True)
        with self.distiller.record() as recorder:
            self.distiller.student(images)
        call = recorder.calls[-1]
        result = self.distiller.distill(call, taught)
        assert call.output is not None
        self._guard.observe("", result.losses, [call.output, *call.features.values()])
        torch.autograd.backward(result.total)
        self._optimizer.step()
        self._schedule.step()
        self.average.update()
        self.done += 1
        return {name: value.detach() for name, value in result.losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state, from which the training continues exactly."""
        return {
            "done": self.done,
            "student": self.distiller.student.state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict` of a trainer with the same settings."""
        self.done = int(state["done"])
        self.distiller.student.load_state_dict(state["student"])
        self.distiller.load_state_dict(state["distiller"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.average.load_state_dict(state["average"])
