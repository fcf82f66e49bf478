"""How a slide is seen: what may be chosen, and what was."""

import pytest

from slidecam.errors import UsageError
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView


def test_what_was_chosen_is_what_is_off_its_default() -> None:
    assert AS_THE_FILE_SAYS.chosen == {}
    view = PictureView(image="scan", plane=3, channels=("3", "2", "1"))
    assert view.chosen == {"image": "scan", "plane": 3, "channels": ("3", "2", "1")}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"plane": 0}, "There is no plane 0"),
        ({"time": -2}, "There is no time -2"),
        ({"channels": ("1", "2")}, "2 channels are no colour"),
        ({"profile": "adobe"}, "There is no profile 'adobe'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PictureView(**wrong)  # type: ignore[arg-type]  # what a caller got wrong
