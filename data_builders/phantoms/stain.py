"""From amounts of stain to an RGB image, as light does it (Beer and Lambert), with the differences between laboratories.

Light of intensity `white` passes tissue of optical density `od` and leaves as `white * 10**-od`; `od` is the sum of each
stain's amount times its unit vector (Ruifrok & Johnston 2001). Patient, slide and scanner each turn the vectors, scale
the amounts and set the camera, so that colour says more about the slide than about the tissue.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt

from eosin.data_builders.phantoms import noise
from eosin.data_builders.phantoms.noise import FloatArray
from eosin.errors import InputError

HEMATOXYLIN_OD = (0.644211, 0.716556, 0.266844)  # Ruifrok & Johnston's H&E, red, green, blue
EOSIN_OD = (0.092789, 0.954111, 0.283111)


@dataclasses.dataclass(frozen=True)
class Scanner:
    """One scanner's camera: `white` point (R, G, B in 0 to 1), `gamma`, `blur` and `noise` (shares of one grey level)."""

    white: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    vignette: float


SCANNERS: dict[str, Scanner] = {
    "amber": Scanner((0.97, 0.94, 0.88), 1.05, 0.09, 0.006, 0.03),
    "birch": Scanner((0.96, 0.96, 0.97), 0.95, 0.05, 0.010, 0.00),
    "cedar": Scanner((0.93, 0.90, 0.95), 1.12, 0.14, 0.005, 0.06),
    "delta": Scanner((0.90, 0.93, 0.93), 1.00, 0.07, 0.014, 0.02),
    "ember": Scanner((0.98, 0.92, 0.93), 0.90, 0.12, 0.008, 0.04),
    "fjord": Scanner((0.88, 0.91, 0.96), 1.08, 0.06, 0.008, 0.05),
}


@dataclasses.dataclass(frozen=True)
class StainProfile:
    """What turns amounts of stain into colour on one slide.

    `hematoxylin` and `eosin` are unit vectors of optical density (R, G, B), the gains scale their amounts, `veil` is
    the optical density of the mounting medium (R, G, B).
    """

    hematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    hematoxylin_gain: float
    eosin_gain: float
    veil: tuple[float, float, float]
    camera: Scanner


def name_seed(*names: str) -> list[int]:
    """Numbers for a `SeedSequence`, fixed by the names alone (Python's own `hash` differs between processes)."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return [int.from_bytes(digest[start : start + 4], "little") for start in range(0, 16, 4)]


def stain_profile(patient: str, slide: str, scanner: str) -> StainProfile:
    """The profile that belongs to these names.

    Raises:
        InputError: `scanner` is not one of `SCANNERS`.
    """
    if scanner not in SCANNERS:
        raise InputError(f"unknown scanner {scanner!r}; choose one of {', '.join(SCANNERS)}")
    of_patient = np.random.default_rng(np.random.SeedSequence(name_seed("patient", patient)))
    of_slide = np.random.default_rng(np.random.SeedSequence(name_seed("slide", patient, slide)))
    camera = SCANNERS[scanner]
    gains = [_gain(of_patient, 0.22) * _gain(of_slide, 0.14), _gain(of_patient, 0.26) * _gain(of_slide, 0.16)]
    veil = [abs(float(part)) * 0.012 for part in of_slide.standard_normal(3)]
    return StainProfile(
        hematoxylin=_turned(of_patient, HEMATOXYLIN_OD, 0.05),
        eosin=_turned(of_patient, EOSIN_OD, 0.05),
        hematoxylin_gain=float(np.clip(0.90 * gains[0], 0.50, 1.35)),
        eosin_gain=float(np.clip(0.80 * gains[1], 0.38, 1.5)),
        veil=(veil[0], veil[1], veil[2]),
        camera=dataclasses.replace(camera, gamma=camera.gamma * float(np.clip(_gain(of_slide, 0.06), 0.85, 1.15))),
    )


def _gain(rng: np.random.Generator, spread: float) -> float:
    return float(np.exp(rng.standard_normal() * spread))


def _turned(rng: np.random.Generator, vector: tuple[float, float, float], spread: float) -> tuple[float, float, float]:
    """A unit vector near `vector`, without negative parts."""
    moved = np.clip(np.asarray(vector) + rng.standard_normal(3) * spread, 0.01, None)
    red, green, blue = (float(part) for part in moved / np.linalg.norm(moved))
    return red, green, blue


def develop(
    hematoxylin: FloatArray, eosin: FloatArray, profile: StainProfile, rng: np.random.Generator, vignetting: bool = True
) -> npt.NDArray[np.uint8]:
    """The camera's picture of the stained field.

    Args:
        hematoxylin, eosin: float32 [h, w], optical density along the unit vectors at unit gain.
        rng: for the camera's noise only.
        vignetting: darken the corners; a slide that is joined from many fields has none.

    Returns: uint8 [h, w, 3], RGB.
    """
    camera = profile.camera
    height, width = hematoxylin.shape
    stains = np.stack([hematoxylin.ravel(), eosin.ravel(), np.ones(hematoxylin.size, dtype=np.float32)])
    rows = [
        np.asarray(profile.hematoxylin) * profile.hematoxylin_gain,
        np.asarray(profile.eosin) * profile.eosin_gain,
        np.asarray(profile.veil),
    ]
    to_log_light = (np.stack(rows, axis=1) * (-np.log(10) * camera.gamma)).astype(np.float32)
    light = np.exp(to_log_light @ stains).astype(np.float32, copy=False).reshape(3, height, width)
    if camera.blur:
        light = _softened(light, camera.blur)
    light *= (np.asarray(camera.white, dtype=np.float32) * 255)[:, None, None]
    if vignetting and camera.vignette:
        light *= _vignette(height, width, camera.vignette)
    if camera.noise:
        light += _grain(rng, height, width) * np.float32(camera.noise * 255)
    np.clip(light + 0.5, 0, 255, out=light)
    return np.ascontiguousarray(light.astype(np.uint8).transpose(1, 2, 0))


def _softened(light: FloatArray, share: float) -> FloatArray:
    """A 3 by 3 blur that gives `share` of each pixel to each of its neighbours in a row, then in a column."""
    weight = np.float32(share)
    rows = light.copy()
    rows[:, :, 1:-1] += weight * (light[:, :, :-2] + light[:, :, 2:] - 2 * light[:, :, 1:-1])
    soft = rows.copy()
    soft[:, 1:-1] += weight * (rows[:, :-2] + rows[:, 2:] - 2 * rows[:, 1:-1])
    return soft


def _vignette(height: int, width: int, strength: float) -> FloatArray:
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    shade: FloatArray = 1 - np.float32(strength / 2) * (x * x + y * y)
    return shade


def _grain(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Camera noise [3, h, w]: three crops of one field of white noise."""
    size = max(height, width)
    return np.stack([noise.field(rng, size, 0.0)[:height, :width] for _ in range(3)])
