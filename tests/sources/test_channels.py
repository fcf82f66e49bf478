"""Which of a picture's channels are red, green and blue."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import RefusedSourceError, UsageError
from slidecam.sources.channels import (
    Channel,
    choose_channels,
    color_of_hex,
    color_of_ome,
    note_on_display,
)

if TYPE_CHECKING:
    from slidecam.pixels import RGB

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
MARKERS = (Channel("DAPI", BLUE), Channel("FITC", GREEN), Channel("Cy5", RED))


def named(*names: str) -> list[Channel]:
    return [Channel(name) for name in names]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize(
    "names", [("Red", "Green", "Blue"), ("r", "g", "b"), ("Channel 0 (red)", "TL green", "BLUE_3")]
)
def test_channels_called_by_their_colours_are_sorted_and_that_is_said(
    order: tuple[int, ...], names: tuple[str, ...]
) -> None:
    channels = [Channel(names[index]) for index in order]

    indices, readings = choose_channels("a.tif", channels)

    assert [channels[index].name for index in indices] == list(names)
    if order == (0, 1, 2):
        assert readings == ()
    else:
        numbers = ", ".join(str(index + 1) for index in indices)
        assert readings[0].startswith(f"Channels {numbers} are taken as red, green and blue, by")
        assert names[2] in readings[0]


def test_a_name_counts_before_a_colour() -> None:
    channels = [Channel("blue", RED), Channel("green", RED), Channel("red", WHITE)]
    assert choose_channels("a.tif", channels)[0] == (2, 1, 0)


def test_unnamed_channels_are_sorted_by_their_colours() -> None:
    channels = [Channel("Channel:0:0", BLUE), Channel("C2", (0, 128, 0)), Channel("", RED)]
    indices, (reading,) = choose_channels("a.tif", channels)
    assert indices == (2, 1, 0)
    assert reading.startswith("Channels 3, 2, 1 are taken as red, green and blue, by their colours")


@pytest.mark.parametrize("color", [None, WHITE])
def test_three_of_which_nothing_is_said_are_taken_in_their_order_and_that_is_said(
    color: tuple[int, int, int] | None,
) -> None:
    channels = [Channel(f"Channel {number}", color) for number in range(3)]
    indices, (reading,) = choose_channels("a.tif", channels)
    assert indices == (0, 1, 2)
    assert reading.startswith("Channels 1, 2, 3 are taken as red, green and blue, by their order")
    assert "--channels" in reading


@pytest.mark.parametrize(
    "channels",
    [
        MARKERS,
        named("DAPI", "GFP", "Texas Red"),
        named("Red", "Green", ""),
        named("Red", "Red", "Blue"),
        (Channel("", (0, 255, 255)), Channel("", (255, 0, 255)), Channel("", (255, 255, 0))),
        (Channel("", RED), Channel("", RED), Channel("", BLUE)),
        named("Red", "Green"),
        named("", ""),
        named("Red", "Green", "Blue", "infrared"),
        named("", "", "", ""),
        named("DAPI", "FITC", "Cy3", "Cy5", "TRITC"),
    ],
)
def test_what_is_no_red_green_blue_is_refused_with_its_names_and_the_option(
    channels: tuple[Channel, ...],
) -> None:
    with pytest.raises(RefusedSourceError, match="--channels A,B,C") as caught:
        choose_channels("a.tif", channels)
    for channel in channels:
        assert channel.name in str(caught.value)
    assert f"{len(channels)} channels" in caught.value.problem


def test_red_green_blue_and_alpha_are_four() -> None:
    channels = named("alpha", "blue", "green", "red")
    assert choose_channels("a.tif", channels)[0] == (3, 2, 1, 0)
    assert choose_channels("a.tif", named("R", "G", "B", "A")) == ((0, 1, 2, 3), ())


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (Channel("DAPI"), 'is called "DAPI": it'),
        (Channel("", GREEN), "is shown as #00ff00 by the file: it"),
        (Channel("Cy5", RED), 'is called "Cy5" and is shown as #ff0000 by the file: it'),
        (Channel("Red"), 'is called "Red": it'),
    ],
)
def test_one_channel_is_grey_and_what_it_is_called_is_said(channel: Channel, said: str) -> None:
    reading = f"Its only channel {said} is read as grey."
    assert choose_channels("a.tif", [channel]) == ((0,), (reading,))


@pytest.mark.parametrize("name", ["", "Channel 0", "Gray", "TL Brightfield", "greyscale 1"])
@pytest.mark.parametrize("color", [None, WHITE, (128, 128, 128)])
def test_one_channel_that_is_called_grey_needs_no_word(name: str, color: RGB | None) -> None:
    assert choose_channels("a.tif", [Channel(name, color)]) == ((0,), ())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_colours_that_contradict_the_names_are_said(order: tuple[int, ...]) -> None:
    known = [Channel("Red", BLUE), Channel("Green", GREEN), Channel("Blue", RED)]
    channels = [known[index] for index in order]
    indices, (reading,) = choose_channels("a.tif", channels)
    assert [channels[index] for index in indices] == known
    assert "by their names (Red, Green, Blue), which their colours in the file contra" in reading
    same = [Channel("Red", RED), Channel("Green", WHITE), Channel("Blue")]
    assert choose_channels("a.tif", same) == ((0, 1, 2), ())


def test_what_a_file_wants_of_a_screen_is_said_and_not_done() -> None:
    plain = named("R", "G", "B")
    assert note_on_display(plain, (0, 1, 2), 16) == ()
    channels = [Channel("R", inverted=True), Channel("G"), Channel("B", inverted=True)]
    (reading,) = note_on_display(channels, (2, 1, 0), 8)
    assert reading.startswith('The file wants channels 1 "R" and 3 "B" shown inverted')
    assert note_on_display(channels, (1,), 8) == ()
    dim = [Channel(name, brightest=end) for name, end in (("R", 255), ("G", 4095), ("B", 99))]
    (reading,) = note_on_display(dim, (0, 1, 2), 16)
    assert reading.startswith("The file shows values up to 4095 of 65535 as the brightest")
    assert note_on_display(dim, (0,), 8) == ()


def test_wanted_ones_are_taken_by_name_or_number_and_said() -> None:
    indices, (reading,) = choose_channels("a.tif", MARKERS, ("cy5", "2", "DAPI"))
    assert indices == (2, 1, 0)
    assert reading.startswith('Channels 3 "Cy5", 2 "FITC" and 1 "DAPI" of 3 are taken as red,')

    indices, (reading,) = choose_channels("a.tif", MARKERS, ("FITC",))
    assert indices == (1,)
    assert reading == (
        'Channel 2 "FITC" of 3 is read as grey, as was asked for;'
        ' --channels takes others: 1 "DAPI" and 3 "Cy5".'
    )


def test_a_channel_called_by_a_number_comes_before_the_number() -> None:
    assert choose_channels("a.tif", named("3", "1", "2"), ("1",))[0] == (1,)


def test_a_channel_that_is_not_there_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match=r'no channel \'GFP\'.*1 "DAPI", 2 "FITC" and 3 "Cy5"'):
        choose_channels("a.tif", MARKERS, ("GFP",))
    with pytest.raises(UsageError, match="no channel '4'"):
        choose_channels("a.tif", MARKERS, ("4",))
    with pytest.raises(UsageError, match="2 of its channels are called 'CD3'"):
        choose_channels("a.tif", named("CD3", "CD3", "CD8"), ("CD3",))


def test_a_panel_of_forty_markers_is_named_in_part() -> None:
    panel = [Channel(f"marker {chr(97 + number % 26)}") for number in range(43)]
    with pytest.raises(RefusedSourceError, match=r"43 channels.* and 27 more"):
        choose_channels("a.tif", panel)


def test_colours_are_read_as_ome_and_omero_write_them() -> None:
    assert color_of_ome("-16776961") == (255, 0, 0)
    assert color_of_ome("16711935") == (0, 255, 0)
    assert color_of_ome("65535") == (0, 0, 255)
    assert color_of_ome("-1") == WHITE
    assert color_of_ome(None) is None
    assert color_of_ome("red") is None
    assert color_of_hex("FF8000") == (255, 128, 0)
    assert color_of_hex("#0000ff") == BLUE
    assert color_of_hex("F0") is None
    assert color_of_hex(None) is None
