"""Train a model: ``python train.py --dataroot FOLDER --name NAME --model pix2pix``."""

import time

import torch

from data import create_dataset
from models import create_model
from options.train_options import TrainOptions
from util.form import FORM
from util.util import cleanup_ddp, init_ddp, process_rank, seed_everything
from util.visualizer import Visualizer


def main() -> None:
    """Train for --n_epochs and --n_epochs_decay epochs."""
    opt = TrainOptions().parse()
    if FORM == "2025":
        opt.device = init_ddp()
    if opt.seed >= 0:
        seed_everything(opt.seed + process_rank())
    else:
        torch.backends.cudnn.benchmark = True
    dataset = create_dataset(opt)
    model = create_model(opt)
    model.setup(opt)
    visualizer = Visualizer(opt)
    total_iters = 0  # images so far; the --*_freq options count images too
    last_epoch = opt.n_epochs + opt.n_epochs_decay

    for epoch in range(opt.epoch_count, last_epoch + 1):
        epoch_start = waiting_since = time.time()
        epoch_iter = 0
        dataset.set_epoch(epoch)
        visualizer.reset()
        for batch in dataset:
            step_start = time.time()
            total_iters += opt.batch_size
            epoch_iter += opt.batch_size
            model.set_input(batch)
            model.optimize_parameters()
            if total_iters % opt.display_freq == 0:
                model.compute_visuals()
                save_result = total_iters % opt.update_html_freq == 0
                visualizer.display_current_results(model.get_current_visuals(), epoch, save_result)
            if total_iters % opt.print_freq == 0:
                losses = model.get_current_losses()
                seconds = (time.time() - step_start) / opt.batch_size
                visualizer.print_current_losses(epoch, epoch_iter, losses, seconds, step_start - waiting_since)
                visualizer.plot_current_losses(epoch, epoch_iter / len(dataset), losses)
            if total_iters % opt.save_latest_freq == 0:
                model.save_networks(f"iter_{total_iters}" if opt.save_by_iter else "latest")
            waiting_since = time.time()
        if epoch % opt.save_epoch_freq == 0:
            model.save_networks("latest")
            model.save_networks(epoch)
        model.update_learning_rate()
        if process_rank() == 0:
            print(f"epoch {epoch} of {last_epoch} took {time.time() - epoch_start:.0f} s", flush=True)
    if FORM == "2025":
        cleanup_ddp()


if __name__ == "__main__":
    main()
