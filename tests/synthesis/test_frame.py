"""Frames: what each view shows of a patient."""

import numpy as np
import pytest

from abdoseg.synthesis import Frame, draw_frame
from tests.synthesis.small import block_patient

PATIENT = block_patient()


def ends(frame: Frame, scale=(1, 1, 1)) -> np.ndarray:
    """Lowest and highest position in the anatomy that an undeformed frame shows, mm."""
    half = (np.array(frame.size) - 1) * np.array(frame.spacing) / np.array(scale) / 2
    return np.stack([np.array(frame.center) - half, np.array(frame.center) + half])


def test_axes_are_centered():
    x, y, _ = Frame((4, 3, 2), (2.0, 5.0, 1.0), (9, 9, 9)).axes()
    assert x.tolist() == [-3, -1, 1, 3]
    assert y.tolist() == [-5, 0, 5]


def test_half_of_the_organs_views_hold_the_organs_and_a_margin_whatever_the_scale_the_others_a_part():
    low, high = PATIENT.organs_box
    scale, whole, parts = (0.8, 1.0, 1.25), 0, []
    for seed in range(200):
        frame = draw_frame(np.random.default_rng(seed), PATIENT, "organs", (56, 40, 48), None, scale, margin_mm=40)
        assert frame.size == (56, 40, 48)
        shown = ends(frame, scale)
        if (shown[0] <= low - 4).all() and (shown[1] >= high + 4).all():  # 40 mm less three and a half deviations
            whole += 1
        if (shown[0] > low).any() or (shown[1] < high).any():  # no draw of the margin does that
            parts.append((shown[1] - shown[0]) / (high - low + 80))
    assert whole >= 100
    assert len(parts) >= 25
    parts = np.array(parts)
    assert (parts > [0.55, 0.55, 0.3]).all()
    assert (parts < 1.4).all()
    assert parts[:, 2].min() < 0.5 < 0.7 < np.median(parts[:, 0])


def test_some_scans_are_short():
    lengths = []
    for seed in range(100):
        frame = draw_frame(np.random.default_rng(seed), PATIENT, "scan", None, (3.0, 3.0, 5.0), (1, 1, 1))
        lengths.append(np.diff(ends(frame)[:, 2]).item() / np.diff(PATIENT.organs_box[:, 2]).item())
    assert 0.3 < min(lengths) < 0.6
    assert 0.12 < np.mean(np.array(lengths) < 1.1) < 0.32


def test_the_scan_view_holds_the_body_in_the_plane():
    for seed in range(10):
        frame = draw_frame(np.random.default_rng(seed), PATIENT, "scan", None, (3.0, 3.0, 5.0), (1, 1, 1))
        assert frame.spacing == (3.0, 3.0, 5.0)
        shown = ends(frame)
        assert (shown[1] - shown[0])[0] > 0.9 * 43 * 4
        assert shown[0, 2] >= PATIENT.body_box[0, 2] - 5


def test_patches_have_their_size_and_about_their_spacing_and_are_near_organs():
    for seed in range(20):
        frame = draw_frame(np.random.default_rng(seed), PATIENT, "patch", (16, 16, 16), (4, 4, 4), (1, 1, 1))
        assert frame.size == (16, 16, 16)
        assert 3.6 <= frame.spacing[0] <= 4.4
        shown = ends(frame)
        assert (shown[0] < PATIENT.organs_box[1]).all()
        assert (shown[1] > PATIENT.organs_box[0]).all()


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match=r"Unknown view 'body'\. Use one of 'patch', 'organs', 'scan'"):
        draw_frame(np.random.default_rng(0), PATIENT, "body", (8, 8, 8), None, (1, 1, 1))
