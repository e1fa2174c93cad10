"""The teacher cache returns the same bits from disk, and never those of another image."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.commands import Forked, environment, succeed
from helpers.models import distil_options, distilling, host_batch, set_up, train_step
from helpers.tensors import flat
from torch import nn

from kd_plugin import Distiller, GeneratorSpec, KDError
from kd_plugin.distillation.teacher_cache import TeacherCache
from kd_plugin.distillation.teacher_pass import TeacherPass
from kd_plugin.networks.generator import build_generator

SPEC = GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, False)


def frozen(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_generator(SPEC).requires_grad_(False).eval()


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def passes(teacher: nn.Module) -> list[int]:
    """The sizes of the batches that a network runs on from now on."""
    seen: list[int] = []
    teacher.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    return seen


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pt"))


class TestPass:
    def test_a_second_time_gives_the_same_bits(self, tmp_path: Path) -> None:
        teacher = frozen()
        remembered = TeacherPass(teacher, ["model.10", "model.11"], TeacherCache(tmp_path))
        first = remembered(pictures(3))
        seen = passes(teacher)
        again = remembered(pictures(3))
        assert seen == [] and len(entries(tmp_path)) == 3
        for one, other in zip(flat(list(first)), flat(list(again)), strict=True):
            assert torch.equal(one, other)
        bare = TeacherPass(teacher, ["model.10", "model.11"])(pictures(3))
        assert again[1].keys() == bare[1].keys()
        assert all(torch.equal(one, other) for one, other in zip(flat(list(again)), flat(list(bare)), strict=True))

    def test_only_what_is_new_is_computed_and_goes_where_it_belongs(self, tmp_path: Path) -> None:
        teacher = frozen()
        remembered = TeacherPass(teacher, ["model.10"], TeacherCache(tmp_path))
        remembered(pictures(4)[[0, 2]])
        seen = passes(teacher)
        output, features = remembered(pictures(4)[[3, 2, 1, 0]])
        assert seen == [2]
        bare = TeacherPass(teacher, ["model.10"])(pictures(4)[[3, 2, 1, 0]])
        torch.testing.assert_close(output, bare[0])
        torch.testing.assert_close(features["model.10"], bare[1]["model.10"])

    def test_a_picture_that_differs_in_one_bit_is_another(self, tmp_path: Path) -> None:
        teacher = frozen()
        remembered = TeacherPass(teacher, [], TeacherCache(tmp_path))
        images = pictures(1)
        remembered(images)
        seen = passes(teacher)
        remembered(images.nextafter(torch.ones_like(images)))
        remembered(images.flip(3))
        remembered(images.view(1, 3, 8, 32))  # the same bytes in another shape
        assert seen == [1, 1, 1]

    def test_another_teacher_tap_or_precision_finds_nothing(self, tmp_path: Path) -> None:
        images = pictures(1)
        TeacherPass(frozen(), ["model.10"], TeacherCache(tmp_path))(images)
        one_weight = frozen()
        one_weight.model[1].weight.data[0, 0, 0, 0] += 1e-3
        for teacher, taps, variant in (
            (frozen(1), ["model.10"], ""),
            (one_weight, ["model.10"], ""),
            (frozen(), [], ""),
            (frozen(), ["model.11"], ""),
            (frozen(), ["model.10"], "bf16"),
        ):
            seen = passes(teacher)
            TeacherPass(teacher, taps, TeacherCache(tmp_path, variant=variant))(images)
            assert seen == [1]

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"not a file of PyTorch's"])
    def test_a_damaged_entry_is_computed_and_written_anew(self, tmp_path: Path, damage: bytes) -> None:
        teacher = frozen()
        remembered = TeacherPass(teacher, [], TeacherCache(tmp_path))
        first, _ = remembered(pictures(1))
        (entry,) = entries(tmp_path)
        whole = entry.read_bytes()
        entry.write_bytes(damage)
        assert torch.equal(remembered(pictures(1))[0], first)
        assert entry.read_bytes() == whole

    def test_an_entry_that_is_not_ours_is_computed_anew(self, tmp_path: Path) -> None:
        teacher = frozen()
        remembered = TeacherPass(teacher, [], TeacherCache(tmp_path))
        first, _ = remembered(pictures(1))
        (entry,) = entries(tmp_path)
        for strange in ([1, 2], {"": 3}, {"": torch.zeros(2)}, {"other": first[0]}):
            torch.save(strange, entry)
            assert torch.equal(remembered(pictures(1))[0], first)

    def test_no_code_in_an_entry_is_run(self, tmp_path: Path) -> None:
        class Harmful:
            def __reduce__(self) -> tuple:
                return os.mkdir, (str(tmp_path / "harm"),)

        remembered = TeacherPass(frozen(), [], TeacherCache(tmp_path / "cache"))
        first, _ = remembered(pictures(1))
        (entry,) = entries(tmp_path)
        torch.save({"": Harmful()}, entry)
        assert torch.equal(remembered(pictures(1))[0], first) and not (tmp_path / "harm").exists()

    def test_a_teacher_in_training_mode_has_none(self, tmp_path: Path) -> None:
        with pytest.raises(KDError, match="cannot be cached"):
            TeacherPass(frozen().train(), [], TeacherCache(tmp_path))


def _fill(folder: Path, seed: int) -> None:
    torch.set_num_threads(1)
    remembered = TeacherPass(frozen(), ["model.10"], TeacherCache(folder))
    for start in range(0, 12, 2):
        remembered(pictures(12)[start : start + 2].roll(seed, 0))

    def test_a_precision_of_the_callers_is_one_of_the_entrys(self, tmp_path: Path) -> None:
        """A host may run its networks under autocast; what it gives then is no float32 picture."""
        teacher = frozen()
        remembered = TeacherPass(teacher, ["model.10"], TeacherCache(tmp_path))
        with torch.autocast("cpu", torch.bfloat16):
            half, _ = remembered(pictures(1))
        whole, _ = remembered(pictures(1))
        assert torch.equal(whole, teacher(pictures(1))) and not torch.equal(whole, half)
        seen = passes(teacher)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(remembered(pictures(1))[0], half)
        assert seen == []

    def test_of_a_compiled_teacher(self, tmp_path: Path) -> None:
        teacher = frozen()
        expected = TeacherPass(teacher, ["model.10"])(pictures(2))
        compiled = torch.compile(teacher, backend="eager")
        for _ in range(2):
            output, features = TeacherPass(compiled, ["model.10"], TeacherCache(tmp_path))(pictures(2))
            torch.testing.assert_close(output, expected[0])
            torch.testing.assert_close(features["model.10"], expected[1]["model.10"])
        assert len(entries(tmp_path)) == 2


class TestFolder:
    def size(self, folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    def test_keeps_within_its_size_and_says_so_once(self, tmp_path: Path) -> None:
        teacher, told = frozen(), []
        remembered = TeacherPass(teacher, [], TeacherCache(tmp_path, 20_000, warn=told.append))
        for seed in range(12):
            remembered(pictures(1, seed))
        # One holds 3 * 16 * 16 numbers of 4 bytes, and a file a little more.
        assert 3 <= len(entries(tmp_path)) <= 6 and self.size(tmp_path) <= 20_000
        assert len(told) == 1 and "has reached 2e-05 GB" in told[0]
        seen = passes(teacher)
        remembered(pictures(1, 0))
        remembered(pictures(1, 11))
        assert seen == [1]  # the first is still there, the last never was
        TeacherPass(frozen(1), [], TeacherCache(tmp_path, 20_000, warn=told.append))(pictures(1))
        assert len(told) == 2 and self.size(tmp_path) <= 20_000  # what is there counts from the start

    def test_a_full_disk_ends_the_cache_and_not_the_training(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        teacher = frozen()
        remembered = TeacherPass(teacher, [], TeacherCache(tmp_path, warn=told.append))

        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        for seed in range(3):
            torch.testing.assert_close(remembered(pictures(1, seed))[0], teacher(pictures(1, seed)))
        assert len(told) == 1 and "No space left on device" in told[0]
        assert not [file for file in tmp_path.rglob("*") if file.is_file()]

    def test_one_that_can_only_be_read_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        teacher, told = frozen(), []
        TeacherPass(teacher, [], TeacherCache(tmp_path))(pictures(1))

        def refused(*arguments: object, **named: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("kd_plugin.distillation.teacher_cache.write_atomically", refused)
        monkeypatch.setattr(Path, "mkdir", lambda path, **named: None if path.exists() else refused())
        seen = passes(teacher)
        for taps in ([], ["model.10"]):  # the second has no folder yet
            TeacherPass(teacher, taps, TeacherCache(tmp_path, warn=told.append))(pictures(1))
        assert seen == [1] and len(told) == 1 and "Read-only file system" in told[0]

    def test_a_place_that_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(KDError, match="cannot create the teacher's cache"):
            TeacherCache(tmp_path / "file")

    @pytest.mark.slow
    def test_several_processes_fill_one(self, tmp_path: Path) -> None:
        """Every entry is whole whatever the others do, and nothing else is left."""
        fill = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_teacher_cache as tests; "
        fill += f"tests._fill(tests.Path({str(tmp_path)!r}), int(sys.argv[1]))"
        workers = [Forked(["-c", fill, str(seed)], tmp_path, environment()) for seed in range(3)]
        for worker in workers:
            succeed(worker.finish())
        assert len(entries(tmp_path)) == 12 == len([file for file in tmp_path.rglob("*") if file.is_file()])
        teacher = frozen()
        seen = passes(teacher)
        output, _ = TeacherPass(teacher, ["model.10"], TeacherCache(tmp_path))(pictures(12))
        assert seen == []
        torch.testing.assert_close(output, teacher(pictures(12)))


def test_a_distiller_with_a_cache_learns_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    student = build_generator(SPEC)
    losses = []
    for cache in (None, TeacherCache(tmp_path), TeacherCache(tmp_path)):
        result = Distiller(student, frozen(), ["wavelet", "srp"], cache=cache)(pictures(2))
        losses.append(result.losses)
    for name in losses[0]:
        assert torch.equal(losses[0][name], losses[1][name]) and torch.equal(losses[0][name], losses[2][name])


class TestHosts:
    @pytest.mark.parametrize("name", ["pix2pix", "cycle_gan"])
    def test_training_is_the_same_bit_for_bit(
        self, models: ModuleType, teachers: Path, tmp_path: Path, name: str
    ) -> None:
        cls = distilling(models.find_model_using_name(name))
        weights = []
        for given in ({}, {"teacher_cache": str(tmp_path / "cache")}):
            options = distil_options(teachers, model=name, distill="pixel,srp", **given)
            model = set_up(cls, options)
            seen = passes(model._run.pairs[0].teacher)
            for seed in (0, 1, 0, 1):
                train_step(model, 1, seed)
            assert seen == ([1] * 4 if not given else [1] * 2)
            weights.append(flat(model.netG.state_dict() if name == "pix2pix" else model.netG_A.state_dict()))
        assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
        assert len(entries(tmp_path / "cache")) == 2 * len(model._run.pairs)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"preprocess": "resize_and_crop", "load_size": 286, "crop_size": 256}, "add --load_size 256"),
            ({"preprocess": "crop", "crop_size": 256, "load_size": 256}, "add --preprocess none"),
            ({"preprocess": "scale_width_and_crop", "crop_size": 9, "load_size": 9}, "add --preprocess scale_width"),
            ({"preprocess": "zoom_and_patch"}, "--preprocess zoom_and_patch crops .* add --preprocess none"),
            ({"teacher_mode": "train"}, "--teacher_mode train .*remove one of the two"),
            ({"teacher_cache_size": 0.0}, "--teacher_cache_size 0: give a size in GB above 0"),
            ({"teacher_cache_size": float("nan")}, "--teacher_cache_size nan: give a size in GB above 0"),
        ],
    )  # fmt: skip
    def test_what_it_cannot_serve(
        self, models: ModuleType, teachers: Path, given: dict[str, object], message: str
    ) -> None:
        options = distil_options(teachers, distill="pixel", teacher_cache="cache", **given)
        with pytest.raises(KDError, match=message):
            distilling(models.find_model_using_name("pix2pix"))(options)

    def test_the_home_folder(
        self, models: ModuleType, teachers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A shell leaves the ``~`` of ``--teacher_cache=~/cache`` as it is."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
        cls = distilling(models.find_model_using_name("pix2pix"))
        train_step(set_up(cls, distil_options(teachers, distill="pixel", teacher_cache="~/cache")))
        assert len(entries(tmp_path / "home" / "cache")) == 1 and not (tmp_path / "~").exists()
        with pytest.raises(KDError, match="--teacher_cache ~no_such_user_here/cache: no such home folder"):
            set_up(cls, distil_options(teachers, distill="pixel", teacher_cache="~no_such_user_here/cache"))

    def test_pictures_of_whole_size_are_served(self, models: ModuleType, teachers: Path, tmp_path: Path) -> None:
        options = distil_options(
            teachers, distill="pixel", teacher_cache=str(tmp_path / "cache"), preprocess="resize_and_crop",
            load_size=32, crop_size=32,
        )  # fmt: skip
        model = set_up(distilling(models.find_model_using_name("pix2pix")), options)
        model.set_input(host_batch())
        model.optimize_parameters()
        assert len(entries(tmp_path / "cache")) == 1
