"""Run an exported generator on images, with ONNX Runtime, NumPy and Pillow alone.

    kd export zebra_small -o zebra.onnx
    python serve_student.py zebra.onnx photos/ translated/

translates a folder of images. With - for the folders it translates a stream of raw RGB frames, such as a camera's:

    ffmpeg -i /dev/video0 -vf scale=256:256 -f rawvideo -pix_fmt rgb24 - | python serve_student.py zebra.onnx - - |
        ffplay -f rawvideo -pixel_format rgb24 -video_size 256x256 -

Frames per second are printed at the end. Any ONNX file of ``kd export`` runs: of float32 or uint8 images, of fixed
size or not; a stream needs a fixed size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")


class Student:
    """An exported generator, from and to uint8 images (H, W, 3)."""

    def __init__(self, file: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(file), options)
        found = self._session.get_inputs()[0]
        self._frames = found.type == "tensor(uint8)"  # (1, H, W, C); else float32 (1, C, H, W) in [-1, 1]
        height, width, channels = found.shape[1:] if self._frames else (*found.shape[2:], found.shape[1])
        self.size = (width, height) if isinstance(width, int) else None  # None: any size
        self._grey = channels == 1

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return an image at the size and with the colours of the generator."""
        image = image.convert("L" if self._grey else "RGB")
        if self.size and image.size != self.size:
            image = image.resize(self.size, Image.Resampling.BICUBIC)
        array = np.asarray(image)
        return array[..., None] if self._grey else array

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Translate an image, uint8 (H, W, C)."""
        if self._frames:
            return self._coloured(self._session.run(["translated"], {"images": image[None]})[0][0])
        values = image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        output = self._session.run(["translated"], {"images": values})[0][0].transpose(1, 2, 0)
        return self._coloured(((output + 1) * 127.5).clip(0, 255).astype(np.uint8))

    @staticmethod
    def _coloured(image: np.ndarray) -> np.ndarray:
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def frames_of(size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield the raw RGB frames of standard input."""
    width, height = size
    while len(block := sys.stdin.buffer.read(width * height * 3)) == width * height * 3:
        yield Image.frombytes("RGB", size, block)


def main() -> int:
    """Translate; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="file of kd export")
    parser.add_argument("source", help="folder of images, or - for raw frames from standard input")
    parser.add_argument("target", help="folder of the translated images, or - for raw frames to standard output")
    parser.add_argument("--threads", type=int, default=0, help="number of threads (default: one per core)")
    options = parser.parse_args()
    if (options.source == "-") != (options.target == "-"):
        parser.error("a stream is translated to a stream: give - twice")
    if not options.model.is_file():
        parser.error(f"{options.model}: no such file")
    student = Student(options.model, options.threads)
    seconds, count = 0.0, 0
    if options.source == "-":
        if student.size is None:
            parser.error(f"{options.model} takes any size: export it for the size of the frames")
        for frame in frames_of(student.size):
            begun = time.perf_counter()
            output = student(student.prepare(frame))
            seconds, count = seconds + time.perf_counter() - begun, count + 1
            sys.stdout.buffer.write(output.tobytes())
            sys.stdout.buffer.flush()
    else:
        target = Path(options.target)
        target.mkdir(parents=True, exist_ok=True)
        names: set[str] = set()
        for file in sorted(Path(options.source).iterdir()):
            if file.suffix.lower() not in EXTENSIONS:
                continue
            try:
                with Image.open(file) as image:
                    prepared = student.prepare(image)
            except OSError as error:
                print(f"{file}: left out ({error})", file=sys.stderr)
                continue
            begun = time.perf_counter()
            output = student(prepared)
            seconds, count = seconds + time.perf_counter() - begun, count + 1
            name = f"{file.stem}.png" if file.stem not in names else f"{file.name}.png"
            names.add(file.stem)
            Image.fromarray(output).save(target / name)
    print(f"{count} images, {count / seconds if seconds else 0:.1f} frames per second", file=sys.stderr)
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
