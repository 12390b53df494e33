"""The main figures look as they did when somebody last looked at them.

Pictures are compared after averaging over blocks of 6 × 6 points, so that letters may move a little from one
version of matplotlib to the next, while a line, a colour or a label that is missing shows.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

sys.path.insert(0, str(Path(__file__).parent))
from draw_pictures import FOLDER, drawn, pictures

LARGEST = 0.02  # root mean square of the difference, of a range of 1


def blocks(png) -> np.ndarray:
    pixels = image.imread(png)[..., :3]
    rows, columns = (size // 6 * 6 for size in pixels.shape[:2])
    return pixels[:rows, :columns].reshape(rows // 6, 6, columns // 6, 6, 3).mean((1, 3))


def difference(name: str, seed: int) -> float:
    before, now = blocks(FOLDER / f"{name}.png"), blocks(io.BytesIO(drawn(pictures(seed)[name])))
    assert before.shape == now.shape
    return float(np.sqrt(np.square(before - now).mean()))


@pytest.mark.parametrize("name", sorted(pictures()))
def test_a_figure_looks_as_before(name):
    found = difference(name, 0)
    assert found < LARGEST, (
        f"{name} changed by {found:.3f}: look at it, and if the change is meant, run draw_pictures.py"
    )


@pytest.mark.parametrize("name", ["raster", "psth", "mean_rates", "connectivity", "spike_statistics"])
def test_other_data_would_be_noticed(name):
    assert difference(name, 5) > LARGEST
