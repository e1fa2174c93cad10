"""Options of the plugin that clash with options of a host."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest
from helpers.commands import run

from kd_plugin import KDError
from kd_plugin.host.options.distill import DistillConfig, add_options, are_in

DISTILL = ["--distill", "wavelet", "--teacher", "big"]


def test_the_mixed_precision_of_a_host_is_left_to_it() -> None:
    parser = ArgumentParser()
    parser.add_argument("--amp", action="store_true", help="the host's")
    add_options(parser)
    opt = parser.parse_args([*DISTILL, "--amp"])
    assert opt.amp is True
    config = DistillConfig.from_namespace(opt)
    assert config is not None and config.cost.amp is None
    assert "--amp {bf16,fp16}" not in parser.format_help()
    assert not are_in(["--amp"]) and are_in(["--amp", "--distill=wavelet"])


def test_without_one_it_is_ours() -> None:
    parser = ArgumentParser()
    add_options(parser)
    config = DistillConfig.from_namespace(parser.parse_args([*DISTILL, "--amp", "bf16", "--teacher_compile"]))
    assert config is not None and config.cost.amp == "bf16" and config.cost.teacher_compile is True
    with pytest.raises(KDError, match=r"--amp 'half'.*known: bf16, fp16"):
        DistillConfig.from_namespace(parser.parse_args([*DISTILL, "--amp", "half"]))
    with pytest.raises(KDError, match="--teacher_compile has no effect without --distill"):
        DistillConfig.from_namespace(parser.parse_args(["--teacher_compile"]))


def test_another_name_that_the_host_has_taken() -> None:
    parser = ArgumentParser()
    parser.add_argument("--teacher")
    with pytest.raises(KDError, match="the host has an option --teacher, a name"):
        add_options(parser)


@pytest.mark.parametrize(("option", "told"), [("teacher", True), ("name", False)])
@pytest.mark.slow
def test_a_name_that_the_host_takes_later(option: str, told: bool, tmp_path: Path) -> None:
    """As the options of its data sets do; what is not about ours stays the host's own traceback."""
    script = tmp_path / "script.py"
    script.write_text(
        "from argparse import ArgumentParser\n"
        "from kd_plugin.host.options.excepthook import report_in_one_line\n"
        "from kd_plugin.host.options.distill import add_options\n"
        "report_in_one_line()\n"
        "parser = ArgumentParser()\n"
        "parser.add_argument('--name')\n"
        "add_options(parser)\n"
        f"parser.add_argument('--{option}')\n"
    )
    result = run([str(script)], tmp_path)
    if told:
        assert result.returncode == 2
        assert result.stderr.startswith("error: the host has an option --teacher, a name")
        assert len(result.stderr.splitlines()) == 1
    else:
        assert result.returncode == 1 and "Traceback" in result.stderr
        assert "conflicting option string: --name" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--distill wavelet", "--distill wavelet needs a teacher: add --teacher checkpoints/NAME"),
        ("--distill pixel,pixel --teacher big", "names pixel twice"),
        ("--distill wavelet --teacher big --wavelet_bands hi", "unknown bands 'hi': did you mean 'high'?"),
        ("--distill wavelet --teacher big --wavelet_basis harr", "did you mean 'haar'?"),
        ("--distill wavelet --teacher big --student_ngf 0", "--student_ngf 0: give a width of 1 or more"),
        ("--distill pixel --teacher big --lambda_pixel -1", "lambda_pixel is '-1'"),
        ("--distill pixel --teacher big --lambda_pixel 1@2", "lambda_pixel is '1@2', one point: give a number"),
        ("--distill perceptual --teacher big", "perceptual_network is '': name the function"),
        ("--distill srp:G_A --teacher big", "this model has the generators G, not G_A"),
    ],
)
def test_what_options_alone_tell(arguments: str, message: str) -> None:
    parser = ArgumentParser()
    add_options(parser)
    with pytest.raises(KDError) as caught:
        config = DistillConfig.from_namespace(parser.parse_args(arguments.split()))
        assert config is not None
        config.check_nets(["G"])
    assert message in str(caught.value) and "\n" not in str(caught.value)
