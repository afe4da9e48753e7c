"""Scores of an evaluation that has not ended, kept beside its output: started again, it scores what is missing."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from abdoseg.case_stage import fingerprints
from abdoseg.files import CaseError


class KeptScores:
    """Scores of cases, each with the state of all that decides them.

    Parameters
    ----------
    output : JSON file that the evaluation will write; None keeps nothing.
    """

    def __init__(self, output: str | None) -> None:
        self._path = None if output is None else Path(output).with_suffix(".unfinished.jsonl")
        self._scores: dict[str, dict] = {}
        if self._path is not None and self._path.is_file():
            for line in self._path.read_text().splitlines():
                with suppress(ValueError):  # a killed process may leave half a line
                    state, scores = json.loads(line)
                    self._scores[state] = scores

    def take(self, state: str | None) -> dict | None:
        """Give the scores of a case in this state, if they were kept."""
        return self._scores.pop(state, None)

    def keep(self, state: str | None, scores: dict) -> None:
        """Write down the scores of a case."""
        if self._path is None or state is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write("\n" + json.dumps([state, scores]))

    def forget(self) -> None:
        """Remove what was kept: the output has all."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def state_of(prediction: Path, reference: Path, ids: Sequence[int], known: Sequence[int] | None) -> str | None:
    """Text of what decides the scores of a case: its files with size and time, and classes; None if one is missing."""
    try:
        files = fingerprints({"prediction": str(prediction.absolute()), "reference": str(reference.absolute())})
    except CaseError:
        return None
    return json.dumps([files, list(ids), None if known is None else list(known)])
