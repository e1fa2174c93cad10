"""Count the epochs and steps of a training from the calls of its loop."""

from __future__ import annotations

from enum import Enum, auto


class Moment(Enum):
    """The state of a training between two calls of its loop."""

    NOT_STARTED = auto()  # no step in this process yet
    STEPPED = auto()  # trained since the last save
    SAVED = auto()  # saved since the last step, and the epoch may not have ended
    SAVED_END = auto()  # saved at the end of an epoch
    BETWEEN = auto()  # the learning rate was set since the last step: the epoch has ended
    BETWEEN_SAVED = auto()  # BETWEEN, and saved


class Steps:
    """The current epoch and step of a training.

    Loops call their schedulers at the end of an epoch or, in hosts of some years, at its beginning, also before the
    first. So the first step after such a call begins the next epoch, unless it is the first step of the training.
    """

    def __init__(self) -> None:
        self.epoch, self.iteration = 0, 0  # of the last step, counted from 1; 0 before the first
        self.moment = Moment.NOT_STARTED  # since that step
        self.lr_first = False  # whether the loop sets the learning rate before an epoch, not after it

    @property
    def between_epochs(self) -> bool:
        """Whether the learning rate was set since the last step."""
        return self.moment in (Moment.BETWEEN, Moment.BETWEEN_SAVED)

    def step(self, first_epoch: int) -> None:
        """Begin a step; ``first_epoch`` is the number of the first epoch of this process."""
        if self.moment is Moment.NOT_STARTED:
            self.epoch = first_epoch
        elif self.between_epochs:
            self.epoch += 1
            self.iteration = 0
        self.iteration += 1
        self.moment = Moment.STEPPED

    def resume(self, epoch: int, iteration: int) -> None:
        """Continue after a step of an interrupted epoch."""
        self.epoch, self.iteration = epoch, iteration
        self.moment = Moment.STEPPED

    def set_learning_rate(self) -> bool:
        """Record a call of the loop's schedulers; return whether it shows that the last save ended an epoch."""
        before = self.moment
        if before is Moment.NOT_STARTED:
            self.lr_first = True
            return False
        saved = before in (Moment.SAVED, Moment.SAVED_END, Moment.BETWEEN_SAVED)
        self.moment = Moment.BETWEEN_SAVED if saved else Moment.BETWEEN
        return saved and not (self.lr_first and before is not Moment.SAVED)

    def save(self) -> None:
        """Record a save of the state."""
        self.moment = Moment.BETWEEN_SAVED if self.between_epochs else Moment.SAVED

    def end_epoch(self) -> bool:
        """Record a save under an epoch's number, which ends it; return whether the last save was at its end too."""
        if self.moment is not Moment.SAVED:
            return False
        self.moment = Moment.SAVED_END
        return True
