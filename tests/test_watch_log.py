"""``kd watch`` reads the logs of all hosts as they grow, and finds the images to show."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.images import paint
from PIL import Image

from kd_plugin.students import RECORD_NAME
from kd_plugin.watch import experiment
from kd_plugin.watch.experiment import newest_images, read_facts, rows_of, side_by_side
from kd_plugin.watch.log import Entry, LossLog, parse_line

FIXTURES = Path(__file__).parent / "fixtures"
HEAD = "(epoch: 3, iters: 400, time: 0.132, data: 0.003)"
HEADER = "================ Training Loss (Thu Mar  5 10:11:12 2026) ================\n"


@pytest.mark.parametrize(
    "line",
    [
        f"{HEAD} G_GAN: 0.912 wavelet_A: 1.5 ",  # until 2024
        f"[Rank 0] {HEAD} , G_GAN: 0.912, wavelet_A: 1.500",  # 2025
        f"{HEAD} G_GAN: 0.9120 wavelet_A: 1.5000",  # the embedded host
        "(epoch: 3, iters: 400, time: 0.132) G_GAN: 0.912 wavelet_A: 1.5e0",  # 2017
    ],
)
def test_lines_of_hosts_of_all_years_are_read(line: str) -> None:
    assert parse_line(line) == Entry(3, 400, {"G_GAN": 0.912, "wavelet_A": 1.5})


@pytest.mark.parametrize("line", ["", HEADER, f"{HEAD} ", "End of epoch 3 / 5 \t Time Taken: 3 sec", "(epoch: 3, it"])
def test_other_lines_have_no_losses(line: str) -> None:
    assert parse_line(line) is None


def test_values_that_are_not_finite_are_nan() -> None:
    found = parse_line(f"{HEAD} a: nan b: inf, c: -inf d: -1.5 e: 1e-05")
    assert found is not None and found.losses["d"] == -1.5 and found.losses["e"] == 1e-5
    assert all(math.isnan(found.losses[name]) for name in "abc")


def test_a_value_cut_short_by_the_next_header_is_left_out() -> None:
    assert parse_line(f"{HEAD} a: 1.250 b: 2.{HEADER}") == Entry(3, 400, {"a": 1.25})


def entry(epoch: int, images: int, value: float = 1.0) -> str:
    return f"(epoch: {epoch}, iters: {images}, time: 0.1, data: 0.1) D: {value} \n"


def read(log: LossLog) -> list[tuple[int, int, float]]:
    return [(e.epoch, e.images, e.losses["D"]) for e in log.entries]


def test_a_growing_log_is_read_up_to_its_last_complete_line(tmp_path: Path) -> None:
    file = tmp_path / "loss_log.txt"
    log = LossLog(file)
    assert not log.update()  # not written yet
    text = (HEADER + entry(1, 100) + entry(1, 200, 2.0)).encode()
    for end in range(1, len(text) + 1):
        file.write_bytes(text[:end])
        log.update()
        assert len(log.entries) == text[:end].count(b"\n") - (b"\n" in text[:end])
    assert read(log) == [(1, 100, 1.0), (1, 200, 2.0)] and not log.update()
    file.write_bytes(entry(1, 100, 5.0).encode())  # a new log
    assert log.update() and read(log) == [(1, 100, 5.0)]


def test_a_continued_run_replaces_what_it_trains_again(tmp_path: Path) -> None:
    file = tmp_path / "loss_log.txt"
    first = HEADER + entry(1, 100) + entry(2, 100) + entry(2, 200)
    file.write_text(first + HEADER + entry(2, 200, 7.0) + entry(3, 100, 7.0))
    log = LossLog(file)
    log.update()
    assert read(log) == [(1, 100, 1.0), (2, 100, 1.0), (2, 200, 7.0), (3, 100, 7.0)]
    assert log.positions() == [100, 300, 400, 500]
    assert log.positions(350)[-1] == 350 * (log.entries[-1].epoch - 1) + log.entries[-1].images
    with file.open("a") as appended:  # begins anew
        appended.write(HEADER + entry(1, 100, 8.0))
    log.update()
    assert read(log) == [(1, 100, 8.0)]


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*/*/loss_log.txt")), ids=lambda file: file.parent.name)
def test_logs_that_trainings_wrote_are_read_whole(file: Path) -> None:
    log = LossLog(file)
    log.update()
    lines = [line for line in file.read_text().splitlines() if line.startswith("(epoch")]
    assert len(log.entries) == len({line.partition(", time")[0] for line in lines}) > 0
    assert all(len(e.losses) == line.count(": ") - 4 for e, line in zip(log.entries[-1:], lines[-1:], strict=True))
    facts = read_facts(file.parent)
    assert facts is not None and facts.losses <= log.entries[-1].losses.keys()


def test_the_record_has_the_name_that_is_read() -> None:
    assert experiment.RECORD_NAME == RECORD_NAME


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"teachers": 1}', '{"students": {"G": 3}, "distillation": []}', "[" * 100_000]
)
def test_a_record_that_is_not_valid_has_no_facts(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text(text)
    facts = read_facts(tmp_path)
    assert facts is None or not facts.losses


def test_facts_are_those_of_the_record() -> None:
    folder = FIXTURES / "third" / "cycle_gan_end"
    facts = read_facts(folder)
    record = json.loads((folder / RECORD_NAME).read_text())
    assert facts is not None and facts.losses == {"wavelet_A", "wavelet_B", "feature_A", "feature_B"}
    assert facts.sizes["G_A"] == tuple(record[kind]["G_A"]["parameters"] for kind in ("students", "teachers"))


def test_rows_have_input_student_teacher_and_real_image() -> None:
    cycle = ["real_A", "fake_B", "rec_A", "idt_B", "real_B", "fake_A", "teacher_fake_B", "teacher_fake_A"]
    assert rows_of(cycle) == {
        "fake_A": ["real_B", "fake_A", "teacher_fake_A", "real_A"],
        "fake_B": ["real_A", "fake_B", "teacher_fake_B", "real_B"],
    }
    assert rows_of(["real_A", "fake_B_rgb", "real_B_rgb"]) == {"fake_B_rgb": ["real_A", "fake_B_rgb", "real_B_rgb"]}
    assert rows_of(["mask", "input"]) == {"images": ["input", "mask"]} and rows_of([]) == {}


def test_the_newest_images_are_the_last_written(tmp_path: Path) -> None:
    assert newest_images(tmp_path) == (0, {})
    web = tmp_path / "web" / "images"
    for epoch, name, time in ((1000, "fake_B", 50), (2, "fake_B", 90), (2, "real_A", 80), (1, "fake_B", 70)):
        file = web / f"epoch{epoch:03d}_{name}.png"
        paint(file, 4, 4, 0)
        os.utime(file, (time, time))
    (web / "epoch_fake.png").touch()
    found = {name: web / f"epoch002_{name}.png" for name in ("fake_B", "real_A")}
    assert newest_images(tmp_path) == (2, found)


def test_images_side_by_side_are_unchanged(tmp_path: Path) -> None:
    for name, size in (("a", (8, 6)), ("b", (4, 6)), ("c", (8, 12))):
        paint(tmp_path / f"{name}.png", *size, ord(name))
    row = side_by_side([tmp_path / f"{name}.png" for name in "abc"])
    a, b = (np.asarray(Image.open(tmp_path / f"{name}.png")).transpose(2, 0, 1) for name in "ab")
    assert row.shape == (3, 6, 8 + 4 + 4 + 4 + 4)
    assert (row[..., :8] == a).all() and (row[..., 12:16] == b).all() and (row[..., 8:12] == 255).all()
