"""``--compress`` of a host's training: checked before it begins, and handed to ``kd compress`` once it has ended."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...compression.compress import check_libraries
from ...compression.settings import Direction
from ...compression.students import try_wishes
from ...compression.trained import (
    FILE,
    FOLDER,
    Trained,
    TrainedGenerator,
    is_free,
    student_folder,
    teacher_file,
)
from ...errors import ArgumentError, CheckpointError, HostError, KDError, OptionError
from ...files import sha256
from ...networks.checkpoint import inspect_state_dict
from ...networks.generator import GeneratorSpec
from ...networks.taps import unwrap
from ...processes import say
from ...students import StudentRequest, student_spec
from ...training.saving import clear_save_errors
from ..options.command_line import CommandLine, complete_options
from ..options.compress import (
    CompressOptions,
    device_option,
    first_difference,
    recorded_options,
    training_preprocessing,
    training_request,
)
from ..options.distill import experiment_folder
from ..repository.usual_options import host_options
from .how_to_test import HowToTest, training_script
from .inputs import Inputs, find_inputs
from .pair import find_pairs, network_of

_INPUTS = "inputs"  # links to the images, where the data set has a part of a folder


class Later:
    """The compression that follows a training, from the parsed options to the command that compresses."""

    def __init__(self, config: CompressOptions, opt: Namespace, defaults: Mapping[str, Any]) -> None:
        self._config, self._defaults = config, defaults  # of the host
        self._folder = experiment_folder(opt)
        self._options = recorded_options(opt)
        self._home = Path.cwd()
        self._more = device_option(opt)
        if getattr(opt, "batch_size", 1) != 1:
            self._more += ["--batch-size", str(opt.batch_size)]
        if hasattr(opt, "num_threads"):
            self._more += ["--num-threads", str(opt.num_threads)]
        self._is_main = os.environ.get("RANK", "0") == "0"
        self._trained: Trained | None = None
        self._inputs: dict[str, Inputs] = {}
        self._before: dict[str, tuple[int, int] | None] = {}

    def check(self, opt: Namespace) -> bool:
        """Check the options; return whether the training has ended before, and only the compression is left.

        Raises:
            KDError: the generators cannot be compressed, or files would be overwritten.
        """
        config, folder = self._config, self._folder
        check_libraries()
        trained = Trained.read(folder)
        if trained is not None:
            if name := first_difference(trained.options, self._options):
                raise OptionError(
                    f"--{name} {self._options[name]}: the training {folder} has ended, with {trained.options[name]}: "
                    f"give another --name, or delete {folder / FOLDER} and the students to train it further"
                )
            trained.check_teachers(folder)
            for wish in config.wishes:
                trained.is_finished(folder, wish.name)
            say(f"the training {folder} has ended, see {folder / FOLDER / FILE}: not repeated")
            return True
        for wish in config.wishes:
            target = student_folder(folder, wish.name)
            if not is_free(target):
                raise OptionError(f"--compress {config.compress}: {target} exists: rename or delete it")
        if not getattr(opt, "continue_train", False) and (found := next(folder.glob("latest_net_G*.pth"), None)):
            raise OptionError(
                f"--compress: the training would overwrite {found}: add --continue_train to continue it, with "
                f"--epoch_count {_last_epoch(opt) + 1} if it has ended, or give another --name"
            )
        self._check_last_save(opt)
        training_preprocessing(opt)
        try:
            request = training_request(opt)
            spec = student_spec(request)
        except (ArgumentError, AttributeError):  # a generator or options of the host's own: checked once it is built
            return False
        self._check_students("of this training", spec, opt)
        return False

    def look(self, model: Any, loader: Any) -> None:
        """Check the networks and the data set of the training, before it begins.

        Args:
            model: of the host, with its networks.
            loader: of the host, None if it was not seen.

        Raises:
            KDError: they cannot be compressed.
        """
        opt = model.opt
        if loader is None:
            raise HostError("--compress: the host makes its data set after the model, or without data.create_dataset")
        preprocessing = training_preprocessing(opt)
        direction: Direction = "BtoA" if getattr(opt, "direction", "AtoB") == "BtoA" else "AtoB"
        requests: dict[str, list[StudentRequest]] = {}
        for pair in find_pairs(model):
            try:
                spec = inspect_state_dict(unwrap(network_of(model, pair)).state_dict(), f"the generator {pair.net}")
            except CheckpointError as error:
                raise OptionError(f"--compress: {error}: train without it, and use kd compress") from None
            requests[pair.net] = self._check_students(pair.net, spec, opt)
            reads_b = (direction == "BtoA") != pair.swaps
            self._inputs[pair.net] = find_inputs(loader, "B" if reads_b else "A", preprocessing)
            ended = getattr(opt, "continue_train", False) and getattr(opt, "epoch_count", 0) > _last_epoch(opt)
            self._before[pair.net] = None if ended else _stamp(teacher_file(self._folder, pair.net))
        for built in zip(*requests.values(), strict=True):
            if len({(request.ngf, request.widths) for request in built}) > 1:
                widths = ", ".join(f"{net} {request.ngf}" for net, request in zip(requests, built, strict=True))
                raise OptionError(
                    f"--compress {self._config.compress}: the generators would differ in ngf ({widths}), and hosts "
                    "build them alike: name a width, such as ngf=24"
                )
        tested = Namespace(**{**vars(host_options(opt)), "name": student_folder(self._folder, "SIZE").name})
        lines = HowToTest(training_script(), tested, self._defaults, "").lines()
        self._trained = Trained(
            model=opt.model,
            direction=direction,
            dataset_mode=getattr(opt, "dataset_mode", ""),
            preprocess=preprocessing.preprocess,
            load_size=opt.load_size,
            crop_size=opt.crop_size,
            no_flip=bool(getattr(opt, "no_flip", False)),
            generators={},
            options=self._options,
            test=next(iter(lines), ""),
        )

    def command(self) -> list[str]:
        """Describe the training, which has ended, in its folder; return the arguments of ``kd`` that compress it.

        Returns:
            The arguments; empty in another process than the first.

        Raises:
            HostError: the training saved nothing.
        """
        if not self._is_main:
            return []
        os.chdir(self._home)
        if Trained.read(self._folder) is None:
            self._write()
        epochs = self._config.compress_epochs
        students = [word for text in self._config.texts for word in ("--student", text)]
        length = [] if epochs is None else ["--epochs", str(epochs)]
        return ["compress", "--training", str(self._folder), *students, *length, *self._more]

    def _write(self) -> None:
        trained, folder = self._trained, self._folder
        if trained is None:
            raise HostError("--compress: the script has ended without a training")
        generators = {}
        with clear_save_errors(folder, "the description of the training"):
            for net, inputs in self._inputs.items():
                file = teacher_file(folder, net)
                if _stamp(file) in (None, self._before[net]):
                    raise HostError(f"--compress: the training has saved no {file}, so there is nothing to compress")
                place = inputs.folder(folder / FOLDER / _INPUTS / net)
                generators[net] = TrainedGenerator(
                    sha256(file), str(place), inputs.half, "AtoB" if inputs.side == "A" else "BtoA"
                )
            Trained(**{**vars(trained), "generators": generators}).write(folder)

    def _check_students(self, name: str, spec: GeneratorSpec, opt: Namespace) -> list[StudentRequest]:
        try:
            return try_wishes(self._config.wishes, spec, name, opt.crop_size)
        except KDError as error:
            raise OptionError(f"--compress {self._config.compress}: {error}") from None

    def _check_last_save(self, opt: Namespace) -> None:
        """Raise an :class:`OptionError` if the host will not save the last epoch."""
        every = getattr(opt, "save_epoch_freq", 1)
        last = _last_epoch(opt)
        if every > 0 and last % every:
            raise OptionError(
                f"--compress: the last epoch, {last}, would not be saved with --save_epoch_freq {every}: give "
                "--save_epoch_freq 1"
            )


def _last_epoch(opt: Namespace) -> int:
    return int(getattr(opt, "n_epochs", 0)) + int(getattr(opt, "n_epochs_decay", 0))


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written; None without a file."""
    if not file.is_file():
        return None
    status = file.stat()
    return status.st_mtime_ns, status.st_ino


_later: Later | None = None


def add_compression(cls: Any, line: CommandLine) -> None:
    """Check ``--compress`` while options are gathered, and again when they are complete.

    Raises:
        OptionError: it is not valid, or does not suit the other options.
    """
    config = CompressOptions.from_namespace(line.opt)
    if config is None:
        return
    if getattr(line.opt, "distill", ""):
        raise OptionError(
            f"--compress {config.compress}: compresses the generators that are trained here, and --distill trains "
            "small ones: remove one of the two"
        )
    if "netG" in line.names:
        raise OptionError(
            f"--compress {config.compress}: kd compress does not know the options of this host: compress a generator "
            f"after the training, kd compress latest_net_G_A.pth"
        )
    if not cls.distill_optional:
        raise OptionError(
            f"--compress {config.compress}: needs kd run {line.parser.prog} with a model of the host, such as "
            f"--model {line.opt.model.removeprefix('distill_')}"
        )

    def complete(opt: Namespace) -> None:
        global _later
        later = Later(config, opt, cls._host_defaults)
        ended = later.check(opt)
        _later = later
        if ended:
            raise SystemExit(0)  # the compression follows the end of the script

    complete_options(line.parser, complete)


def look_at(model: Any, loader: Any) -> None:
    """Check the networks and the data set of a training with ``--compress``."""
    if _later is not None:
        _later.look(model, loader)


def take_command() -> list[str]:
    """Return the arguments of ``kd`` that compress the training that has ended; empty without ``--compress``."""
    global _later
    later, _later = _later, None
    return later.command() if later else []
