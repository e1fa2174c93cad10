"""Test a model: ``python test.py --dataroot FOLDER --name NAME --model pix2pix``."""

from pathlib import Path

import torch

from data import create_dataset
from models import create_model
from options.test_options import TestOptions
from util.form import FORM
from util.html import HTML
from util.visualizer import save_images


def main() -> None:
    """Test on --num_test images and write a web page below --results_dir."""
    opt = TestOptions().parse()
    if FORM == "2025":
        opt.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    opt.num_threads = 0
    opt.batch_size = 1
    opt.serial_batches = True
    opt.no_flip = True
    dataset = create_dataset(opt)
    model = create_model(opt)
    model.setup(opt)
    if opt.eval:
        model.eval()
    checkpoint = f"{opt.epoch}_iter{opt.load_iter}" if opt.load_iter > 0 else opt.epoch
    web_dir = Path(opt.results_dir) / opt.name / f"{opt.phase}_{checkpoint}"
    page = HTML(web_dir, f"{opt.name}: {opt.phase}, checkpoint {checkpoint}")
    for i, batch in enumerate(dataset):
        if i >= opt.num_test:
            break
        model.set_input(batch)
        model.test()
        paths = model.get_image_paths()
        print(f"image {i + 1}: {paths[0]}")
        save_images(page, model.get_current_visuals(), paths, opt.aspect_ratio, opt.display_winsize)
    page.save()
    print(f"results: {web_dir / 'index.html'}")


if __name__ == "__main__":
    main()
