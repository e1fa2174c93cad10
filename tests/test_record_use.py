"""Use of the record of a student in tests and continued trainings."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.hosts import FORMS, HOSTS, SMALL, host_arguments, imported_host, start_inside

from kd_plugin import GeneratorSpec, KDError
from kd_plugin.files import sha256
from kd_plugin.networks.generator import build_generator

PLACES = [HOSTS[FORMS.index("2025")], *HOSTS[len(FORMS) :]]


class Runs:
    """Trainings and tests of one host in this process."""

    def __init__(
        self, folder: Path, form: str, images: Path, output: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.images, self.output, self._capsys = folder, images, output, capsys
        self._more = host_arguments(folder, form)

    def train(self, more: str, name: str = "small") -> str:
        arguments = (
            f"--dataroot {self.images}/paired --checkpoints_dir {self.output} --name {name} {SMALL} --ndf 4 "
            f"--n_epochs 1 --n_epochs_decay 0 --lr_policy step --save_epoch_freq 1 --print_freq 1 --no_html"
        )
        return self._start("train", f"{arguments} {more}")

    def test(self, more: str = "", name: str = "small") -> str:
        arguments = (
            f"--checkpoints_dir {self.output} --results_dir {self.output}/results --name {name} --load_size 32 "
            f"--crop_size 32"
        )
        data = "" if "--dataroot" in more else f"--dataroot {self.images}/paired"
        return self._start("test", f"{arguments} {data} {more}")

    def _start(self, phase: str, arguments: str) -> str:
        self._capsys.readouterr()
        start_inside(self.folder, f"{phase}.py", f"{arguments} {' '.join(self._more[phase])}")
        return self._capsys.readouterr().out

    def refusal(self, run: Callable[[], object]) -> str:
        """Return the one line that a run ends with: from the parser, or from an error that is reported as one."""
        self._capsys.readouterr()
        with pytest.raises((SystemExit, KDError)) as ended:
            run()
        if isinstance(ended.value, KDError):
            error = f"error: {ended.value}\n"
        else:
            error = self._capsys.readouterr().err
            assert ended.value.code == 2
        assert error.count("\n") == 1 and "error: " in error
        return error

    def pictures(self, name: str = "small") -> dict[str, bytes]:
        return {f.name: f.read_bytes() for f in (self.output / "results" / name).rglob("*fake_B.png")}

    @property
    def record(self) -> Path:
        return self.output / "small" / "student.json"

    def edit(self, **changes: object) -> None:
        self.record.write_text(json.dumps({**json.loads(self.record.read_text()), **changes}))


@pytest.fixture(params=PLACES)
def runs(
    request: pytest.FixtureRequest, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Runs]:
    with imported_host(*request.param):
        (tmp_path / "big").mkdir()
        torch.manual_seed(0)
        for net in ("G", "G_A", "G_B"):
            teacher = build_generator(GeneratorSpec("resnet", 3, 3, 6, 6, "instance", False, True))
            torch.save(teacher.state_dict(), tmp_path / "big" / f"latest_net_{net}.pth")
        yield Runs(*request.param, images, tmp_path, capsys)


def distilling(runs: Runs, terms: str = "pixel") -> str:
    return f"--model pix2pix --distill {terms} --teacher {runs.output}/big --student_ngf 4"


class TestTests:
    def test_of_a_student_trained_the_other_way(self, runs: Runs) -> None:
        """Without --direction and --model the pictures are those that the full command makes."""
        runs.train(f"{distilling(runs)} --direction BtoA")
        runs.test("--model pix2pix --direction BtoA --dataset_mode aligned")
        right = runs.pictures()
        shutil.rmtree(runs.output / "results")
        said = runs.test()
        assert len(right) == 4 and runs.pictures() == right
        assert "[distill] --model pix2pix, from " in said and "[distill] --direction BtoA, from " in said
        # A folder of pictures, on purpose, is another test; there no direction matters.
        for given in ("--model test", "--dataset_mode single"):
            runs.test(f"{given} --dataroot {runs.images}/unpaired/testA")
        error = runs.refusal(lambda: runs.test("--direction AtoB"))
        assert re.search(r"--direction AtoB contradicts .*student\.json: .* trained with BtoA; remove", error)
        shutil.copy(runs.output / "small" / "latest_net_G.pth", runs.output / "small" / "latest_net_G_A.pth")
        runs.test(f"--model_suffix=_A --dataroot {runs.images}/unpaired/testA")
        error = runs.refusal(lambda: runs.test("--dataset_mode unaligned"))
        assert re.search(
            r"--dataset_mode unaligned contradicts .*: .* trained with aligned; remove the option", error
        )
        error = runs.refusal(lambda: runs.test("--model cycle_gan"))
        assert re.search(r"--model cycle_gan contradicts .*student\.json: .* trained with pix2pix; remove", error)

    def test_say_where_pictures_are_resized_otherwise(self, runs: Runs) -> None:
        runs.train(distilling(runs))
        assert "note: --" not in runs.test()
        said = runs.test("--preprocess none")
        assert "note: --preprocess none, but the student was trained with resize_and_crop" in said
        said = runs.test("--load_size 48 --crop_size 48")
        assert "note: --crop_size 48, but the student was trained with 32" in said
        assert "note: --load_size 48, but the student was trained with 32" in said

    @pytest.mark.parametrize(
        "changes",
        [
            {"host_options": {"num_test": 0}}, {"host_options": {"ngf": True}}, {"host_options": {"ngf": 0}},
            {"host_options": {"no_dropout": 1}}, {"host_options": {"netG": "../evil"}}, {"model": "os.evil"},
            {"direction": "CtoD"}, {"dataset_mode": "../x"}, {"model": None}, {"dataset_mode": 3}, {"pictures": []},
        ],
    )  # fmt: skip
    def test_refuse_a_record_with_other_options(self, runs: Runs, changes: dict) -> None:
        """Nothing but what builds networks is taken from it, each value of its kind."""
        runs.train(distilling(runs))
        runs.edit(**changes)
        assert "student.json: not a student record (" in runs.refusal(runs.test)

    def test_of_a_model_that_is_not_there(self, runs: Runs) -> None:
        runs.train(distilling(runs))
        runs.edit(model="distill_pix2pix")  # a patch that has been taken out again
        runs.test()
        assert len(runs.pictures()) == 4
        runs.edit(model="mine")
        error = runs.refusal(runs.test)
        assert "trained with --model mine, which this repository does not have: add models/mine_model.py" in error


class TestResuming:
    def test_takes_terms_weights_and_teacher_from_the_record(self, runs: Runs) -> None:
        """Bit for bit what the full command does."""
        given = (
            f"{distilling(runs, 'wavelet,feature')} --lambda_wavelet 3@1,50@4 --wavelet_levels 2 --lambda_feature 7"
        )
        given += " --distill_taps model.10=model.11 --max_bad_steps 3"
        runs.train(given)
        shutil.copytree(runs.output / "small", runs.output / "again")
        runs.train(f"{given} --n_epochs 2 --continue_train")
        said = runs.train("--model pix2pix --n_epochs 2 --continue_train", "again")
        assert re.search(
            r"resuming with --distill wavelet,feature and the teacher .*latest_net_G.pth, from .*student", said
        )
        for file in ("latest_net_G.pth", "latest_net_D.pth", "latest_distill_adapters.pth"):
            full, short = (torch.load(runs.output / name / file, weights_only=True) for name in ("small", "again"))
            assert all(torch.equal(tensor, short[key]) for key, tensor in full.items())
        records = [json.loads((runs.output / name / "student.json").read_text()) for name in ("small", "again")]
        assert records[0]["distillation"] == records[1]["distillation"]

    def test_what_the_command_line_names_replaces_the_record(self, runs: Runs) -> None:
        runs.train(f"{distilling(runs, 'wavelet,pixel')} --lambda_wavelet 3 --lambda_pixel 4")
        said = runs.train("--model pix2pix --n_epochs 2 --continue_train --lambda_wavelet 5")
        assert "note: --lambda_wavelet 5 instead of 3 in " in said
        assert "wavelet x 5, pixel x 4" in said
        said = runs.train("--model pix2pix --n_epochs 3 --continue_train --distill pixel")
        assert "note: --distill pixel instead of wavelet,pixel in " in said and "; pixel x 4" in said
        assert json.loads(runs.record.read_text())["distillation"]["terms"] == {"pixel": "4"}

    def test_without_a_model_takes_the_recorded_one(self, runs: Runs) -> None:
        runs.train(distilling(runs))
        assert "[distill] --model pix2pix, from " in runs.train("--n_epochs 2 --continue_train")

    def test_refuses_a_run_that_has_saved_nothing(self, runs: Runs) -> None:
        error = runs.refusal(lambda: runs.train(f"{distilling(runs)} --continue_train"))
        assert f"--continue_train: {runs.output}/small has no latest_net_*.pth to continue from" in error

    def test_refuses_a_teacher_that_is_gone_or_changed(self, runs: Runs) -> None:
        runs.train(distilling(runs))
        teacher = runs.output / "big" / "latest_net_G.pth"
        teacher.rename(runs.output / "moved_net_G.pth")
        networks = (runs.output / "small" / "latest_net_G.pth").read_bytes()
        error = runs.refusal(lambda: runs.train("--model pix2pix --n_epochs 2 --continue_train"))
        assert f"the teacher {teacher} of " in error and "is missing: give one with --teacher, or" in error
        torch.manual_seed(9)
        other = build_generator(GeneratorSpec("resnet", 3, 3, 6, 6, "instance", False, True))
        torch.save(other.state_dict(), teacher)
        error = runs.refusal(lambda: runs.train("--model pix2pix --n_epochs 2 --continue_train"))
        assert f"the teacher {teacher} has changed since" in error
        assert (runs.output / "small" / "latest_net_G.pth").read_bytes() == networks
        moved = f"--teacher {runs.output}/moved_net_G.pth"
        said = runs.train(f"--model pix2pix --n_epochs 2 --continue_train {moved}")
        assert f"note: {moved} instead of the teacher {teacher} in " in said
        assert "resuming with --distill pixel, from " in said

    def test_without_a_teacher_needs_a_word(self, runs: Runs) -> None:
        """``--distill none``, which the runs after it go on with."""
        runs.train(distilling(runs))
        (runs.output / "big" / "latest_net_G.pth").unlink()
        said = runs.train("--model pix2pix --n_epochs 2 --continue_train --distill none")
        assert (
            "continuing without a teacher, as given by --distill none" in said and "continuing after epoch 1" in said
        )
        record = json.loads(runs.record.read_text())
        assert record["distillation"]["distill"] == "none" and record["teachers"] == {}
        said = runs.train("--model pix2pix --n_epochs 3 --continue_train")
        assert re.search(r"continuing without a teacher, as given by .*student\.json", said)
        assert "continuing after epoch 2" in said
        runs.test()
        assert len(runs.pictures()) == 4

    def test_a_save_that_was_cut_short_at_the_end_of_an_epoch(self, runs: Runs) -> None:
        """The epoch that follows is that of the new files, which are all in place before anything is read."""
        given = f"{distilling(runs)} --n_epochs 3"
        runs.train(given, "whole")
        runs.train(given.replace("--n_epochs 3", "--n_epochs 1"))
        small = runs.output / "small"
        before = {file.name: file.read_bytes() for file in small.glob("latest_*.pth")}
        runs.train("--model pix2pix --n_epochs 2 --continue_train")
        (small / ".saving_x").mkdir()
        digests = {name: sha256(small / name) for name in before}
        for name in before.keys() - {"latest_net_D.pth"}:  # moved already
            (small / name).rename(small / ".saving_x" / name)
            (small / name).write_bytes(before[name])
        (small / ".latest_being_saved").write_text(json.dumps({"from": ".saving_x", "files": digests}))
        said = runs.train("--model pix2pix --n_epochs 3 --continue_train")
        assert "completed the last save" in said and "continuing after epoch 2" in said
        for name in ("latest_net_G.pth", "latest_net_D.pth"):
            ours, theirs = (torch.load(runs.output / run / name, weights_only=True) for run in ("small", "whole"))
            assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())

    def test_without_a_record_is_refused(self, runs: Runs) -> None:
        """It would train without the teacher, over the student."""
        runs.train(distilling(runs))
        runs.record.unlink()
        error = runs.refusal(lambda: runs.train("--model pix2pix --ngf 4 --n_epochs 2 --continue_train"))
        assert "latest_distill_state.pth belongs to a distilled run, but there is no student.json" in error
        said = runs.train("--model pix2pix --ngf 4 --norm instance --no_dropout --n_epochs 2 --continue_train "
                          "--distill none")  # fmt: skip
        assert "continuing after epoch 1" in said

    def test_misspelt_options_are_named(self, runs: Runs) -> None:
        runs.train(distilling(runs))
        error = runs.refusal(lambda: runs.train("--model pix2pix --n_epochs 2 --continue_train --lambda_pixle 3"))
        assert "--lambda_pixle 3: did you mean --lambda_pixel?" in error

    @pytest.mark.parametrize(
        "changes",
        [
            {"terms": 3}, {"options": []}, {"terms": {"pixel": 4}}, {"options": {"num_test": 0}},
            {"options": {"wavelet_levels": "4"}}, {"options": {"pixel_norm": "l9"}}, {"max_bad_steps": True},
            {"max_bad_steps": "3"},
        ],
    )  # fmt: skip
    def test_refuses_an_edited_record(self, runs: Runs, changes: dict) -> None:
        runs.train(distilling(runs))
        runs.edit(distillation={**json.loads(runs.record.read_text())["distillation"], **changes})
        assert "student.json" in runs.refusal(lambda: runs.train("--model pix2pix --n_epochs 2 --continue_train"))


@pytest.mark.parametrize("where", ["evil/__init__.py", "other/payload.py", "small/payload.py", "payload.py"])
def test_no_code_among_the_checkpoints_runs(
    runs: Runs, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not even that of another experiment, whichever way it is importable, in tests and in trainings that resume."""
    monkeypatch.syspath_prepend(str(runs.output.parent))
    monkeypatch.syspath_prepend(str(runs.output))
    runs.train(distilling(runs))
    (runs.output / where).parent.mkdir(exist_ok=True)
    (runs.output / where).write_text(f"open({str(runs.output / 'ran')!r}, 'w')\nbuild = None\n")
    module = where.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for function in (f"{module}:build", f"{runs.output.name}.{module}:build"):
        runs.edit(build={"factory": function})
        assert f"names the function {function}, which is in the checkpoint folder" in runs.refusal(runs.test)
    before = json.loads(runs.record.read_text())
    options = {"perceptual_network": f"{module}:build", "perceptual_layers": "0"}
    outside = tmp_path_factory.mktemp("disk") / "linked"  # an experiment may be a link to another disk
    shutil.copytree(runs.output / "small", outside)
    (outside / "payload.py").write_text(f"open({str(runs.output / 'ran')!r}, 'w')\nbuild = None\n")
    (runs.output / "link").symlink_to(outside)
    for function in (
        "link.payload:build",
        f"{runs.output.name}.link.payload:build",
        "__main__:build",
        "nowhere:build",
    ):
        linked = {**json.loads(runs.record.read_text()), "build": {"factory": function}}
        (outside / "student.json").write_text(json.dumps(linked))
        assert f"names the function {function}, " in runs.refusal(lambda: runs.test(name="link"))
    runs.edit(build={}, distillation={**before["distillation"], "distill": "perceptual", "options": options})
    error = runs.refusal(lambda: runs.train("--model pix2pix --n_epochs 2 --continue_train"))
    assert "which is in the checkpoint folder" in error
    assert not (runs.output / "ran").exists()


class TestANewRunOfAnOldName:
    def test_without_the_terms_is_no_distilled_student(self, runs: Runs) -> None:
        """The old record and state say nothing of it, and are kept under another name."""
        runs.train(f"{distilling(runs)} --direction BtoA")
        said = runs.train("--model pix2pix --ngf 4")
        assert said.count("belongs to an earlier training of this name; renamed") == 2
        assert {f.name for f in (runs.output / "small").glob("*.old")} == {
            "student.json.old", "latest_distill_state.pth.old"
        }  # fmt: skip
        runs.test("--model pix2pix --ngf 4 --netG resnet_6blocks --norm batch --direction AtoB")
        assert "[distill]" not in runs.train("--model pix2pix --ngf 4 --continue_train")

    def test_with_a_suffix_of_the_models_options(self, runs: Runs) -> None:
        runs.train("--model pix2pix --ngf 4 --suffix {lambda_L1}")
        runs.train(f"{distilling(runs)} --suffix {{lambda_L1}}_{{distill}}")
        assert {f.name for f in runs.output.glob("small_*")} == {"small_100.0", "small_100.0_pixel"}

    def test_leaves_the_record_until_it_saves(self, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is stopped before its first save has changed nothing: the old student is still tested."""
        runs.train(distilling(runs))
        before = {f.name: f.read_bytes() for f in (runs.output / "small").iterdir() if f.suffix in (".pth", ".json")}
        runs.test()
        pictures = runs.pictures()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("kd_plugin.distillation.distiller.Distiller.distill", _interrupt)
            runs.train(distilling(runs).replace("ngf 4", "ngf 5"))
        after = {f.name: f.read_bytes() for f in (runs.output / "small").iterdir() if f.suffix in (".pth", ".json")}
        assert after == before
        runs.test()
        assert runs.pictures() == pictures


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt
