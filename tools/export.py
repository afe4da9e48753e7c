"""Write our data list as the raw data set of another tool: nnU-Net."""

from abdoseg.files import CaseError

FORMATS = ("nnunet",)


def export(
    format: str,  # noqa: A002 - what the command line calls it
    datalist: str,
    output: str,
    classes: str = "organs",
    partial: str = "ignore",
    copy: bool = False,
    num_threads: int = 2,
) -> dict:
    """Write a data list as an nnU-Net v2 raw data set.

    `python -m tools export nnunet runs/flare23/audit/datalist.json --output nnUNet_raw/Dataset007_Abdomen` makes
    imagesTr, labelsTr, imagesTs, labelsTs, dataset.json, and one fold in splits_final.json where cases are held out;
    `nnUNetv2_plan_and_preprocess -d 7` goes on from there. Started again, it writes what is missing.

    In a case in which only some organs are drawn, 0 means that nobody drew anything there, not that nothing is there.
    Such voxels get nnU-Net's ignore label, so that they teach nothing: the drawn organs are learned from these cases,
    the background only from cases in which all classes are known (every organ drawn, or merged with pseudo labels).
    A tumor is ignored where only organs are learned, since its organ is not told.

    Args:
        format: "nnunet".
        datalist: Data list (.json) as `audit` or the merge writes it.
        output: Folder DatasetNNN_NAME in nnU-Net's nnUNet_raw.
        classes: "organs" (13), or "all" (with tumor; for merged data lists).
        partial: What becomes of cases in which not all classes are known, "ignore" (see above) or "skip".
        copy: Copy the images; without it they are symbolic links (copies where they are not .nii.gz).
        num_threads: Cases at once.

    Returns:
        Counts of cases, and "failed" ({id: reason} of those set aside).
    """
    if format not in FORMATS:
        raise CaseError(f"Unknown format {format!r}. Use {' or '.join(map(repr, FORMATS))}.")
    from abdoseg.nnunet.raw_data import ExportRawData

    result = ExportRawData(datalist, output, classes, partial, copy, num_threads).run()
    print(
        f"{result['complete']} training cases with all classes known, {result['partial']} with some, "
        f"{result['skipped']} left out"
    )
    for case, reason in result["failed"].items():
        print(f"set aside: {case}: {reason}")
    print(f"data set: {result['dataset']}")
    return result
