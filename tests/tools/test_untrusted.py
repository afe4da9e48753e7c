"""What comes from elsewhere stays data: names in reports, pickles, and who may reach the servers."""

import ast
import inspect
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.tools.small_data import FIVE, ORGANS, labels_of, save, save_data_set, save_scan, truncate
from tools.__main__ import main
from tools.serve import serve

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "<script>alert(1)<script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;b&gt; $\\frac{$",
)


class Page(HTMLParser):
    """The tags, attributes and texts that a browser finds."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.add(tag)
        self.attributes += attributes

    def handle_data(self, text) -> None:
        self.text += text


def assert_harmless(page: Page) -> None:
    assert page.tags.isdisjoint({"script", "svg", "iframe", "object", "embed", "link", "base", "form", "b id"})
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "href"]
    assert all(value.startswith("data:") for name, value in page.attributes if name == "src")


def test_names_in_the_audits_report_are_text(tmp_path):
    data = save_data_set(tmp_path / "</title><script>alert(1)<script>", [ORGANS, FIVE])
    for number, name in enumerate(HOSTILE, 5):
        truncate(save_scan(data / "imagesTr2200" / f"{name}_0000.nii.gz", number))
        save(data / "labelsTr2200" / f"{name}.nii.gz", labels_of(ORGANS, number))
    assert main(["audit", str(data), str(tmp_path / "out")]) == 1
    page = Page(tmp_path / "out" / "report.html")
    assert_harmless(page)
    assert all(page.text.count(name) >= 2 for name in HOSTILE), "as an id, and in its file's path"


def test_names_in_a_chains_report_are_text(tmp_path):
    work = tmp_path / "<script>alert(1)<script>"
    data = save_data_set(tmp_path / "data", [ORGANS, FIVE])
    for number, name in enumerate(HOSTILE, 5):
        save_scan(data / "validation" / f"{name}_0000.nii.gz", number)
        for folder in (data / "truth", work / "predictions" / "student"):
            save(folder / f"{name}.nii.gz", labels_of(range(1, 15), number))
    (work / "predictions" / "student" / f"{HOSTILE[0]}.nii.gz").unlink()
    assert main(["audit", str(data), str(work / "audit")]) == 0
    scores = work / "scores" / "student.json"
    assert main(["evaluate", str(work / "predictions/student"), str(data / "truth"), f"--output={scores}"]) == 1
    assert main(["report", str(work)]) == 0
    page = Page(work / "report" / "index.html")
    assert_harmless(page)
    assert all(name in page.text for name in HOSTILE)


def test_the_servers_listen_to_this_machine_alone_unless_told_otherwise():
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
    started = [line for line in (ROOT / "Makefile").read_text().splitlines() if "mlflow ui" in line]
    assert started
    assert all("--host 127.0.0.1" in line for line in started)


def calls(path: Path) -> list[tuple[str, dict]]:
    """Every call in a file, as ``module.function``, with the source of its named arguments."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            found.append((ast.unparse(node.func), named))
    return found


PYTHON = [*(ROOT / "abdoseg").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_evaluates_or_asks_a_shell(path):
    for function, named in calls(path):
        assert function not in ("eval", "exec", "os.system", "yaml.load", "pickle.load", "pickle.loads", "joblib.load")
        assert named.get("shell", "False") == "False"
        assert named.get("allow_pickle", "False") == "False"
        if function == "torch.load":
            assert named["weights_only"] in ("True", "self.weights_only"), "of CaseCache, which leaves it true"


def test_no_config_loads_pickles():
    for path in (ROOT / "bundles").rglob("*.yaml"):
        text = path.read_text()
        assert "weights_only" not in text
        assert "allow_pickle" not in text
        assert "torch.load" not in text
