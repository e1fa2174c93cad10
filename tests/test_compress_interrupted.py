"""``kd compress`` interrupted anywhere, and what a folder of results is protected from."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.commands import run_twice
from helpers.generators import save_generator
from helpers.images import paint

from kd_plugin import CompressSettings, GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.compression import loop, pace
from kd_plugin.compression.compress import _Compression, compress
from kd_plugin.compression.loop import Step
from kd_plugin.compression.observation import Observation
from kd_plugin.compression.state import STATE
from kd_plugin.compression.watcher import Watcher
from kd_plugin.compression.wishes import parse_wishes
from kd_plugin.errors import ArgumentError, CheckpointError

TEACHER = GeneratorSpec("resnet", 3, 3, 8, 1, "instance", False, True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compress")
    save_generator(folder / "big", TEACHER, side=16)
    for i in range(10):
        paint(folder / "photos" / f"{i}.png", 24, 20, i)
    return folder


def settings(place: Path, output: Path, **changes: object) -> CompressSettings:
    values = {
        "output": output, "teacher": place / "big", "images": place / "photos", "students": parse_wishes(["ngf=2"]),
        "size": 16, "load_size": 18, "steps": 12, "workers": 0, "validation": 0.3, "print_freq": 2,
    }  # fmt: skip
    return CompressSettings(**{**values, **changes})  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {file.name: torch.load(file, weights_only=True) for file in sorted(folder.glob("*_net_G.pth"))}


def same(ours: Path, theirs: Path) -> bool:
    a, b = weights(ours), weights(theirs)
    assert len(b) == 4
    return a.keys() == b.keys() and all(torch.equal(a[f][k], b[f][k]) for f in b for k in b[f])


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """A training without an interruption."""
    compress(settings(place, place / "whole"))
    return place / "whole"


class Killed(BaseException):
    """Stands for a process that is killed: nothing that follows is done, but what Python does to unwind."""


class Killer(Watcher):
    """Kills a training after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, step: Step) -> None:
        if step.number == self._step:
            raise Killed


class TestKilled:
    @pytest.mark.parametrize("step", [1, 3, 6, 12])
    def test_after_any_step_before_the_first_save(self, place: Path, whole: Path, tmp_path: Path, step: int) -> None:
        """Validations, which write the best weights, come before the first regular save."""
        with pytest.raises(Killed):
            compress(settings(place, tmp_path / "out"), watcher=Killer(step))
        assert step == 1 or (tmp_path / "out" / "best_net_G.pth").is_file()
        compress(settings(place, tmp_path / "out"))
        assert same(tmp_path / "out", whole)

    @pytest.mark.parametrize(
        ("owner", "function"),
        [
            (Observation, "_validate"),
            (Observation, "_save_samples"),
            (Observation, "write_page"),
            (_Compression, "_finish"),
        ],
    )
    def test_inside_a_validation_or_the_end(
        self, place: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, function: str
    ) -> None:
        def killed(*arguments: object) -> None:
            raise Killed

        with monkeypatch.context() as context:
            context.setattr(owner, function, killed)
            with pytest.raises(Killed):
                compress(settings(place, tmp_path / "out", save_freq=3))
        compress(settings(place, tmp_path / "out", save_freq=3))
        assert same(tmp_path / "out", whole)

    @pytest.mark.parametrize("when", ["step", "choosing", "logged"])
    def test_ctrl_c_at_any_moment(
        self, place: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        """Between two steps it is saved; while weights are chosen, the exception ends the command."""

        class Interrupter(Watcher):
            pass

        def interrupt(self: object, *arguments: object) -> None:
            monkeypatch.setattr(Interrupter, when, lambda *_: None)
            os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Interrupter, when, interrupt, raising=False)
        if when == "choosing":
            with pytest.raises(KeyboardInterrupt):
                compress(settings(place, tmp_path / "out"), watcher=Interrupter())
        else:
            result = compress(settings(place, tmp_path / "out"), watcher=Interrupter())
            assert result.signal == signal.SIGINT and result.done < 12
        compress(settings(place, tmp_path / "out"))
        assert same(tmp_path / "out", whole)


class TestMinutes:
    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Advance the clock of the training by 10 ms at every reading, however busy the machine is."""
        readings = itertools.count()
        clock = SimpleNamespace(monotonic=lambda: next(readings) / 100)
        for module in (loop, pace):
            monkeypatch.setattr(module, "time", clock)

    def test_alone_the_number_of_steps_is_stored_when_it_is_known(self, place: Path, tmp_path: Path) -> None:
        timed = {"steps": None, "minutes": 0.03, "validation": 0.0}
        with pytest.raises(Killed):
            compress(settings(place, tmp_path / "out", **timed), watcher=Killer(53))
        state = torch.load(tmp_path / "out" / STATE, weights_only=True)
        assert state["done"] == 50 and state["steps"] > 53
        result = compress(settings(place, tmp_path / "out", **timed))
        assert result.done == result.steps == state["steps"]

    def test_the_time_of_interrupted_calls_counts(self, place: Path, tmp_path: Path) -> None:
        """With an interruption after every 20th step, the number is fixed after 50 steps in all."""

        class Interrupter(Watcher):
            def step(self, step: Step) -> None:
                if step.number % 20 == 0:
                    os.kill(os.getpid(), signal.SIGTERM)

        timed = {"steps": None, "minutes": 0.03, "validation": 0.0}
        known = []
        for _ in range(3):
            known.append(compress(settings(place, tmp_path / "out", **timed), watcher=Interrupter()).steps)
        assert known[:2] == [None, None] and known[2] is not None and known[2] >= 50


class TestFresh:
    def test_an_error_before_the_training_deletes_nothing(self, place: Path, whole: Path, tmp_path: Path) -> None:
        compress(settings(place, tmp_path / "out", steps=2))
        before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
        with pytest.raises(Exception, match="photoz: no such folder"):
            compress(settings(place, tmp_path / "out", images=place / "photoz", fresh=True))
        assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == before
        compress(settings(place, tmp_path / "out", fresh=True))
        assert same(tmp_path / "out", whole)

    def test_results_of_other_students_are_deleted_and_nothing_else(self, place: Path, tmp_path: Path) -> None:
        output = tmp_path / "out"
        compress(settings(place, output, steps=2))
        (output / "notes.txt").write_text("mine")
        (output / "other").mkdir()
        (output / "other" / "loss_log.txt").write_text("of another experiment")
        compress(settings(place, output, steps=2, students=parse_wishes(["ngf=2", "ngf=3"]), fresh=True))
        assert not list(output.glob("*_net_G.pth")) and not (output / "student.json").exists()
        assert (output / "ngf2" / "latest_net_G.pth").is_file() and (output / "notes.txt").read_text() == "mine"
        assert (output / "other" / "loss_log.txt").is_file()
        compress(settings(place, output, steps=2, fresh=True))
        assert (output / "latest_net_G.pth").is_file() and not (output / "ngf2").exists()

    def test_the_teacher_is_not_overwritten(self, place: Path, tmp_path: Path) -> None:
        compress(settings(place, tmp_path / "out", steps=2))
        teacher = tmp_path / "out" / "latest_net_G.pth"
        before = teacher.read_bytes()
        with pytest.raises(ArgumentError, match="holds the teacher"):
            compress(settings(place, tmp_path / "out", teacher=teacher, fresh=True))
        assert teacher.read_bytes() == before


class TestOtherResults:
    @pytest.mark.parametrize("name", ["index.html", "report.json", "a/notes.txt", "student.json"])
    def test_a_folder_of_something_else_is_refused(self, place: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / "out" / "a").mkdir(parents=True)
        (tmp_path / "out" / name).write_text("mine")
        with pytest.raises(CheckpointError, match=r"holds files of something else \((index|report|a|student)"):
            compress(settings(place, tmp_path / "out"))
        assert (tmp_path / "out" / name).read_text() == "mine"

    def test_results_are_not_mixed_with_images(self, place: Path, tmp_path: Path) -> None:
        for output in (place / "photos", place / "photos" / "small", place):
            with pytest.raises(ArgumentError, match="would be mixed with the images of"):
                compress(settings(place, output))
        assert not (place / "photos" / "small").exists()

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes anywhere")
    def test_a_read_only_folder(self, place: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir(mode=0o555)
        with pytest.raises(Exception, match="cannot save"):
            compress(settings(place, tmp_path / "out" / "small"))


class TestChanges:
    """What a training depends on cannot change when it continues."""

    @pytest.fixture
    def begun(self, place: Path, tmp_path: Path) -> Callable[..., CompressSettings]:
        """Settings of a training that has begun, in a place of its own that may be changed."""
        save_generator(tmp_path / "big", TEACHER, side=16)
        for i in range(8):
            for folder in ("photos", "real", "made"):
                paint(tmp_path / folder / f"{i}.png", 24, 20, i)

        def of(**changes: object) -> CompressSettings:
            return settings(tmp_path, tmp_path / "out", **changes)

        return of

    @pytest.mark.parametrize("name", ["20.png", "21.png", "22.png", "23.png", "24.png"])
    def test_an_image_that_joins_either_side(
        self, begun: Callable[..., CompressSettings], tmp_path: Path, name: str
    ) -> None:
        compress(begun(minutes=1e-9))
        paint(tmp_path / "photos" / name, 24, 20, 1)
        with pytest.raises(CheckpointError, match=r"has a training with (held-out )?images \d \("):
            compress(begun())

    def test_finished_images(self, begun: Callable[..., CompressSettings], tmp_path: Path) -> None:
        finished = {"teacher": None, "teacher_images": tmp_path / "made"}
        compress(begun(**finished, minutes=1e-9))
        paint(tmp_path / "made" / "3.png", 24, 20, 99)
        with pytest.raises(CheckpointError, match="has a training with teacher "):
            compress(begun(**finished))

    def test_real_images_and_their_loss(self, begun: Callable[..., CompressSettings], tmp_path: Path) -> None:
        real = {"real": tmp_path / "real", "size": 32, "load_size": 32}
        compress(begun(**real, minutes=1e-9))
        with pytest.raises(CheckpointError, match="with weights L1 100, GAN 1 lsgan, not L1 100, GAN 1 vanilla"):
            compress(begun(**real, gan_mode="vanilla"))
        (tmp_path / "real" / "3.png").unlink()
        with pytest.raises(CheckpointError, match=r"has a training with real images 8 \(\w+\), not 7 \("):
            compress(begun(**real))

    def test_dropout(self, begun: Callable[..., CompressSettings]) -> None:
        compress(begun(minutes=1e-9))
        with pytest.raises(CheckpointError, match=r"has a training with networks .*false.*, not .*true"):
            compress(begun(students=parse_wishes(["ngf=2+dropout=yes"])))

    def test_the_order_of_the_students_is_free(self, begun: Callable[..., CompressSettings], tmp_path: Path) -> None:
        compress(begun(students=parse_wishes(["ngf=2", "ngf=3"]), minutes=1e-9))
        result = compress(begun(students=parse_wishes(["ngf=3", "ngf=2"])))
        assert result.complete and list(result.folders) == ["ngf3", "ngf2"]

    def test_another_list_of_students_leaves_nothing(
        self, begun: Callable[..., CompressSettings], tmp_path: Path
    ) -> None:
        compress(begun(minutes=1e-9))
        with pytest.raises(CheckpointError, match="has a training with students"):
            compress(begun(students=parse_wishes(["ngf=2", "ngf=3"])))
        assert not (tmp_path / "out" / "ngf2").exists()


@pytest.mark.slow
class TestTwoProcesses:
    def line(self, place: Path, *more: str) -> list[str]:
        return [
            "-m", "kd_plugin", "compress", str(place / "big"), "--images", str(place / "photos"), "--ngf", "2",
            "--size", "16", "--load-size", "18", "--steps", "12", "--num-threads", "0", "--validation", "0.3",
            "-o", "out", *more,
        ]  # fmt: skip

    def test_they_continue_and_begin_again(self, place: Path, tmp_path: Path) -> None:
        runs = {}
        calls_of: dict[str, list[list[str]]] = {
            "whole": [[]],
            "parts": [["--minutes", "1e-9"], []],
            "fresh": [["--seed", "3"], ["--fresh"]],
        }
        for name, calls in calls_of.items():
            (tmp_path / name).mkdir()
            for more in calls:
                for process in run_twice(self.line(place, *more), tmp_path / name):
                    assert process.returncode == 0, process.stderr
            runs[name] = tmp_path / name / "out"
        state = torch.load(runs["whole"] / STATE, weights_only=True)
        assert state["done"] == 12 and state["plan"]["settings"]["processes"] == "2"
        assert same(runs["parts"], runs["whole"]) and same(runs["fresh"], runs["whole"])
        assert json.loads((runs["whole"] / "report.json").read_text())["directions"][0]["images"] >= 1


def test_ctrl_c_while_pytorch_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    from kd_plugin.commands import compress as command

    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_compress", interrupted)
    assert main(["compress"]) == 130
    assert capsys.readouterr().err == "\nkd: interrupted\n"
