"""Whatever the input is, a command ends as a result or as one sentence that names the file; the neighbors go on.

Cases are streamed to one child process, which may take 512 MiB beside what it has; each has a minute.
`make test-hard` runs 2,000 of them: pytest tests/hard/test_malformed.py --malformed 2000.
"""

import json
import os
import select
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 60
START_SECONDS = 300  # PyTorch and MONAI, then one case of each command
DEFAULT_CASES = 200


class Child:
    """One process that runs cases until it dies or is killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hard.child", str(folder)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "errors.txt").open("w"),
        )
        self.errors = folder / "errors.txt"
        ready = self.reply(START_SECONDS)
        assert ready.get("ready"), f"the child did not start: {ready} {self.errors.read_text()[-2000:]}"

    def run(self, seed: int) -> dict:
        self.process.stdin.write(f"{seed}\n".encode())
        self.process.stdin.flush()
        return self.reply(SECONDS)

    def reply(self, seconds: float) -> dict:
        """The next line, {} if there is none in time."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return {"end": "hang", "told": f"no end within {seconds} s"}
        line = self.process.stdout.readline()
        if not line:
            return {"end": "died", "told": f"exit code {self.process.wait()}: {self.errors.read_text()[-500:]}"}
        return json.loads(line)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_no_malformed_input_escapes(tmp_path, request):
    count = request.config.getoption("--malformed", DEFAULT_CASES)
    first = request.config.getoption("--first-seed", 0)
    ends, escaped, child, started = Counter(), [], None, 0
    try:
        for seed in range(first, first + count):
            if child is None:
                child, started = Child(tmp_path / f"child{started}"), started + 1
            reply = child.run(seed)
            ends[reply["end"]] += 1
            if reply["end"] in ("hang", "died"):
                child.stop()
                child = None
            if reply["end"] not in ("result", "sentence"):
                escaped.append({"seed": seed, **reply})
                print(f"escaped: {escaped[-1]}", flush=True)
    finally:
        if child is not None:
            child.stop()
    print(f"{count} malformed cases: {dict(ends)}")
    assert not escaped, f"{len(escaped)} of {count} cases escaped, the first: {json.dumps(escaped[:5], indent=1)}"
    # Were all refused, or all taken, the generator would be no test.
    assert min(ends["result"], ends["sentence"]) > count / 20
