"""Display a run on the terminal, in a log, on a web page and optionally on a visdom server."""

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from util.html import HTML
from util.util import die, process_rank, save_image, tensor2im


def save_images(
    webpage: HTML,
    visuals: Mapping[str, torch.Tensor],
    image_path: Sequence[str],
    aspect_ratio: float = 1.0,
    width: int = 256,
) -> None:
    """Save each visual as ``<name of the input image>_<label>.png`` and add a row to the page."""
    name = Path(image_path[0]).stem
    files = [f"{name}_{label}.png" for label in visuals]
    for file, images in zip(files, visuals.values(), strict=True):
        save_image(tensor2im(images), webpage.img_dir / file, aspect_ratio)
    webpage.add_header(name)
    webpage.add_images(files, list(visuals), files, width)


class Visualizer:
    """Display the losses and images of a training run, in the process of rank 0."""

    def __init__(self, opt: Namespace) -> None:
        self.opt = opt
        self.active = process_rank() == 0
        self.saved = False
        self.curves: list[tuple[float, dict[str, float]]] = []
        self.vis = self._connect() if self.active and opt.display_id > 0 else None
        folder = Path(opt.checkpoints_dir) / opt.name
        self.web_dir = folder / "web"
        self.log_name = folder / "loss_log.txt"
        if self.active:
            folder.mkdir(parents=True, exist_ok=True)
            self._log(f"--- training losses, {time.strftime('%Y-%m-%d %H:%M:%S')} ---")

    def _connect(self) -> Any:
        try:
            import visdom
        except ImportError:
            die('--display_id requires visdom: pip install "kd_plugin[visdom]", or use --display_id 0')
        server, port = self.opt.display_server, self.opt.display_port
        vis = visdom.Visdom(server=server, port=port, env=self.opt.display_env, raise_exceptions=False)
        if not vis.check_connection(timeout_seconds=3):
            die(f"no visdom server at {server}:{port}: start one with python -m visdom.server -port {port}")
        return vis

    def _log(self, line: str) -> None:
        with open(self.log_name, "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def reset(self) -> None:
        """Begin an epoch, whose first visuals are always saved."""
        self.saved = False

    def display_current_results(self, visuals: Mapping[str, torch.Tensor], epoch: int, save_result: bool) -> None:
        """Display the visuals; write them to the web page if requested, or if the epoch has none yet."""
        if not self.active:
            return
        if self.vis is not None:
            for offset, (label, images) in enumerate(visuals.items()):
                array = tensor2im(images).transpose(2, 0, 1)
                self.vis.image(array, win=str(self.opt.display_id + 1 + offset), opts={"title": label})
        if not self.opt.no_html and (save_result or not self.saved):
            self.saved = True
            self._write_page(visuals, epoch)

    def _write_page(self, visuals: Mapping[str, torch.Tensor], epoch: int) -> None:
        page = HTML(self.web_dir, f"{self.opt.name}: training", refresh=10)
        for label, images in visuals.items():
            save_image(tensor2im(images), page.img_dir / f"epoch{epoch:03d}_{label}.png")
        for past in range(epoch, 0, -1):  # newest epoch first, without epochs that have no images
            labels = [label for label in visuals if (page.img_dir / f"epoch{past:03d}_{label}.png").is_file()]
            if labels:
                files = [f"epoch{past:03d}_{label}.png" for label in labels]
                page.add_header(f"epoch {past}")
                page.add_images(files, labels, files, self.opt.display_winsize)
        page.save()

    def plot_current_losses(self, epoch: int, counter_ratio: float, losses: Mapping[str, float]) -> None:
        """Plot the loss curves on the visdom server, if connected."""
        if self.vis is None:
            return
        self.curves.append((epoch + counter_ratio, dict(losses)))
        opts = {
            "title": f"{self.opt.name}: losses",
            "legend": list(losses),
            "xlabel": "epoch",
            "ylabel": "loss",
        }
        x = [[at] * len(losses) for at, _ in self.curves]
        y = [list(values.values()) for _, values in self.curves]
        self.vis.line(X=torch.tensor(x), Y=torch.tensor(y), opts=opts, win=str(self.opt.display_id))

    def print_current_losses(
        self, epoch: int, iters: int, losses: Mapping[str, float], t_comp: float, t_data: float
    ) -> None:
        """Print and log the losses; times are in seconds per image and per loaded batch."""
        if not self.active:
            return
        head = f"(epoch: {epoch}, iters: {iters}, time: {t_comp:.3f}, data: {t_data:.3f})"
        line = " ".join([head, *(f"{name}: {value:.4f}" for name, value in losses.items())])
        print(line, flush=True)
        self._log(line)
