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

    MONAI itself does without them as long as the process lives. Hence only a process of ``python -m tools`` leaves them
    out, which is over after its command, and none that has imported MONAI.

    Meanwhile nobody looks for garbage, nor later in what was imported: of a million objects hardly one goes before the
    process does, and to go through them again and again takes a second.
    """
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main is None or main.name != "tools.__main__" or "monai" in sys.modules:
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
