"""Run a compression for the options of ``kd compress``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ..compression.compress import Result, compress
from ..compression.loop import Step
from ..compression.settings import CompressSettings
from ..compression.watcher import Watcher
from ..compression.wishes import Wish, parse_wishes
from ..errors import ArgumentError, OptionError, UnknownNetworkError
from ..host.model.load_generator import load_file
from ..processes import is_main_process, say
from ..progress import Phase, Progress
from ..students import StudentRequest
from ..watch.dashboard import Dashboard, connect
from ..watch.log import LOG_NAME, LossLog
from .compress_losses import losses_of
from .shared import device_of, path_of

_COMMON = ("netG", "conv", "dropout", "factory", "init", "keep")  # settings of all students
_SIZES = ("macs", "params", "file_size", "latency", "ngf", "widths")
_SAME = (
    "teacher_function",
    "teacher_epoch",
    "teacher_mode",
    "direction",
    "preprocess",
    "load_size",
    "size",
    "validation",
    "epochs",
    "steps",
    "minutes",
    "lr",
    "beta1",
    "lambda_L1",
    "lambda_gan",
    "gan_mode",
    "seed",
    "amp",
    "teacher_dtype",
    "teacher_compile",
    "max_bad_steps",
    "print_freq",
    "save_freq",
    "fresh",
)
_FOLDERS = ("teacher", "teacher_weights", "teacher_images", "images", "pairs", "real", "teacher_cache")
_OF_HOSTS = ("resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128")  # that hosts build without the plugin
_LISTED = 5  # maximum number of images to name
_OF_ARGUMENTS = {"augment": "--no-augment", "direction": "--direction"}  # options of arguments that an error names


def run(options: argparse.Namespace) -> int:
    """Train; return 1 if students failed, 128 + N after a signal N."""
    sys.path.append(os.getcwd())  # for the user's functions: an installed script does not search the folder
    device = _start_processes(options.device)
    watcher = _Terminal(options)
    try:
        settings = _settings(options, device)
        if options.visdom and is_main_process():
            connect(options.display_server, options.display_port, settings.output.resolve().name)  # before the work
        result = compress(settings, load_file, watcher)
    except ArgumentError as error:
        hint = f" ({_OF_ARGUMENTS[error.argument]})" if error.argument in _OF_ARGUMENTS else ""
        raise OptionError(f"kd compress: {error}{hint}") from error
    except UnknownNetworkError as error:
        raise UnknownNetworkError(f"{error}: name a function that builds it, with --teacher-function M:F") from error
    except KeyboardInterrupt:
        watcher.end()
        print("\nkd compress: interrupted; the same command continues", file=sys.stderr)
        return 130
    finally:
        is_main = is_main_process()
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return _show(result, options) if is_main else 0


def _start_processes(named: str) -> torch.device:
    """Join the other processes of ``torchrun``, if any; return the device of this process."""
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        cuda = torch.cuda.is_available() and named in ("", "cuda")
        distributed.init_process_group("nccl" if cuda else "gloo")
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device_of(named or ("cuda" if torch.cuda.is_available() else "cpu"))


def _settings(options: argparse.Namespace, device: torch.device) -> CompressSettings:
    values: dict[str, Any] = {name: getattr(options, name) for name in _SAME}
    values |= {name: path_of(getattr(options, name)) for name in _FOLDERS}
    students = wishes_of(options)
    values |= losses_of(options, students)
    return CompressSettings(
        output=Path(options.output).expanduser(),
        students=students,
        flip=False if options.no_flip else None,
        student_mode="eval" if options.eval else "train",
        augment=not options.no_augment,
        batch=options.batch_size,
        workers=options.num_threads,
        device=str(device),
        command=shlex.join(["kd", *sys.argv[1:]]),
        **values,
    )


def wishes_of(options: argparse.Namespace) -> list[Wish]:
    """Return the students that the options ask for."""
    common = {name: value for name in _COMMON if (value := getattr(options, name))}
    return parse_wishes(student_texts(options), common)


def student_texts(options: argparse.Namespace) -> list[str]:
    """Return the texts that describe the students; "" for a student of the defaults."""
    given = {name: value for name in _SIZES if (value := getattr(options, name))}
    several = {name: value.split(",") for name, value in given.items() if "," in value and name != "widths"}
    if len(several) > 1 or (several and len(given) > 1):
        raise OptionError(f"--{' and --'.join(given)} with several values: use --student for each student")
    texts = list(options.student)
    for name, parts in several.items():
        texts = [part if name == "macs" else f"{name}={part}" for part in parts] + texts
        given = {}
    if not texts:
        texts = ["+".join(value if name == "macs" else f"{name}={value}" for name, value in given.items())]
    elif given:
        raise OptionError(f"--{next(iter(given))} and --student both name students: use --student for each")
    return texts


def without_sizes(texts: Sequence[str]) -> dict[str, Any]:
    """Return the options that replace the students by others."""
    return {**dict.fromkeys(_SIZES), "student": list(texts)}


class _Terminal(Watcher):
    """A progress line, and windows of a visdom server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._progress: Progress | None = None
        self._begun = 0.0
        self._first: int | None = None  # number of steps before this call; None before the first step
        self._chooses = False
        self._shares = ""
        self._dashboards: list[Dashboard] = []

    def begin(self, folders: Mapping[str, Path], phases: Sequence[Phase]) -> None:
        options = self._options
        if not is_main_process():
            return
        for folder in folders.values() if options.visdom else ():
            client = connect(options.display_server, options.display_port, folder.resolve().name)
            self._dashboards.append(Dashboard(client, folder, LossLog(folder / LOG_NAME)))
        self._progress = Progress(list(phases))
        self._begun = time.monotonic()

    def step(self, step: Step) -> None:
        if self._progress is None:
            return
        if self._first is None:
            self._first = step.number - 1
            self._progress.begin("training")
        for name, shares in step.shares.items():
            listed = " ".join(f"{term} {share:.0%}" for term, share in shares.items() if term)
            self._shares = f", {name + ' ' if name else ''}{listed}"
        if step.steps:
            seconds = time.monotonic() - self._begun
            pace = (step.number - self._first) / seconds
            self._progress.phases[0].seconds = step.steps / pace
            text = f"step {step.number} of {step.steps}, {pace:.3g} steps/s{self._shares}"
            self._progress.update(step.number / step.steps, text)

    def choosing(self, done: float) -> None:
        if self._progress:
            if not self._chooses:
                self._progress.begin("choosing the weights")
            self._chooses = True
            self._progress.update(done)

    def logged(self) -> None:
        for dashboard in list(self._dashboards):
            try:
                dashboard.update()
            except ConnectionError:
                say("note: the visdom server does not answer any more; the training goes on")
                self._dashboards.remove(dashboard)

    def end(self) -> None:
        if self._progress:
            self._progress.clear()
            self._progress = None


def _show(result: Result, options: argparse.Namespace) -> int:
    """Print the results; return the exit status."""
    for name, reason in result.failed.items():
        print(f"kd compress: the student {name} was dropped: {reason}", file=sys.stderr)
    if not result.complete:
        steps = f" of {result.steps}" if result.steps else ""
        say(f"stopped after {result.done}{steps} steps, saved: the same command continues")
        return 128 + result.signal if result.signal else 0
    for name, folder in result.folders.items():
        if name in result.failed:
            continue
        selection = result.selections.get(name)
        why = selection.why if selection else "the average of the weights, as no image was held out"
        say(f"{folder / 'latest_net_G.pth'}: {why}")
        if options.training:  # which has a command for all generators
            continue
        for command in _test_commands(folder, result.students[name].request, result, options):
            say(f"in a host: {command}")
        if _is_cut(result):
            say(f"DATA/testA has the images, such as those of {options.images}, and DATA/testB any")
    left_out = [problem for problem in result.problems if problem.what not in result.failed]
    for problem in left_out[:_LISTED]:
        print(f"kd compress: {problem.what}: {problem.reason}", file=sys.stderr)
    if len(left_out) > _LISTED:
        print(f"kd compress: and {len(left_out) - _LISTED} more, which the page lists", file=sys.stderr)
    print(result.page)
    return 1 if result.failed else 0


def _is_cut(result: Result) -> bool:
    """Return whether the teacher was trained in contrastive-unpaired-translation, which has options of its own."""
    return "normG" in result.trained


def _test_commands(folder: Path, request: StudentRequest, result: Result, options: argparse.Namespace) -> list[str]:
    """Return the commands that run a student in a host, with the plugin and, if the host can build it, without."""
    place, inputs, size = folder.resolve(), Path(options.pairs or options.images).expanduser().resolve(), result.size
    if _is_cut(result):
        words = ["test.py", "--model", "cut", "--dataroot", "DATA"]
    elif options.pairs:
        words = ["test.py", "--model", "pix2pix", "--dataroot", str(inputs.parent)]
        words += ["--phase", inputs.name] if inputs.name != "test" else []
        words += ["--direction", options.direction] if options.direction == "BtoA" else []
    else:
        words = ["test.py", "--model", "test", "--dataroot", str(inputs)]
    words += ["--checkpoints_dir", str(place.parent), "--name", place.name]
    words += ["--load_size", str(size), "--crop_size", str(size)] if size != 256 else []
    words += ["--eval"] if options.eval else []
    commands = [shlex.join(["kd", "run", *words])]
    if request.is_plain and request.netG in _OF_HOSTS:
        words += ["--netG", request.netG, "--ngf", str(request.ngf)]
        if _is_cut(result):
            words += ["--normG", request.norm, "--no_antialias", "--no_antialias_up"]
            words += ["--no_dropout", "false"] if request.dropout else []
        else:
            words += ["--norm", request.norm, *([] if request.dropout else ["--no_dropout"])]
        words += [] if (request.input_nc, request.output_nc) == (3, 3) else [
            "--input_nc", str(request.input_nc), "--output_nc", str(request.output_nc)
        ]  # fmt: skip
        commands.append(shlex.join(["python", *words]))
    return commands
