"""The commands that train the cells."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from plan import SIZES, TEACHER, Cell, Preset
from recipes import RECIPES, Compress, Host
from tasks import Task

from kd_plugin.pictures import find_images

HOST = Path(__file__).resolve().parent.parent / "host"
CHOSEN_EPOCH = "chosen"  # the epoch of a teacher's weights that were chosen on the validation images
_NEVER = 10**9


@dataclass(frozen=True)
class Training:
    """A cell with all that its command needs.

    Attributes:
        cell: task, recipe, size and seed.
        preset: widths and lengths.
        task: data set.
        runs: folder of all trainings, the hosts' ``--checkpoints_dir``.
    """

    cell: Cell
    preset: Preset
    task: Task
    runs: Path

    @property
    def folder(self) -> Path:
        """The folder of the checkpoints."""
        return self.runs / self.cell.key

    @property
    def record(self) -> Path:
        """The file of the command that began the training, and the time that it has taken."""
        return self.runs / f"{self.cell.key}.json"

    @property
    def run(self) -> Host | Compress:
        """What trains it."""
        if self.cell.recipe == TEACHER:
            return Host("--distill none", teacher=False)
        return RECIPES[self.cell.recipe].run(self.task.kind)

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        lengths = self.preset.lengths[self.task.kind]
        return lengths.teacher if self.cell.recipe == TEACHER else lengths.student * self.run.times

    @property
    def net(self) -> str:
        """The generator that is measured: A to B."""
        return self._host_net if isinstance(self.run, Host) else "G"

    @property
    def _host_net(self) -> str:
        return "G" if self.task.kind == "paired" else "G_A"

    @property
    def teacher_file(self) -> Path:
        """The chosen weights of the teacher; of a teacher, its own."""
        cell = self.cell.teacher or self.cell
        return self.runs / cell.key / f"{CHOSEN_EPOCH}_net_{self._host_net}.pth"

    def command(self) -> list[str]:
        """Return the command of the training, to be run in the embedded host; it continues one that was begun."""
        return self._compress() if isinstance(self.run, Compress) else self._host(self.run)

    def _host(self, run: Host) -> list[str]:
        lengths, paired = self.preset.lengths[self.task.kind], self.task.kind == "paired"
        options: dict[str, object] = {
            "dataroot": self.task.root,
            "checkpoints_dir": self.runs,
            "name": self.cell.key,
            "model": "pix2pix" if paired else "cycle_gan",
            "norm": "batch" if paired else "instance",
            "ndf": self.preset.ndf,
            "lr": lengths.lr,
            "batch_size": lengths.batch_size,
            "n_epochs": self.epochs - self.epochs // 2,
            "n_epochs_decay": self.epochs // 2,
            "load_size": self._load_size,
            "crop_size": self.preset.side,
            "num_threads": 0,
            "save_epoch_freq": 1,
            "save_latest_freq": _NEVER,
            "print_freq": 100 * lengths.batch_size,
            "seed": self.cell.seed,
        }
        if paired:
            options["direction"] = "AtoB"
        flags = ["--no_dropout", "--no_html", "--student_ema", *self._student(run), *self._distill(run)]
        if (self.folder / "latest_distill_state.pth").is_file():
            flags.append("--continue_train")
        return [*_kd("run", "train.py"), *_words(options), *flags]

    def _student(self, run: Host) -> list[str]:
        if self.cell.recipe == TEACHER:
            return ["--netG", self.preset.netG, "--ngf", str(self.preset.ngf)]
        words = ["--student_ngf", str(self.preset.student_ngf(self.cell.size))]
        words += ["--student_conv", SIZES[self.cell.size].conv]
        return words if run.teacher else [*words, "--netG", self.preset.netG]

    def _distill(self, run: Host) -> list[str]:
        numbers = {"half_ndf": max(1, self.preset.ndf // 2), "epochs": self.epochs, "all_but_one": self.epochs - 1}
        words = run.options.format(**numbers).split()
        if run.teacher:
            words += ["--teacher", str(self.teacher_file.parent), "--teacher_epoch", CHOSEN_EPOCH]
        return words

    def _compress(self) -> list[str]:
        run, lengths = self.run, self.preset.lengths[self.task.kind]
        assert isinstance(run, Compress)
        inputs, reals = self.task.inputs("train"), self.task.reals("train")
        # An epoch of the hosts has all images of the larger domain.
        images = max(len(find_images(folder)) for folder in {inputs, reals})
        paired = self.task.kind == "paired"
        options: dict[str, object] = {
            # Without ground truth, only the inputs of the pairs are used.
            **({"pairs": inputs} if paired else {"images": inputs}),
            **({"lambda-L1": 0} if paired and not run.real else {}),
            **({"real": reals} if run.real and not paired else {}),
            "direction": "AtoB",
            "ngf": self.preset.student_ngf(self.cell.size),
            "conv": SIZES[self.cell.size].conv,
            "preprocess": "resize_and_crop",
            "load-size": self._load_size,
            "size": self.preset.side,
            "lr": lengths.lr,
            "batch-size": lengths.batch_size,
            "steps": self.epochs * -(-images // lengths.batch_size),
            "num-threads": 0,
            "print-freq": 100 * lengths.batch_size,
            "save-freq": _NEVER,
            "seed": self.cell.seed,
            "device": self.preset.device,
            "output": self.folder,
        }
        return [
            *_kd("compress", str(self.teacher_file)),
            *_words(options),
            "--eval",
            *run.options.split(),
        ]

    @property
    def _load_size(self) -> int:
        return self.preset.side * 9 // 8  # 286 to 256, as in the hosts


def shown(training: Training) -> str:
    """Return the command of a training as typed in the host, with paths relative to the study's folder."""
    folders = {str(training.task.root): f"data/{training.task.name}", str(training.runs): "runs"}
    words = training.command()[3:]
    for folder, name in folders.items():
        words = [word.replace(folder, name) for word in words if word != "--continue_train"]
    return shlex.join(["kd", *words])


def _kd(*words: str) -> list[str]:
    return [sys.executable, "-m", "kd_plugin", *words]


def _words(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]
