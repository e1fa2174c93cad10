"""Base class of models: devices, checkpoints, learning rates, visuals and losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections import OrderedDict
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from models import networks
from util.form import FORM
from util.util import process_rank


def unwrap(net: nn.Module) -> nn.Module:
    """Return the network inside a parallel wrapper, or the network itself."""
    return net.module if isinstance(net, (DataParallel, DistributedDataParallel)) else net


class BaseModel(ABC):
    """Base class for models.

    A subclass calls ``BaseModel.__init__(self, opt)`` and fills four lists: ``model_names`` (networks are
    ``self.net<NAME>``), ``loss_names`` (``self.loss_<NAME>``), ``visual_names`` (images to display) and
    ``optimizers``.
    """

    def __init__(self, opt: Namespace) -> None:
        self.opt = opt
        self.isTrain: bool = opt.isTrain
        if FORM == "2020":
            self.gpu_ids: list[int] = opt.gpu_ids
            self.device = torch.device("cuda", self.gpu_ids[0]) if self.gpu_ids else torch.device("cpu")
        else:
            self.device = opt.device
        self.save_dir = str(Path(opt.checkpoints_dir) / opt.name)
        self.loss_names: list[str] = []
        self.model_names: list[str] = []
        self.visual_names: list[str] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.schedulers: list[Any] = []
        self.image_paths: list[str] = []
        self.metric: float = 0  # monitored by the policy plateau

    @staticmethod
    def modify_commandline_options(parser: ArgumentParser, is_train: bool) -> ArgumentParser:
        """Add the options of this model and change defaults."""
        return parser

    @abstractmethod
    def set_input(self, input: dict[str, Any]) -> None:
        """Unpack a batch of the data loader."""

    @abstractmethod
    def forward(self) -> None:
        """Compute the generated images."""

    @abstractmethod
    def optimize_parameters(self) -> None:
        """Perform a training step on the current batch."""

    def build_generator(self, input_nc: int, output_nc: int) -> nn.Module:
        """Return the generator given by the options."""
        opt = self.opt
        form = {"gpu_ids": self.gpu_ids} if FORM == "2020" else {}
        more = (opt.ngf, opt.netG, opt.norm, not opt.no_dropout, opt.init_type, opt.init_gain)
        return networks.define_G(input_nc, output_nc, *more, **form)

    def build_discriminator(self, input_nc: int) -> nn.Module:
        """Return the discriminator given by the options."""
        opt = self.opt
        form = {"gpu_ids": self.gpu_ids} if FORM == "2020" else {}
        more = (opt.ndf, opt.netD, opt.n_layers_D, opt.norm, opt.init_type, opt.init_gain)
        return networks.define_D(input_nc, *more, **form)

    def setup(self, opt: Namespace) -> None:
        """Initialise (form 2025), load if requested, move and print the networks, and create the schedulers."""
        if FORM == "2025":
            for name in self.model_names:
                networks.init_net(getattr(self, "net" + name), opt.init_type, opt.init_gain)
        if not self.isTrain or opt.continue_train:
            self.load_networks(f"iter_{opt.load_iter}" if opt.load_iter > 0 else opt.epoch)
        if FORM == "2025":
            for name in self.model_names:
                setattr(self, "net" + name, self._place(getattr(self, "net" + name)))
        self.print_networks(opt.verbose)
        if self.isTrain:
            self.schedulers = [networks.get_scheduler(optimizer, opt) for optimizer in self.optimizers]

    def _place(self, net: nn.Module) -> nn.Module:
        net.to(self.device)  # in place: the optimizers keep their parameters
        trainable = any(p.requires_grad for p in net.parameters())
        if not dist.is_initialized() or not trainable:
            return net
        ids = [self.device.index] if self.device.type == "cuda" else None
        # A network runs several times before its backward pass; buffers must not be overwritten in between.
        newer = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
        keep: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
        return DistributedDataParallel(net, device_ids=ids, **keep)

    def eval(self) -> None:
        """Set all networks to eval mode."""
        for name in self.model_names:
            getattr(self, "net" + name).eval()

    def test(self) -> None:
        """Run forward without gradients and compute the visuals."""
        with torch.no_grad():
            self.forward()
            self.compute_visuals()

    def compute_visuals(self) -> None:  # noqa: B027
        """Compute additional images to display."""

    def get_image_paths(self) -> list[str]:
        """Return the paths of the current batch."""
        return self.image_paths

    def update_learning_rate(self) -> None:
        """Step the schedulers at the end of an epoch."""
        before = self.optimizers[0].param_groups[0]["lr"]
        for scheduler in self.schedulers:
            if self.opt.lr_policy == "plateau":
                scheduler.step(self.metric)
            else:
                scheduler.step()
        after = self.optimizers[0].param_groups[0]["lr"]
        if process_rank() == 0:
            print(f"learning rate {before:.7f} -> {after:.7f}")

    def get_current_visuals(self) -> OrderedDict[str, torch.Tensor]:
        """Return the images to display, by name."""
        return OrderedDict((name, getattr(self, name)) for name in self.visual_names)

    def get_current_losses(self) -> OrderedDict[str, float]:
        """Return the losses of the last step as numbers, by name."""
        losses = {name: getattr(self, "loss_" + name) for name in self.loss_names}
        return OrderedDict((name, torch.as_tensor(loss).item()) for name, loss in losses.items())

    def save_networks(self, epoch: int | str) -> None:
        """Save the state dict of each network, on the CPU, to ``<epoch>_net_<NAME>.pth``."""
        if process_rank() != 0:
            return
        Path(self.save_dir).mkdir(parents=True, exist_ok=True)
        for name in self.model_names:
            state = unwrap(getattr(self, "net" + name)).state_dict()
            for key in state:  # in place, so that the state dict keeps its metadata
                state[key] = state[key].cpu()
            torch.save(state, Path(self.save_dir) / f"{epoch}_net_{name}.pth")

    def load_networks(self, epoch: int | str) -> None:
        """Load each network from ``<epoch>_net_<NAME>.pth``, ignoring statistics of instance norm."""
        for name in self.model_names:
            path = Path(self.save_dir) / f"{epoch}_net_{name}.pth"
            if not path.is_file():
                raise SystemExit(f"no checkpoint {path}: check --checkpoints_dir, --name and --epoch")
            print(f"loading {path}")
            net = unwrap(getattr(self, "net" + name))
            state = torch.load(path, map_location="cpu", weights_only=True)
            for prefix, module in net.named_modules():
                if isinstance(module, nn.InstanceNorm2d) and not module.track_running_stats:
                    for statistic in ("running_mean", "running_var", "num_batches_tracked"):
                        state.pop(f"{prefix}.{statistic}", None)
            try:
                net.load_state_dict(state)
            except RuntimeError as exc:
                reason = str(exc).splitlines()[-1].strip()[:200]
                hint = "use the options of its training (--netG, --ngf, --norm, --no_dropout, ...)"
                raise SystemExit(f"{path} does not fit net{name}: {hint}. {reason}") from None

    def print_networks(self, verbose: bool) -> None:
        """Print the number of parameters of each network, and its layers if ``verbose``."""
        if process_rank() != 0:
            return
        for name in self.model_names:
            net = getattr(self, "net" + name)
            if verbose:
                print(net)
            print(f"net{name}: {sum(p.numel() for p in net.parameters()) / 1e6:.3f} M parameters")

    def set_requires_grad(self, nets: nn.Module | Sequence[nn.Module], requires_grad: bool = False) -> None:
        """Set ``requires_grad`` for the parameters of one or several networks."""
        for net in [nets] if isinstance(nets, nn.Module) else nets:
            for parameter in net.parameters():
                parameter.requires_grad_(requires_grad)
