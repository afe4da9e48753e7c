"""A chain with every kind of stage that many processes share, for the tests of several processes and of jobs."""

from pathlib import Path

import yaml

from tests.tools.small_data import OVERLAYS, TEACHER, save_weights


def chain_of(folder: Path) -> Path:
    """A chain with every kind of stage that many processes share; the teacher is random."""
    save_weights(folder / "teacher", TEACHER)
    (folder / "coarse.yaml").write_text(yaml.safe_dump(OVERLAYS["coarse"] | {"max_epochs": 2}))
    audited, labeled, merged = ("{work_dir}/audit/datalist.json", "{work_dir}/labels", "{work_dir}/merged")
    stages = [
        {"name": "audit", "tool": "audit", "arguments": {"data_dir": "{data_dir}", "output_dir": "{work_dir}/audit"}},
        {
            "name": "label",
            "tool": "predict",
            "bundle": "teacher_nnunet",
            "configs": ["inference.yaml"],
            "after": ["audit"],
            "arguments": {
                "weights": str(folder / "teacher"),
                "input": audited,
                "section": "training",
                "kind": "weak",
                "output": labeled,
                "device": "cpu",
            },
        },
        {
            "name": "merge",
            "bundle": "pseudo_label_merge",
            "run": "merging",
            "configs": ["merge.yaml"],
            "after": ["label"],
            "arguments": {"datalist": audited, "pseudo_dir": labeled, "output_dir": merged},
            "outputs": [f"{merged}/datalist.json"],
        },
        {
            "name": "score",
            "tool": "evaluate",
            "after": ["label"],
            "arguments": {
                "predictions": labeled,
                "references": audited,
                "section": "training",
                "strict": True,
                "output": "{work_dir}/scores.json",
            },
            "outputs": ["{work_dir}/scores.json"],
        },
        {
            "name": "coarse",
            "bundle": "coarse_seg",
            "run": "training",
            "configs": ["train.yaml", str(folder / "coarse.yaml")],
            "after": ["merge"],
            "arguments": {
                "datalist": f"{merged}/datalist.json",
                "ckpt_dir": "{work_dir}/coarse/weights",
                "output_dir": "{work_dir}/coarse",
            },
            "outputs": ["{work_dir}/coarse/weights/model.pt"],
        },
    ]
    (folder / "chain.yaml").write_text(yaml.safe_dump({"parameters": {}, "stages": stages}))
    return folder / "chain.yaml"
