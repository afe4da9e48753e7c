"""The window skipping of the winner of FLARE22: what the middle window of a level shows decides about the others."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from torch import Tensor

from abdoseg.inferers.windows import Corner, Run, Starts, in_batches
from abdoseg.labels import TUBULAR_IDS
from abdoseg.transforms.resample import best_channel


@dataclass(frozen=True)
class CenterFirst:
    """Look at the middle window of each level along z first (papers-spec.md 4), and give it to `slide_windows`.

    - It shows too few voxels of organs: nothing is kept of the level, and the next level is passed over as well.
    - Its front shows too few: nothing is kept of the level. The winner's code cuts the wrong axis for this test, so
      that it never applies; here it is the part to the patient's front.
    - It shows tubes alone (aorta, vena cava, esophagus): of the other windows only those straight in front or behind
      are visited, where a tube touches that face of the middle one.
    - Otherwise all windows of the level are visited.

    The winner covers no more than twice a window's width with three windows along x and y, here windows cover all.

    Parameters
    ----------
    min_voxels : fewer than 1000 is too few (code; at 1.2 x 1.2 x 4 mm).
    min_front_voxels : fewer than 500 is too few (code); 0 for the winner's code as it runs.
    front_share : of the window's depth from front to back (code).
    skip_next : pass over the level after one without organs. A thin end of an organ can be missed so.
    tube_ids : class ids of tubes (code).
    min_touching : a tube touches a face with more voxels than these (code).
    """

    min_voxels: int = 1000
    min_front_voxels: int = 500
    front_share: float = 0.6
    skip_next: bool = True
    tube_ids: Collection[int] = TUBULAR_IDS
    min_touching: int = 10

    def __call__(
        self, starts: Starts, worth: Callable[[Corner], bool], run: Run, batch_size: int
    ) -> Iterator[tuple[Corner, Tensor]]:
        """Visit the windows: yield corners, ascending along z, and logits (C, x, y, z)."""
        x, y = (line[len(line) // 2] for line in starts[:2])
        passed_over = False
        for z in starts[2]:
            if passed_over:
                passed_over = False
                continue
            (logits,) = run([(x, y, z)])
            organs = best_channel(logits[None])[0]
            if (organs > 0).sum() < self.min_voxels:
                passed_over = self.skip_next
                continue
            front = organs[:, organs.shape[1] - int(self.front_share * organs.shape[1]) :]
            if (front > 0).sum() < self.min_front_voxels:
                continue
            yield (x, y, z), logits
            columns, rows = starts[0], starts[1]
            if set(organs.unique().tolist()) <= {0, *self.tube_ids}:
                behind, ahead = ((organs[:, end] > 0).sum() > self.min_touching for end in (0, -1))
                columns, rows = [x], [row for row in rows if (behind and row < y) or (ahead and row > y)]
            others = [(column, row, z) for column in columns for row in rows if (column, row) != (x, y)]
            yield from in_batches([corner for corner in others if worth(corner)], run, batch_size)
