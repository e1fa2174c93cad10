"""Options that compress the generators of a host's training after it has ended."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ...compression.wishes import Wish, parse_wishes
from ...errors import ArgumentError, OptionError
from ...flags import check_value, flags_of, option
from ...pictures import Preprocess, Preprocessing
from ...students import StudentRequest
from ..repository.usual_options import host_options

# What may differ between two runs of one training.
_FREE = {
    "compress", "compress_epochs", "continue_train", "epoch_count", "gpu_ids", "device", "num_threads", "verbose",
    "print_freq", "update_html_freq", "no_html", "save_latest_freq", "save_epoch_freq", "save_by_iter", "use_wandb",
    "wandb_project_name",
}  # fmt: skip


@dataclass(frozen=True)
class CompressOptions:
    """Settings of the compression after a training; each field is an option of the same name."""

    compress: str = option(
        "",
        "after the training, compress its generators with kd compress, into NAME_7x beside NAME: students, "
        "comma-separated, such as 7x,16x (at most a seventh, a sixteenth of the MACs) or ngf=24+conv=separable; "
        "after an interruption, the same command goes on where it was",
    )
    compress_epochs: int | None = option(None, "passes over the images of --compress; 200 by default", type=int)

    @classmethod
    def from_namespace(cls, opt: Namespace) -> CompressOptions | None:
        """Read and check the options; return None without ``--compress``.

        Raises:
            OptionError: an option is invalid.
        """
        given = {flag.name: getattr(opt, flag.name, flag.default) for flag in flags_of(cls)}
        for flag in flags_of(cls):
            check_value(flag, given[flag.name])
        options = cls(**given)
        epochs = options.compress_epochs
        if not options.compress:
            if epochs is not None:
                raise OptionError(f"--compress_epochs {epochs} has no effect without --compress: add --compress 7x")
            return None
        if epochs is not None and epochs < 1:
            raise OptionError(f"--compress_epochs {epochs}: give 1 or more")
        _ = options.wishes
        return options

    @property
    def texts(self) -> list[str]:
        """The students, as given."""
        return [text.strip() for text in self.compress.split(",")]

    @property
    def wishes(self) -> Sequence[Wish]:
        """The students.

        Raises:
            OptionError: one is not valid.
        """
        try:
            if not all(self.texts):
                raise ArgumentError("a student is missing between commas, such as 7x,16x")
            return parse_wishes(self.texts)
        except ArgumentError as error:
            raise OptionError(f"--compress {self.compress}: {error}") from None


def training_preprocessing(opt: Namespace) -> Preprocessing:
    """Return how a host's training resizes and crops its images, if a compression can do the same.

    Raises:
        OptionError: it cannot.
    """
    if getattr(opt, "preprocess", "") not in get_args(Preprocess):
        raise OptionError(f"--compress: --preprocess {getattr(opt, 'preprocess', '')} is not known to kd compress")
    try:
        found = Preprocessing(opt.preprocess, opt.load_size, opt.crop_size)
    except ArgumentError as error:
        raise OptionError(f"--load_size {opt.load_size} --crop_size {opt.crop_size}: {error}") from None
    if not found.crops:
        crops = "scale_width_and_crop" if opt.preprocess == "scale_width" else "crop"
        raise OptionError(
            f"--compress: --preprocess {opt.preprocess} leaves images of several sizes, and kd compress trains on "
            f"crops of one size: give --preprocess {crops}"
        )
    return found


def training_request(opt: Namespace) -> StudentRequest:
    """Return the generator that the options of a host describe."""
    return StudentRequest(
        input_nc=opt.input_nc,
        output_nc=opt.output_nc,
        ngf=opt.ngf,
        netG=opt.netG,
        norm=opt.normG if hasattr(opt, "normG") else opt.norm,
        dropout=opt.no_dropout is False,
    )


def recorded_options(opt: Namespace) -> dict[str, str]:
    """Return the options that identify a training, as text by name."""
    shown = ("display_", "kd_plugin")
    return {
        name: str(value)
        for name, value in vars(host_options(opt)).items()
        if name not in _FREE and not name.startswith(shown)
    }


def first_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return the name of the first option that differs, of those that both have; "" without a difference."""
    return next((name for name in new if name in old and old[name] != new[name]), "")


def device_option(opt: Namespace) -> list[str]:
    """Return the device of a host's training as an option of ``kd compress``; empty for its default."""
    if not hasattr(opt, "gpu_ids"):
        return []
    ids = [int(part) for part in str(opt.gpu_ids).strip("[]").split(",") if part.strip()]
    ids = [number for number in ids if number >= 0]
    if not ids:
        return ["--device", "cpu"]
    return ["--device", f"cuda:{ids[0]}"] if ids[0] else []
