"""Overlapping windows over an image, and their averaged logits, plane by plane from the feet to the head."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor
from torch.nn import functional

from abdoseg.inferers.regions import Region, placed, region_holds
from abdoseg.transforms.logit_planes import LogitPlanes
from abdoseg.transforms.roi import Box

Corner = tuple[int, int, int]
Starts = Sequence[Sequence[int]]
Run = Callable[[Sequence[Corner]], Tensor]
# (starts along x, y and z; whether a window is worth a look; logits of windows; windows at a time) -> what to add.
Visit = Callable[[Starts, Callable[[Corner], bool], Run, int], Iterator[tuple[Corner, Tensor]]]


@dataclass(frozen=True)
class Windows:
    """How windows lie over an image, and how much each of their voxels counts.

    Parameters
    ----------
    size : (x, y, z) voxels.
    overlap : of neighboring windows, at least.
    starts : (length, window, overlap) -> first voxels along an axis, ascending: `stepped_starts`, or nnU-Net's
        ``abdoseg.nnunet.inference.window_starts``.
    weights : size -> (x, y, z) weights above 0: `gaussian_weights`, or nnU-Net's ``window_weights``.
    batch_size : windows at a time.
    """

    size: tuple[int, int, int]
    overlap: float
    starts: Callable[[int, int, float], list[int]]
    weights: Callable[[Sequence[int]], Tensor]
    batch_size: int = 1


def stepped_starts(length: int, window: int, overlap: float) -> list[int]:
    """Give the first voxels of windows at a fixed step, the last one moved back, as MONAI's inferer lays them."""
    step = max(int(window * (1 - overlap)), 1)
    return [place[0].start for place in dense_patch_slices((length,), (window,), (step,))]


def gaussian_weights(size: Sequence[int]) -> Tensor:
    """Give MONAI's Gaussian weights of a window, deviation an eighth of each edge, at least 0.001."""
    return compute_importance_map(tuple(size), mode="gaussian", sigma_scale=0.125, dtype=torch.float32)


def every_window(starts: Starts, worth: Callable, run: Run, batch_size: int) -> Iterator[tuple[Corner, Tensor]]:
    """Visit each window that is worth a look once, from the feet to the head: yield its corner and its logits."""
    corners = [(x, y, z) for z, x, y in product(starts[2], *starts[:2]) if worth((x, y, z))]
    yield from in_batches(corners, run, batch_size)


def in_batches(corners: Sequence[Corner], run: Run, batch_size: int) -> Iterator[tuple[Corner, Tensor]]:
    """Yield corners and logits of windows that run ``batch_size`` at a time."""
    for first in range(0, len(corners), batch_size):
        part = corners[first : first + batch_size]
        yield from zip(part, run(part), strict=True)


def slide_windows(
    image: Tensor,
    predictor: Callable[[Tensor], Tensor],
    windows: Windows,
    device: torch.device,
    frame: Box | None = None,
    region: Region | None = None,
    visit: Visit = every_window,
) -> LogitPlanes:
    """Average the logits of overlapping windows, weighted.

    MONAI's ``SlidingWindowInferer`` keeps the logits of the whole image, 1.8 GB for 14 classes of a trunk at 0.8 x 0.8
    x 2.5 mm, and visits every window. Here a plane of logits exists from the first window that holds it to the last:
    one window's depth of planes, however long the scan, which in float32 is less than the whole in half precision. No
    window is visited twice.

    Parameters
    ----------
    image : (1, x, y, z); its device gathers the logits. A smaller image than the window is padded with 0.
    predictor : (b, 1, *size) on ``device`` -> (b, C, *size).
    windows : how they lie.
    device : of the network.
    frame : part of the image that windows cover; None: all of it. It should be as large as the window where the image
        is, see `abdoseg.inferers.regions.frame_of`.
    region : windows that hold nothing of it are not visited; None: all are.
    visit : which windows are visited in what order along z, see `every_window`.

    Returns
    -------
    (C, x, y, z) float32, plane by plane along z; 0 for all classes where no window was, which is background.
    """
    shape, size = tuple(image.shape[1:]), windows.size
    frame = frame or tuple(slice(0, n) for n in shape)
    lengths = [side.stop - side.start for side in frame]
    before = [max(0, edge - n) // 2 for edge, n in zip(size, lengths, strict=True)]
    after = [max(0, edge - n) - low for edge, n, low in zip(size, lengths, before, strict=True)]
    around = [n for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]
    padded = functional.pad(image[(slice(None), *frame)], around)
    starts = [
        list(dict.fromkeys(windows.starts(n, edge, windows.overlap)))
        for n, edge in zip(padded.shape[1:], size, strict=True)
    ]

    def run(corners: Sequence[Corner]) -> Tensor:
        return predictor(torch.stack([padded[(slice(None), *placed(corner, size))] for corner in corners]).to(device))

    def worth(corner: Corner) -> bool:
        at = [n + side.start - low for n, side, low in zip(corner, frame, before, strict=True)]
        return region is None or region_holds(region, placed(at, size), shape)

    visited = visit(starts, worth, run, windows.batch_size)
    sums = _Sums(padded.shape[1:], windows.weights(size).to(image.device))
    return LogitPlanes(shape, image.device, _framed(sums.planes(visited), shape, frame, before, image.device))


class _Sums:
    """Weighted sums of logits, as planes along z; each from the first window that holds it to the last."""

    def __init__(self, shape: Sequence[int], weights: Tensor) -> None:
        self.shape = tuple(shape)
        self.size = tuple(weights.shape)
        self.weights = weights.permute(2, 0, 1).contiguous()
        self.open: dict[int, tuple[Tensor, Tensor]] = {}

    def planes(self, visited: Iterator[tuple[Corner, Tensor]]) -> Iterator[Tensor | None]:
        """Yield the average (C, x, y) of each plane along z, or None where no window was."""
        complete = 0
        for corner, logits in visited:
            for index in range(complete, corner[2]):
                yield self._close(index)
            complete = corner[2]
            self._add(corner, logits)
        for index in range(complete, self.shape[2]):
            yield self._close(index)

    def _add(self, corner: Corner, logits: Tensor) -> None:
        x, y, z = placed(corner, self.size)
        lines = logits.to(self.weights).reshape(-1, self.size[2])
        # A transposing copy in two dimensions, which PyTorch does in blocks.
        planes = torch.empty(lines.shape[::-1], device=lines.device).copy_(lines.t())
        planes = planes.reshape(-1, len(logits), *self.size[:2]).mul_(self.weights[:, None])
        for index, plane, weight in zip(range(z.start, z.stop), planes, self.weights, strict=True):
            if index not in self.open:
                self.open[index] = plane.new_zeros(len(plane), *self.shape[:2]), weight.new_zeros(self.shape[:2])
            total, weights = self.open[index]
            total[:, x, y] += plane
            weights[x, y] += weight

    def _close(self, index: int) -> Tensor | None:
        if index not in self.open:
            return None
        total, weights = self.open.pop(index)
        return total.div_(weights.clamp_(min=torch.finfo(weights.dtype).tiny))


def _framed(
    planes: Iterator[Tensor | None], shape: Corner, frame: Box, before: Sequence[int], device: torch.device
) -> Iterator[Tensor]:
    """Cut the padding off planes (C, x, y) of a frame and put zeros around it, up to the planes of a whole image."""
    width, height, depth = (side.stop - side.start for side in frame)
    around = [frame[1].start, shape[1] - frame[1].stop, frame[0].start, shape[0] - frame[0].stop]
    classes, empty = 1, frame[2].start

    def blanks() -> Iterator[Tensor]:
        return (torch.zeros(classes, *shape[:2], device=device) for _ in range(empty))

    for index, plane in enumerate(planes, -before[2]):
        if not 0 <= index < depth:
            continue
        if plane is None:  # how many classes there are is not known before the first window
            empty += 1
            continue
        classes = len(plane)
        yield from blanks()
        empty = 0
        yield functional.pad(plane[:, *placed(before[:2], (width, height))], around)
    empty += shape[2] - frame[2].stop
    yield from blanks()
