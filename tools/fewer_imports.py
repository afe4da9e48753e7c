"""Leave out packages that MONAI imports for parts which a process does not use."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Imported by MONAI's training handlers, trackers, tables and plots where they are installed: half of the seconds that
# `import monai` takes, and 0.2 GB. MONAI does without each of them.
FOR_TRAINING = ("ignite", "mlflow", "pandas", "matplotlib", "sklearn")


@contextmanager
def without_training_packages() -> Iterator[None]:
    """Within the block, MONAI is imported as if `FOR_TRAINING` were not installed; afterwards they can be imported.

    MONAI itself does without them as long as the process lives. Hence only a process of ``python -m tools`` leaves them
    out, which is over after its command, and none that has imported MONAI.
    """
    main = getattr(sys.modules["__main__"], "__spec__", None)
    left_out = [] if main is None or main.name != "tools.__main__" or "monai" in sys.modules else FOR_TRAINING
    left_out = [name for name in left_out if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # None: importing it raises ImportError
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
