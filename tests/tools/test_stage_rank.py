"""One process of a stage that torchrun has started again."""

from dataclasses import asdict

import pytest

from abdoseg.files import write_json
from tools.chain import Stage
from tools.stage_rank import do_part


@pytest.mark.parametrize(
    ("told", "code"), [({"failed": {}}, 0), ({"failed": {"0001": "lost"}}, 0), ({"fault": "x"}, 2)]
)
def test_what_has_ended_is_not_begun_anew(told, code, tmp_path):
    """A training whose first process has ended has no state left to go on from."""
    result = tmp_path / "result.json"
    write_json(result, told)
    assert do_part({"stage": asdict(Stage("label", "no_such_tool")), "tracking": {}, "result": str(result)}) == code
    result.unlink()
    with pytest.raises(ModuleNotFoundError, match="no_such_tool"):
        do_part({"stage": asdict(Stage("label", "no_such_tool")), "tracking": {}, "result": str(result)})
