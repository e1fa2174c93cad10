"""``kd watch`` and the embedded host show a training on a real visdom server."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.commands import kd, kd_inside, succeed
from helpers.hosts import HOST
from helpers.images import paint
from helpers.visdom_server import curves, free_port, visdom_server, windows

from kd_plugin.commands import watch

RECORD = Path(__file__).parent / "fixtures" / "third" / "pix2pix_end"
needs_visdom = pytest.mark.skipif(importlib.util.find_spec("visdom") is None, reason="visdom is not installed")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with visdom_server(tmp_path_factory.mktemp("visdom")) as port:
        yield port


def line(epoch: int, images: int, **losses: float) -> str:
    values = " ".join(f"{name}: {value:.3f}" for name, value in losses.items())
    return f"(epoch: {epoch}, iters: {images}, time: 0.1, data: 0.1) {values}\n"


def run_folder(checkpoints: Path, name: str) -> Path:
    """A run with a log, a record and images, as a training leaves them."""
    folder = checkpoints / name
    folder.mkdir(parents=True)
    shutil.copy(RECORD / "student.json", folder)
    losses = [
        dict(D=0.5, wavelet=3.0, share_host=0.7, share_wavelet=0.3, band_HH=math.nan),
        dict(D=math.inf, wavelet=2.0, share_host=0.6, share_wavelet=0.4, band_HH=0.9),
    ]
    (folder / "loss_log.txt").write_text(line(1, 4, **losses[0]) + line(2, 4, **losses[1]) + "(epoch: 3, iters")
    for seed, label in enumerate(("real_A", "fake_B", "teacher_fake_B", "real_B")):
        paint(folder / "web" / "images" / f"epoch002_{label}.png", 8, 8, seed)
    return folder


@needs_visdom
class TestServer:
    def test_has_every_loss_in_a_window_of_its_kind(self, port: int, tmp_path: Path) -> None:
        run_folder(tmp_path / "checkpoints", "small")
        succeed(kd_inside(f"watch small --once --port {port} --server http://127.0.0.1", tmp_path))
        shown = windows(port, "small")
        assert curves(shown["losses"]) == {"D": ([4, 8], [0.5, None])}
        assert curves(shown["terms"]) == {"wavelet": ([4, 8], [3.0, 2.0])}
        assert curves(shown["shares"]) == {"share_host": ([4, 8], [0.7, 0.6]), "share_wavelet": ([4, 8], [0.3, 0.4])}
        assert curves(shown["bands"]) == {"band_HH": ([4, 8], [None, 0.9])}
        image = shown["images_fake_B"]
        assert image["content"]["caption"] == "epoch 2: real_A, fake_B, teacher_fake_B, real_B"
        assert image["content"]["src"].startswith("data:image/png")
        text = shown["facts"]["content"]
        for fact in ("epoch 2, 4 images", "weight of wavelet", "1@1,100@4", "0.017 M parameters", "latest_net_G.pth"):
            assert fact in text

    def test_has_names_as_text_not_as_html(self, port: int, tmp_path: Path) -> None:
        folder = run_folder(tmp_path / "checkpoints", "<b>x<b>")
        record = json.loads((folder / "student.json").read_text())
        record["distillation"]["terms"] = {"<script>": "<img src=x>"}
        (folder / "student.json").write_text(json.dumps(record))
        succeed(kd_inside(f"watch <b>x<b> --once --port {port}", tmp_path))
        text = windows(port, "-b-x-b-")["facts"]["content"]
        assert "&lt;b&gt;x&lt;b&gt;" in text and "&lt;script&gt;" in text and "<b>" not in text and "<img" not in text

    def test_loses_the_windows_of_an_old_run_of_the_name(self, port: int, tmp_path: Path) -> None:
        folder = run_folder(tmp_path / "checkpoints", "again")
        command = f"watch again --once --port {port}"
        succeed(kd_inside(command, tmp_path))
        (folder / "student.json").unlink()
        (folder / "loss_log.txt").write_text(line(1, 4, D=1.0))
        (folder / "web" / "images" / "epoch002_fake_B.png").write_bytes(b"being written")
        succeed(kd_inside(command, tmp_path))
        shown = windows(port, "again")
        assert not {"terms", "shares", "bands"} & shown.keys() and curves(shown["losses"]) == {"D": ([4], [1.0])}
        assert "the first save writes it" in shown["facts"]["content"]

    def test_thins_long_curves_and_keeps_the_last_point(self, port: int, tmp_path: Path) -> None:
        folder = tmp_path / "checkpoints" / "long"
        folder.mkdir(parents=True)
        (folder / "loss_log.txt").write_text("".join(line(1, i, D=i) for i in range(1, 4501)))
        succeed(kd_inside(f"watch long --once --port {port}", tmp_path))
        x, y = curves(windows(port, "long")["losses"])["D"]
        assert x == y == list(range(3, 4501, 3))

    def test_follows_a_run_from_before_it_begins_through_a_restart_of_the_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started, ended = threading.Event(), threading.Event()

        def wait(seconds: float) -> None:
            if ended.wait(0.05):
                raise KeyboardInterrupt  # as Ctrl-C; a signal could arrive where an exception is ignored

        monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=wait))
        folder, port = tmp_path / "checkpoints" / "live", free_port()
        folder.mkdir(parents=True)
        steps: list[str] = []

        def shows(expected: list[float]) -> bool:
            for _ in range(200):
                found = windows(port, "live").get("losses")
                if found and curves(found)["D"][1] == expected:
                    return True
                time.sleep(0.05)
            return False

        def waits_for_facts() -> None:
            for _ in range(200):
                if "facts" in windows(port, "live"):
                    return
                time.sleep(0.05)

        def train() -> None:
            try:
                with visdom_server(tmp_path, port):
                    started.set()
                    waits_for_facts()
                    with (folder / "loss_log.txt").open("a") as log:
                        log.write(line(1, 1, D=1.0))
                    steps.append("begun" if shows([1.0]) else "")
                    with (folder / "loss_log.txt").open("a") as log:
                        log.write(line(1, 2, D=2.0))
                    steps.append("followed" if shows([1.0, 2.0]) else "")
                time.sleep(0.2)
                with (folder / "loss_log.txt").open("a") as log:
                    log.write(line(1, 3, D=3.0))
                with visdom_server(tmp_path, port):
                    steps.append("found again" if shows([1.0, 2.0, 3.0]) else "")
            finally:
                started.set()
                ended.set()

        training = threading.Thread(target=train)
        training.start()
        started.wait()
        result = succeed(kd_inside(f"watch live --port {port}", tmp_path))
        training.join()
        assert steps == ["begun", "followed", "found again"] and result.stderr == ""
        said = result.stdout.splitlines()
        assert said[0].endswith(f"is shown at http://localhost, port {port}, environment live (Ctrl-C ends)")
        assert said[1] == "no loss_log.txt yet: waiting for the training to begin"
        assert said[2].endswith("does not answer: trying again")


@needs_visdom
@pytest.mark.slow
def test_a_host_shows_terms_shares_bands_and_the_teachers_images(
    port: int, images: Path, teachers: Path, tmp_path: Path
) -> None:
    """In its own windows, from its own visualizer; ``kd watch`` shows the same values from the log."""
    arguments = (
        f"run {HOST / 'train.py'} --dataroot {images / 'paired'} --name small --model pix2pix --distill wavelet,srp "
        f"--teacher {teachers} --student_netG resnet_1blocks --ndf 4 --load_size 32 --crop_size 32 --num_threads 0 "
        f"--n_epochs 1 --n_epochs_decay 0 --print_freq 1 --display_freq 1 --kd_watch 2 --display_id 1 "
        f"--display_server http://127.0.0.1 --display_port {port} --display_env host --norm instance --no_dropout"
    )
    succeed(kd(arguments, tmp_path))
    succeed(kd_inside(f"watch small --once --port {port}", tmp_path))
    hosts, ours = windows(port, "host"), windows(port, "small")
    titles = {window["title"] for window in hosts.values()}
    assert {"real_A", "fake_B", "real_B", "teacher_fake_B"} <= titles
    shown = curves(next(window for window in hosts.values() if window["title"].endswith("losses")))
    found = {
        name: curve[1]
        for kind in ("losses", "terms", "shares", "bands")
        for name, curve in curves(ours[kind]).items()
    }
    assert {*curves(ours["terms"])} == {"wavelet", "srp"}
    assert {*curves(ours["shares"])} == {"share_host", "share_wavelet", "share_srp"}
    assert {*curves(ours["bands"])} == {"band_LL", "band_LH", "band_HL", "band_HH"}
    assert found.keys() == shown.keys()
    for name, values in found.items():
        assert values == pytest.approx(shown[name][1], abs=5e-5) and len(values) == 4  # the log has four decimals
    assert ours["images_fake_B"]["content"]["caption"] == "epoch 1: real_A, fake_B, teacher_fake_B, real_B"


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("smal", "unknown run 'smal': did you mean 'small'? (known: small) in checkpoints"),
            ("small --checkpoints-dir nowhere", "no folder nowhere: name the host's folder of checkpoints"),
            ("small --checkpoints_dir empty", "no run 'small': empty is empty"),
            ("small --port 0", "'0' is not a port: give a number from 1 to 65535"),
            ("small --server http://localhost:8097", "--server http://localhost:8097: give the port with --port"),
        ],
    )
    def test_have_one_line(self, arguments: str, message: str, tmp_path: Path) -> None:
        for folder in ("checkpoints/small", "empty"):
            (tmp_path / folder).mkdir(parents=True)
        result = kd_inside(f"watch {arguments}", tmp_path)
        assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1

    @needs_visdom
    def test_say_how_to_start_a_server(self, tmp_path: Path) -> None:
        run_folder(tmp_path / "checkpoints", "small")
        port = free_port()
        result = kd_inside(f"watch small --port {port}", tmp_path)
        assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
        assert (
            f"no visdom server at http://localhost, port {port}: start one with python -m visdom.server -port {port}"
            in (result.stderr)
        )

    @needs_visdom
    def test_name_a_run_that_has_not_begun(self, port: int, tmp_path: Path) -> None:
        (tmp_path / "checkpoints" / "small").mkdir(parents=True)
        result = kd_inside(f"watch small --once --port {port}", tmp_path)
        assert result.returncode == 2 and "has no loss_log.txt yet" in result.stderr

    def test_say_how_to_install_visdom(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run_folder(tmp_path / "checkpoints", "small")
        monkeypatch.setitem(__import__("sys").modules, "visdom", None)
        result = kd_inside("watch small", tmp_path)
        assert result.returncode == 2 and 'pip install "kd_plugin[visdom]"' in result.stderr
