"""Measure speed and memory on this machine: of labeling, beside peers, of training, of surfaces, of many cases."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from abdoseg.files import CaseError, atomic_path, write_json

# Options of each subject beside --output.
SUBJECTS = {
    "predict": ("bundle", "input", "weights", "repeats", "copies", "slices", "pause", "gpu", "overrides"),
    "peers": ("bundle", "input", "weights", "repeats", "slices", "engines", "pause", "gpu", "overrides"),
    "teacher": ("input", "weights", "repeats", "slices", "pause", "gpu"),
    "training": ("work_dir", "chain", "preset", "stages", "steps", "overrides"),
    "surfaces": ("labels", "repeats"),
    "growth": ("work_dir", "copies", "stages"),
}


def benchmark(
    subject: str,
    output: str | None = None,
    repeats: int = 3,
    labels: str | None = None,
    bundle: str | None = None,
    input: str | None = None,  # noqa: A002 - the name that `predict` has for it
    weights: str | None = None,
    copies: str | int | Sequence[int] | None = None,
    slices: str | int | Sequence[int] | None = None,
    engines: str | Sequence[str] | None = None,
    work_dir: str | None = None,
    chain: str = "two_stage",
    preset: str | None = None,
    stages: str | Sequence[str] | None = None,
    steps: int = 20,
    pause: float = 0.1,
    gpu: int = 0,
    **overrides,
) -> dict:
    """Measure speed and memory on this machine.

    `python -m tools benchmark predict --bundle bundles/fine_seg --input SCANS --weights W` labels each scan in a
    process of its own, as FLARE does (cold), and all in one (warm): wall time, peak memory and the area under the
    memory-time curve, of the host and of the GPU, at the true period of the samples. docs/scores.md tells how to read
    them.

    `python -m tools benchmark peers --bundle bundles/fine_seg --input SCAN --weights W --slices 129,500` labels one
    scan, brought to these numbers of slices, by turns with each engine and with a plain MONAI pipeline of the same
    networks (float32, `Invertd` on probabilities, `KeepLargestConnectedComponent`, `SaveImage`), all in warm processes,
    and tells how many times as fast, in how much of the memory, with what agreement, and where the time goes. At 500
    slices the plain pipeline takes 16.5 GiB with the paper's networks.

    `python -m tools benchmark teacher --input SCAN --weights W` labels one scan by turns with the `nnunetv2` package's
    predictor and with the teacher that has the same weights and nnU-Net's resampling, without test-time augmentation: W
    holds a teacher of this project's own training, or a model that nnU-Net has trained.

    `python -m tools benchmark training --work_dir runs/demo --preset demo` trains some steps of each stage that was
    trained there, in a folder of its own, and then the same network on random images in a plain loop of PyTorch: time a
    step, share of it spent waiting for data, and what a step could take at best.

    `python -m tools benchmark surfaces` compares the surfaces of one scan at full resolution by this project's surface
    DSC and by DeepMind's surface-distance, by turns, on one core, and tells both times and the largest difference.

    `python -m tools benchmark growth --work_dir runs/growth --output scaling.json` makes data sets of 10, 100, 1,000
    and 10,000 tiny scans and takes each step of the chains over them, from audit to scores, in a process of its own:
    seconds, peak memory, bytes written. Each measurement stays in the work folder and is not repeated, so that the
    command can be stopped, or given in parts: --stages audit,merge --copies 1000. docs/scaling.md tells what was found.

    Args:
        subject: "predict", "peers", "teacher", "training", "surfaces" or "growth".
        output: JSON file to write; peers and growth also write a picture beside it.
        repeats: How often each thing is measured.
        labels: For surfaces, the label map to take; a phantom of 512 x 512 voxels a slice if left out.
        bundle: For predict and peers, the bundle.
        input: For predict, a scan, a folder of scans or a data list; for peers and teacher, a scan.
        weights: For predict, peers and teacher, the folder with model.pt and architecture.json; for the first two the
            bundle's own models/ if left out.
        copies: For predict, numbers of cases, such as 1,4,16,64: the first scan is labeled so many times over by one
            call of `predict`, which shows what a case costs in a long run and that memory does not grow. For growth,
            the sizes of the data sets.
        slices: For predict, peers and teacher, numbers of slices that the scan is brought to, separated by commas; if
            left out, it is taken as it is.
        engines: For peers, of "openvino", "float32" and "half" (PyTorch), separated by commas; if left out, OpenVINO
            where it is installed, and float32.
        work_dir: For training, the work folder of a chain that has been run; for growth, a folder for the data sets and
            the figures.
        chain: For training, the chain, as `run` takes it.
        preset: For training, the chain's preset.
        stages: For training, the trainings to measure, separated by commas; if left out, all that have been done. For
            growth, steps of chain_start, audit, audit_again, data_list, plan, merge, merge_again, training_start,
            first_epoch, epoch, predict, predict_again, evaluate; each needs those before it.
        steps: For training, how many steps are measured, after three that are not.
        pause: For predict and peers, seconds between two samples of the memory.
        gpu: For predict and peers, the index of the card to watch, as nvidia-smi counts.
        overrides: For predict and peers, values of the bundle's inference.yaml by their ids, for example --device cpu;
            for training, parameters of the chain.
    """
    _check_options(**locals())
    if subject == "surfaces":
        from tools.benchmark_surfaces import benchmark_surfaces, format_surfaces

        result = benchmark_surfaces(labels, repeats)
        print(format_surfaces(result))
    elif subject == "training":
        if work_dir is None:
            raise CaseError("benchmark training needs --work_dir.")
        from tools.benchmark_training import benchmark_training, format_training

        result = benchmark_training(chain, preset, work_dir, _listed(stages), steps, overrides)
        print(format_training(result))
    elif subject == "growth":
        if work_dir is None:
            raise CaseError("benchmark growth needs --work_dir.")
        from tools.benchmark_figure import growth_figure
        from tools.benchmark_growth import COUNTS, benchmark_growth, format_growth

        counts = [_whole(part, "copies") for part in _listed(copies)] or COUNTS
        result = benchmark_growth(work_dir, counts, _listed(stages))
        print(format_growth(result))
        _draw(output, growth_figure, result)
    elif subject == "teacher":
        if not input or not weights:
            raise CaseError("benchmark teacher needs --input and --weights.")
        from tools.benchmark_teacher import benchmark_teacher
        from tools.turns import format_turns

        result = benchmark_teacher(weights, input, repeats, _lengths(slices), pause, gpu)
        print(format_turns(result["lengths"]))
    elif not bundle or not input:
        raise CaseError(f"benchmark {subject} needs --bundle and --input.")
    elif subject == "peers":
        from tools.benchmark_figure import peers_figure
        from tools.benchmark_peers import benchmark_peers, format_peers

        names, lengths = _listed(engines) or None, _lengths(slices)
        result = benchmark_peers(bundle, input, weights, repeats, lengths, names, pause, gpu, overrides)
        print(format_peers(result))
        _draw(output, peers_figure, result)
    else:
        from tools.benchmark_predict import benchmark_copies, benchmark_predict, format_copies, format_efficiency

        if copies is None:
            result = benchmark_predict(bundle, input, weights, repeats, pause, gpu, overrides, _lengths(slices))
            print(format_efficiency(result))
        else:
            counts = [_whole(part, "copies") for part in _listed(copies)]
            result = benchmark_copies(bundle, input, weights, counts, pause, gpu, overrides)
            print(format_copies(result))
    for case, reason in result.get("failed", {}).items():
        print(f"failed: {case}: {reason}")
    if output is not None:
        write_json(output, result)
        print(f"figures: {output}")
    return result


def _check_options(subject: str, repeats: int, overrides: Mapping, **given) -> None:
    """Raise a CaseError for an unknown subject, or an option that it would pass over."""
    if subject not in SUBJECTS:
        raise CaseError(f"Unknown subject {subject!r}. Use {', '.join(map(repr, SUBJECTS))}.")
    if repeats < 1:
        raise CaseError(f"--repeats is {repeats}; use 1 or more.")
    defaults = inspect.signature(benchmark).parameters
    named = [name for name, value in {**given, "repeats": repeats}.items() if value != defaults[name].default]
    taken = (*SUBJECTS[subject], "output")
    passed_over = [name for name in named if name not in taken]
    if "overrides" not in taken:
        passed_over += list(overrides)
    if passed_over:
        told = ", ".join(f"--{name}" for name in SUBJECTS[subject] if name != "overrides")
        raise CaseError(f"benchmark {subject} takes {told} and --output only, not --{passed_over[0]}.")
    if subject == "predict" and given["copies"] is not None and given["slices"] is not None:
        raise CaseError("benchmark predict takes --copies or --slices, not both.")


def _draw(output: str | None, figure: Callable[[Mapping], bytes], result: Mapping) -> None:
    """Write the picture of a result beside its JSON file, if there is to be one."""
    if output is None:
        return
    picture = Path(output).with_suffix(".png")
    with atomic_path(picture) as temporary:
        temporary.write_bytes(figure(result))
    print(f"picture: {picture}")


def _listed(value: object) -> list[str]:
    """Parts of an option with commas, which the command line may have split already."""
    parts = value if isinstance(value, list | tuple) else [] if value is None else str(value).split(",")
    return [str(part).strip() for part in parts]


def _lengths(slices: object) -> list[int] | None:
    return [_whole(part, "slices") for part in _listed(slices)] or None


def _whole(text: str, option: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise CaseError(f"--{option} names {text!r}; use whole numbers from 1, separated by commas.")
    return int(text)
