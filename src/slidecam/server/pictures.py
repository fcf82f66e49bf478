"""One uploaded picture: what the classifier says of it, and where it looks."""

from __future__ import annotations

import base64
import time
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from slidecam.close_up.methods import choose_methods, class_indices
from slidecam.errors import DataSetError
from slidecam.explain.facts import shown_by, usual_methods
from slidecam.explain.map_request import MANY_CLASSES
from slidecam.explain.neighbours import EXPLAINED, has_neighbours, neighbour_accounts
from slidecam.icc import colours_of, in_colours
from slidecam.learning.data.pixels import StoredPicture, stored_picture
from slidecam.models.backends import within_memory
from slidecam.pixels import RESAMPLING
from slidecam.runs.tiles import DISAGREEMENT
from slidecam.server.callers import Caller
from slidecam.server.guard import RequestError
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.close_up.methods import ChosenMethod
    from slidecam.explain.explainer import Explanation
    from slidecam.models import Card, Classifier
    from slidecam.server.devices import FairLock
    from slidecam.server.guard import Limits

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
EXACT_CHANNELS = 128
"""Channels up to which Score-CAM is exact by default; each costs a pass."""

UPLOADED = Path("the uploaded picture")
SHOWN_QUALITY = 92
DARK = 32
"""Of 255; what has no brighter value is all but black."""

DIGITS = 5
"""Of a map's values, which a screen shows in 256 steps."""


@dataclass(frozen=True)
class PictureRequest:
    """What a client wants of a picture.

    Attributes
    ----------
    methods
        Names of the catalogue; empty for none.
    classes
        Names of the classes to explain; empty for all of a few, else for the predicted one.
    shown
        Longest side of a copy of the picture, upright and in sRGB, that the answer brings
        along; 0 for none.
    seen
        Which of the file's pictures or planes it is.
    """

    methods: tuple[str, ...]
    classes: tuple[str, ...]
    shown: int = 0
    seen: PictureView = AS_THE_FILE_SAYS


@dataclass(frozen=True)
class Turn:
    """How long a picture is worked at: until its caller leaves, or its time is over."""

    caller: Caller
    deadline: float

    def goes_on(self, title: str) -> None:
        """Return where it goes on; RequestError 504 where the time is over, for a method's title.

        CallerLeftError where nobody waits.
        """
        self.caller.stays()
        if time.monotonic() >= self.deadline:
            problem = f"{title} took longer than pictures may take here."
            raise RequestError(504, problem, "Ask for another method, or for fewer classes.")


def default_methods(classifier: Classifier) -> tuple[str, ...]:
    """Return the methods that a picture is explained by where a request names none.

    None where there is no map; else those that slides are mapped by, and a costly one.
    """
    if not classifier.has_map:
        return ()
    edge = classifier.card.input_px
    grey = torch.full((1, edge, edge, 3), 128, dtype=torch.uint8, device=classifier.device)
    activation = classifier.run(grey, gradients=False).activation
    usual = usual_methods(classifier.card, linear=classifier.linear_head is not None)
    if activation is not None and activation.shape[1] <= EXACT_CHANNELS:
        return *usual, "score-cam"
    return *usual, "score-cam-clustered"


def explain_picture(
    content: bytes,
    classifier: Classifier,
    request: PictureRequest,
    limits: Limits,
    device: FairLock,
    caller: Caller | None = None,
) -> dict[str, Any]:
    """Classify a picture and explain it.

    Parameters
    ----------
    content
        A file's bytes.
    classifier
        On its device.
    request
        Methods and classes.
    limits
        Of pixels and seconds.
    device
        Of the classifier.
    caller
        Who waits for the answer: where they leave, the rest is not computed.

    Returns
    -------
    dict
        What ``POST /v1/image`` answers.

    Raises
    ------
    SlidecamError
        If it is no picture, too large, or a method or class is unknown; RequestError 504 if it
        takes too long.
    CallerLeftError
        If the caller leaves.
    """
    start, caller = time.monotonic(), caller or Caller()
    methods: Mapping[str, ChosenMethod] = {}
    if request.methods:
        methods = choose_methods(request.methods)
    indices = class_indices(classifier.card, request.classes)
    card = classifier.card
    stored = _opened(content, limits, request.seen)
    caller.stays()
    picture = in_colours(stored.picture, stored.profile, card.color_profile)
    fitted = picture.resize((card.input_px, card.input_px), RESAMPLING[card.interpolation])
    pixels = torch.from_numpy(np.array(fitted)[None]).to(classifier.device)
    turn = Turn(caller, start + limits.image_seconds)
    with device.held(), within_memory("One picture"):
        caller.stays()
        explained = explained_pixels(classifier, pixels, indices, methods, turn)
    shown = None
    if request.shown:
        shown = data_url(in_colours(stored.picture, stored.profile, "srgb"), request.shown)
    return {
        "model": card.name,
        "size": [picture.width, picture.height],
        **explained,
        "shown": shown,
        "choices": _choices(" ".join(stored.readings)),
        "notes": [
            *_notes(card, picture),
            *stored.readings,
            *colours_of(stored.profile, card.color_profile)[1],
        ],
        "seconds": _since(start),
    }


def data_url(picture: Image.Image, longest: int) -> str:
    """Return a copy that every browser shows.

    None shows a TIFF, and of 16 bits or CMYK each makes something else.
    """
    copy, file = picture.copy(), BytesIO()
    copy.thumbnail((longest, longest))
    copy.save(file, "JPEG", quality=SHOWN_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _choices(words: str) -> list[str]:
    """Return what a file leaves to choose, ``image`` or ``plane``, by what its reader says."""
    return [name for name in ("image", "plane") if f"--{name} " in words]


def _opened(content: bytes, limits: Limits, seen: PictureView = AS_THE_FILE_SAYS) -> StoredPicture:
    """Return a picture upright and in RGB, as stored.

    Its header is checked before anything is decoded.
    """
    if not content:
        raise RequestError(400, "The picture is empty.", "Send a picture's bytes as the body.")
    with warnings.catch_warnings():
        # Pillow warns of what is large or odd in a file; what matters of it is an answer here, and
        # no line in a log.
        warnings.simplefilter("ignore")
        _refuse_by_header(content, limits)
        try:
            return stored_picture(UPLOADED, content, seen)
        except DataSetError as error:
            choices = _choices(error.remedy)
            remedy = error.remedy if choices else "Save it again, or send another one."
            raise RequestError(422, error.problem, remedy, choices=choices) from error


def _refuse_by_header(content: bytes, limits: Limits) -> None:
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as header:
            size = header.size
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(str(error), limits) from error
    # The boundary of a picture: Pillow's plugins promise no list of what they raise.
    except Exception as error:
        problem = "This is not a picture that slidecam reads."
        raise RequestError(415, problem, f"Send one of {', '.join(FORMATS)}.") from error
    if size[0] * size[1] > limits.pixels:
        raise _too_many_pixels(f"it has {size[0]} x {size[1]} pixels", limits)


def _too_many_pixels(said: str, limits: Limits) -> RequestError:
    problem = f"The picture is too large: {said}; the most is {limits.pixels / 1e6:g} megapixels."
    return RequestError(413, problem, "Open it as a slide, or send a smaller one.")


def explained_pixels(
    classifier: Classifier,
    pixels: torch.Tensor,
    indices: tuple[int, ...],
    methods: Mapping[str, ChosenMethod],
    turn: Turn,
) -> dict[str, Any]:
    """Classify pixels, uint8 (1, H, W, 3), as the network takes them, and explain them.

    Raises as `explain_picture` does.
    """
    card = classifier.card
    passed = classifier.run(pixels, gradients=False)
    logits, apart = passed.logits, classifier.disagreement(passed)
    probabilities = classifier.probabilities(logits)[0].tolist()
    called = card.classes.called_names(probabilities)
    classes = indices or _usual_classes(card, probabilities)
    maps = [_map(classifier, pixels, classes, chosen, turn) for chosen in methods.values()]
    neighbours = _neighbours(classifier, pixels, classes)
    rows = zip(
        card.class_names,
        card.class_colors,
        probabilities,
        logits[0].tolist(),
        strict=True,
    )
    return {
        "classes": [
            {"name": name, "color": color, "probability": probability, "logit": logit}
            for name, color, probability, logit in rows
        ],
        "predicted": next(iter(called), None),
        "called_classes": list(called),
        "foremost": card.class_names[card.classes.foremost(probabilities)],
        "caption": card.classes.caption(probabilities),
        "probabilities": card.classes.calibration,
        DISAGREEMENT: _shares(apart),
        "maps": maps,
        "neighbours": neighbours,
    }


def _shares(apart: torch.Tensor | None) -> float | None:
    """Return a picture's disagreement of (1,), None of a single network."""
    if apart is None:
        return None
    return round(float(apart[0]), 6)


def _usual_classes(card: Card, probabilities: list[float]) -> tuple[int, ...]:
    count = len(card.class_names)
    if count <= MANY_CLASSES:
        return tuple(range(count))
    return (card.classes.foremost(probabilities),)


def _map(
    classifier: Classifier,
    pixels: torch.Tensor,
    classes: Sequence[int],
    chosen: ChosenMethod,
    turn: Turn,
) -> dict[str, Any]:
    start = time.monotonic()
    found = _until(turn, classifier, pixels, classes, chosen)
    names = classifier.card.class_names
    return {
        "method": chosen.method.name,
        "title": chosen.method.title,
        "signed": chosen.method.signed,
        "shows": shown_by(chosen.method.name, found.facts),
        "classes": [names[index] for index in classes],
        "values": _rounded(found.maps[0].detach().float().cpu().numpy()),
        "passes": found.passes,
        "facts": dict(found.facts),
        "seconds": _since(start),
    }


def _until(
    turn: Turn,
    classifier: Classifier,
    pixels: torch.Tensor,
    classes: Sequence[int],
    chosen: ChosenMethod,
) -> Explanation:
    """Take an explanation to its end, or to the end of its time."""
    steps = chosen.steps(classifier, pixels, classes)
    try:
        while True:
            turn.goes_on(chosen.method.title)
            next(steps)
    except StopIteration as end:
        found: Explanation = end.value
        return found
    finally:
        steps.close()


def _rounded(values: NDArray[np.float32]) -> list[Any]:
    """Return maps as lists of short numbers: five digits of each map's largest value."""
    largest = float(np.abs(values).max())
    decimals = DIGITS
    if largest > 0:
        decimals -= int(np.floor(np.log10(largest)))
    rounded: list[Any] = np.round(values.astype(np.float64), decimals).tolist()
    return rounded


def _neighbours(
    classifier: Classifier, pixels: torch.Tensor, classes: Sequence[int]
) -> dict[str, Any] | None:
    if not has_neighbours(classifier):
        return None
    names = classifier.card.class_names
    accounts = neighbour_accounts(classifier, pixels, classes)[0]
    # The neighbours are the same whichever class is asked about.
    shown = {one.index: one.picture for one in accounts[0].neighbours if one.picture is not None}
    return {
        "explained": EXPLAINED,
        "accounts": [account.record(names) for account in accounts],
        "pictures": {
            index: data_url(Image.fromarray(picture), max(picture.shape))
            for index, picture in shown.items()
        },
    }


def _notes(card: Card, picture: Image.Image) -> list[str]:
    notes = []
    if card.spacing is not None:
        field = f"{card.tile_px * card.spacing:g} µm across"
        notes.append(
            f"{card.name} knows tiles {field}; this picture is taken for one, whatever it shows."
        )
    if picture.width != picture.height:
        notes.append(
            f"{picture.width} x {picture.height} px: it is stretched to a square, as in training."
        )
    brightest = max(high for _low, high in picture.getextrema())  # type: ignore[misc]  # RGB has three pairs
    if brightest < DARK:
        notes.append(
            f"The picture is all but black: its brightest value is {brightest} of 255. Where 12"
            " bits were saved as 16, spread them over the whole range first."
        )
    return notes


def _since(start: float) -> float:
    return round(time.monotonic() - start, 3)
