"""Measure speed and memory on this machine: of comparing surfaces, or of labeling scans as FLARE measures it."""

from abdoseg.files import CaseError, write_json

SUBJECTS = ("surfaces", "predict")


def benchmark(
    subject: str,
    output: str | None = None,
    repeats: int = 3,
    labels: str | None = None,
    bundle: str | None = None,
    input: str | None = None,  # noqa: A002 - the name that `predict` has for it
    weights: str | None = None,
    pause: float = 0.1,
    gpu: int = 0,
    **overrides,
) -> dict:
    """Measure speed and memory on this machine.

    `python -m tools benchmark surfaces` compares the surfaces of one scan at full resolution by this project's surface
    DSC and by DeepMind's surface-distance, by turns, on one core, and tells both times and the largest difference.

    `python -m tools benchmark predict --bundle bundles/fine_seg --input SCANS --weights W` labels each scan in a
    process of its own, as FLARE does (cold), and all in one (warm): wall time, peak memory and the area under the
    memory-time curve, of the host and of the GPU, at the true period of the samples. docs/scores.md tells how to read
    them.

    Args:
        subject: "surfaces" or "predict".
        output: JSON file to write.
        repeats: How often each thing is measured.
        labels: For surfaces, the label map to take; a phantom of 512 x 512 voxels a slice if left out.
        bundle: For predict, the bundle.
        input: For predict, a scan, a folder of scans or a data list.
        weights: For predict, the folder with model.pt and architecture.json; the bundle's own models/ if left out.
        pause: For predict, seconds between two samples of the memory.
        gpu: For predict, the index of the card to watch, as nvidia-smi counts.
        overrides: For predict, values of the bundle's inference.yaml by their ids, for example --device cpu.
    """
    if subject not in SUBJECTS:
        raise CaseError(f"Unknown subject {subject!r}. Use {' or '.join(map(repr, SUBJECTS))}.")
    if repeats < 1:
        raise CaseError(f"--repeats is {repeats}; use 1 or more.")
    if subject == "surfaces":
        if overrides or bundle or input or weights:
            raise CaseError("benchmark surfaces takes --labels, --repeats and --output only.")
        from tools.benchmark_surfaces import benchmark_surfaces, format_surfaces

        result = benchmark_surfaces(labels, repeats)
        print(format_surfaces(result))
    else:
        if not bundle or not input:
            raise CaseError("benchmark predict needs --bundle and --input.")
        from tools.benchmark_predict import benchmark_predict, format_efficiency

        result = benchmark_predict(bundle, input, weights, repeats, pause, gpu, overrides)
        print(format_efficiency(result))
        for case, reason in result["failed"].items():
            print(f"failed: {case}: {reason}")
    if output is not None:
        write_json(output, result)
        print(f"figures: {output}")
    return result
