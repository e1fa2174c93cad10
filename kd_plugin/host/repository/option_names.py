"""How a host calls an option: by another name, by its opposite, or by several options that make up its value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OptionName:
    """An option of another name in a host: ``train_continue`` for ``continue_train``.

    Attributes:
        names: options of the host; the first has the value, unless a subclass says otherwise.
    """

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)

    def join(self, values: Sequence[Any]) -> Any:
        """Return the usual value, given those of the host's options."""
        return values[0]

    def split(self, value: Any) -> dict[str, Any]:
        """Return the host's options that are to change, by name, given the usual value."""
        return {self.names[0]: value}

    def words(self, value: str) -> str:
        """Return a usual value on a command line in the words of the host: ``--train_epoch 5``."""
        return f"--{self.names[0]}{f' {value}' if value else ''}"


class Opposite(OptionName):
    """A switch of the opposite sense: ``G_dropout`` for ``no_dropout``."""

    def join(self, values: Sequence[Any]) -> Any:
        """Return the usual value."""
        return not values[0]

    def split(self, value: Any) -> dict[str, Any]:
        """Return the host's option."""
        return {self.names[0]: not value}


class NameAndBlocks(OptionName):
    """The name of a generator, and its residual blocks: ``resnet`` and 9 for ``resnet_9blocks``."""

    def join(self, values: Sequence[Any]) -> Any:
        """Return the usual name; other names, and lists, as they are."""
        name, blocks = values
        return f"resnet_{blocks}blocks" if name == "resnet" else name

    def split(self, value: Any) -> dict[str, Any]:
        """Return name and blocks, or the name alone for other generators."""
        name, blocks = self.names
        found = re.fullmatch(r"resnet_(\d+)blocks", str(value))
        return {name: "resnet", blocks: int(found[1])} if found else {name: value}

    def words(self, value: str) -> str:
        """Return both options, if the value has both."""
        if not value:
            return f"--{self.names[0]}"
        return " ".join(f"--{name} {part}" for name, part in self.split(value).items())
