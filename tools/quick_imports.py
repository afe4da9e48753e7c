"""Import PyTorch and MONAI in half the time, for a process that only labels scans."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Imported by MONAI's training handlers, trackers, tables and plots where they are installed: half of the seconds that
# `import monai` takes, and 0.2 GB. MONAI does without each of them.
FOR_TRAINING = ("ignite", "mlflow", "pandas", "matplotlib", "sklearn")


@contextmanager
def quick_imports() -> Iterator[None]:
    """Within the block, MONAI is imported as if `FOR_TRAINING` were not installed; afterwards they can be imported.

    MONAI itself does without them as long as the process lives. Hence only a process of ``python -m tools predict``
    leaves them out, which is over after it, and none that has imported MONAI. A chain that goes on with labeling scans
    (``python -m tools run``) may have a training to do afterwards.

    Meanwhile nobody looks for garbage, nor later in what was imported: of a million objects hardly one goes before the
    process does, and to go through them again and again takes a second.
    """
    main = getattr(sys.modules["__main__"], "__spec__", None)
    command = (getattr(main, "name", None), *sys.argv[1:2])
    if command != ("tools.__main__", "predict") or "monai" in sys.modules:
        yield
        return
    left_out = [name for name in FOR_TRAINING if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # None: importing it raises ImportError
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        for name in left_out:
            del sys.modules[name]
