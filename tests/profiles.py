"""An ICC profile made for tests, what it says of pixels by two other ways, and slides with it."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

from slidecam.prediction.pipeline import predict
from slidecam.runs import Run
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""Linear sRGB to XYZ of D50, the white of profiles (Lindbloom, after Bradford)."""

OWN_TO_XYZ = SRGB_TO_XYZ @ np.array([[0.83, 0.11, 0.06], [0.07, 0.78, 0.15], [0.16, 0.05, 0.79]])
"""Of a scanner whose colours are paler than those of sRGB, so that none of them is cut off."""

GAMMA = 1.37


def icc(space: bytes = b"RGB ", name: str = "Scanner 7") -> bytes:
    """Return an ICC profile of version 2: three primaries, one gamma (ICC.1:2001-04)."""
    text = name.encode("ascii") + b"\0"
    desc = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256)) + bytes(2)

    def xyz(values: Any) -> bytes:
        fixed = [round(float(value) * 65536) for value in values]
        return b"XYZ " + bytes(4) + struct.pack(">3i", *fixed)

    tags = {
        b"desc": desc + bytes(-len(desc) % 4),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        b"rXYZ": xyz(OWN_TO_XYZ[:, 0]),
        b"gXYZ": xyz(OWN_TO_XYZ[:, 1]),
        b"bXYZ": xyz(OWN_TO_XYZ[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    first = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">2I", first + len(body), len(content))
        body += content
    head = struct.pack(
        ">I4sI4s4s4s", first + len(body), b"none", 0x02100000, b"scnr", space, b"XYZ "
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


PROFILE = icc()


def in_srgb(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what the profile says of pixels, by its own formula and that of IEC 61966-2-1."""
    linear = (pixels / 255.0) ** (round(GAMMA * 256) / 256)
    shown = np.clip(linear @ (np.linalg.inv(SRGB_TO_XYZ) @ OWN_TO_XYZ).T, 0, 1)
    bent = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.asarray(255 * bent)


def by_hand(pixels: NDArray[np.uint8], profile: bytes = PROFILE) -> NDArray[np.uint8]:
    """Return what Pillow makes of the whole picture at once."""
    picture = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.getOpenProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert picture is not None
    return np.asarray(picture)


def bundle_pair(bundle: Path, folder: Path) -> dict[str, Path]:
    """Return a bundle as it is, and with a card that applies profiles."""
    other = folder / "srgb"
    other.mkdir()
    for file in bundle.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    card = json.loads((other / "card.json").read_text(encoding="utf-8"))
    card["color_profile"] = "srgb"
    (other / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return {"ignore": bundle, "srgb": other}


def slide_pair(plain: Path, folder: Path) -> dict[str, Path]:
    """Return a slide as it is stored with its profile, and one of the pixels that this means."""
    pixels = tifffile.imread(plain)
    for name, shown, profile in (("stored", pixels, PROFILE), ("shown", by_hand(pixels), None)):
        tifffile.imwrite(
            folder / f"{name}.tif",
            shown,
            tile=(128, 128),
            photometric="rgb",
            iccprofile=profile,
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    return {"stored": folder / "stored.tif", "shown": folder / "shown.tif"}


def classified(slide: Path, bundle: Path, out: Path, **options: Any) -> Run:
    # One mask for all, since tissue is found by colours.
    mask = out.parent / "mask.png"
    Image.fromarray(np.full((50, 70), 255, np.uint8)).save(mask)
    list(predict(slide, bundle, out, PredictSpec(mask=mask, outputs=(), **options)))
    return Run.open(out / slide.stem)
