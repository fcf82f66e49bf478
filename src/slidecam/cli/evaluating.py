"""``slidecam evaluate``: a classifier measured, on labelled pictures or on annotated slides."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slidecam.cli.app import Device, Json, MinShare, MostOther, Trust, app
from slidecam.cli.predicting import Seen, chooses_picture
from slidecam.cli.terminal import EXIT_PARTLY, Terminal

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from slidecam.evaluation.slides import SlideEvaluation, SlideEvaluationSpec
    from slidecam.learning.evaluation.comparing import Comparison
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.steps import Step
    from slidecam.viewing import PictureView

    Measuring = Generator[Step, None, Evaluation | SlideEvaluation]


MIN_SHARE, MOST_OTHER, THRESHOLD, BATCH = 0.5, 0.2, "otsu", 16
HEEDED_BY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "part": ("data",),
        "map": ("data", "slides", "runs"),
        "group-pattern": ("data",),
        "only-pattern": ("data",),
        "min-share": ("slides", "runs"),
        "most-other": ("slides", "runs"),
        "mpp": ("slides",),
        "class": ("mask",),
        "threshold": ("mask",),
        "batch": ("data", "slides"),
    }
)
"""What each option of evaluate says something of."""

# As in slidecam.learning, which loads torch; a test holds the two together.
Part = Literal["auto", "train", "val", "test", "all"]


@app.command(
    help=(
        "Measure a bundle on pictures (--data) or annotated slides (--slides, --runs), or heat on"
        " a mask (--mask).\n\nEvery figure has its 95 % interval. --json prints one object."
    )
)
@chooses_picture
def evaluate(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...",
            help=(
                "Folder of a model bundle; several are set side by side on --data. With --mask, a"
                " volume's folder of a run."
            ),
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Class folders of pictures, train/val/test folders of them, or a CSV."),
    ] = None,
    slides: Annotated[
        list[str] | None,
        typer.Option(help="Slide, or folder of slides, with --annotations; repeat for more."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder that predict wrote, with --annotations.")
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="GeoJSON of the only slide, or a folder of <stem>.geojson for each."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Of a volume: NIfTI, NRRD or MGZ that its heatmaps are held against."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="With --mask: class to measure; repeat for more."),
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            help=(
                "With --mask: where heat counts for Dice: otsu, mean+1.5, quantile:0.9,"
                " fraction:0.5."
            )
        ),
    ] = THRESHOLD,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for evaluation.html, .json and predictions.csv."),
    ] = None,
    part: Annotated[
        Part,
        typer.Option(
            help="Part of --data. auto: the test part, of the bundle's own data too; else all."
        ),
    ] = "auto",
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="THEIRS=OURS: a class of the data and the bundle's name for it.",
        ),
    ] = None,
    group_pattern: Annotated[
        str,
        typer.Option(
            help="Regular expression with (?P<group>…) for the patient. \\[default: the bundle's]"
        ),
    ] = "",
    only_pattern: Annotated[
        str | None,
        typer.Option(
            help=(
                "Regular expression that paths of pictures must match to be measured; '' takes"
                " all. \\[default: the bundle's]"
            ),
            show_default=False,
        ),
    ] = None,
    min_share: MinShare = MIN_SHARE,
    most_other: MostOther = MOST_OTHER,
    mpp: Annotated[
        float | None,
        typer.Option(
            help="µm per level-0 pixel of --slides, where the file does not say or is wrong."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures or tiles computed at once.")] = BATCH,
    device: Device = "auto",
    trust: Trust = False,
    json: Json = False,
    *,
    seen: Seen,
) -> None:
    """Measure a bundle on pictures or annotated slides, or heat on a mask.

    Every figure has its 95 % interval. --json prints one object.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import pairs_of
        from slidecam.files import check_folder
        from slidecam.models.bundle import open_bundle

        view = seen()
        bundle = bundles[0]
        if len(bundles) > 1:
            _check_comparable(bundles, data)
        _check_seen(view, runs or mask)
        _check_heeded(
            {"data": data, "slides": slides, "runs": runs, "mask": mask},
            {
                "part": part != "auto",
                "map": rename,
                "group-pattern": group_pattern,
                "only-pattern": only_pattern is not None,
                "min-share": min_share != MIN_SHARE,
                "most-other": most_other != MOST_OTHER,
                "mpp": mpp is not None,
                "class": classes,
                "threshold": threshold != THRESHOLD,
                "batch": batch != BATCH,
            },
        )
        if out is not None:
            check_folder(out)
        if mask is not None:
            _check_alone(data, slides, runs, annotations)
            _evaluate_volume(terminal, bundle, mask, out, (tuple(classes or ()), threshold, json))
            return
        _check_inputs(data, slides, runs, annotations)
        _check_data(data, out)
        renamed = pairs_of("--map", rename or [])
        opened_all = [open_bundle(each, trust=trust) for each in bundles]

        from slidecam.cli.output import evaluation_facts, slide_evaluation_facts
        from slidecam.evaluation.slides import SlideEvaluation, SlideEvaluationSpec
        from slidecam.foreground import LabelRule
        from slidecam.learning.evaluation.bundle import BundleEvaluationSpec, evaluate_bundle
        from slidecam.learning.evaluation.comparing import compare_bundles
        from slidecam.models.backends import choose_device
        from slidecam.runs.spec import PredictSpec

        if data is not None:
            of_data = BundleEvaluationSpec(part, group_pattern, only_pattern, renamed, batch, view)
            if len(bundles) > 1:
                comparing = compare_bundles(opened_all, data, choose_device(device), of_data, out)
                _show_comparison(terminal, terminal.walk(comparing, silent=True), out, json=json)
                return
            used = choose_device(device)
            work: Measuring = evaluate_bundle(opened_all[0], data, used, of_data, out)
        else:
            predict = PredictSpec(mpp=mpp, batch=batch, device=device, trust=trust, **view.chosen)
            spec = SlideEvaluationSpec(LabelRule(min_share, most_other), renamed, predict)
            work = _on_slides(bundle, runs or slides or (), annotations or Path(), spec, out)
        measured = terminal.walk(work, silent=True)
        if json:
            terminal.line(measured.record())
        elif isinstance(measured, SlideEvaluation):
            terminal.table(str(bundle), slide_evaluation_facts(measured))
        else:
            terminal.table(str(bundle), evaluation_facts(measured))
        if out is not None:
            terminal.look_at(out / "evaluation.html", *out.glob("slides.html"))
        if not measured.is_whole:
            raise typer.Exit(EXIT_PARTLY)


def _check_inputs(
    data: Path | None,
    slides: Sequence[str] | None,
    runs: Path | None,
    annotations: Path | None,
) -> None:
    from slidecam.errors import UsageError

    if sum(map(bool, (data, slides, runs))) != 1:
        raise UsageError(
            "What to measure on is not clear.",
            "Pass one of --data, --slides, --runs and --mask.",
        )
    if data is None and annotations is None:
        raise UsageError(
            "--slides and --runs need to know what is what.",
            "Pass --annotations DRAWN.geojson.",
        )
    if data is not None and annotations is not None:
        raise UsageError(
            "--annotations says nothing of --data.",
            "Pass --slides or --runs with it, or leave it out.",
        )


def _check_data(data: Path | None, out: Path | None) -> None:
    from slidecam.files import refuse_inputs, refuse_missing

    if data is not None:
        refuse_missing(data)
        refuse_inputs(filter(None, [out]), [data])


def _check_comparable(bundles: Sequence[Path], data: Path | None) -> None:
    from slidecam.errors import UsageError

    if data is None:
        problem = f"{len(bundles)} bundles are set side by side on pictures alone."
        raise UsageError(problem, "Pass --data, or name one bundle.")


def _show_comparison(
    terminal: Terminal, compared: Comparison, out: Path | None, *, json: bool
) -> None:
    """Print a table of the bundles and one of their differences, or one object."""
    if json:
        terminal.line(compared.record())
    else:
        terminal.rows("bundles", compared.rows())
        terminal.rows("differences", [each.row() for each in compared.differences])
    if out is not None:
        terminal.look_at(out / "comparison.html")
    if not compared.is_whole:
        raise typer.Exit(EXIT_PARTLY)


def _check_heeded(sources: Mapping[str, object], given: Mapping[str, object]) -> None:
    """Refuse an option that says nothing of what is measured on."""
    from slidecam.errors import UsageError

    named = [name for name, value in sources.items() if value]
    if len(named) != 1:
        return  # which of them is meant is not clear, and refused elsewhere
    for option, value in given.items():
        heeding = HEEDED_BY[option]
        if value and named[0] not in heeding:
            words = " and ".join(f"--{name}" for name in heeding)
            raise UsageError(
                f"--{option} is for {words}, and says nothing of --{named[0]}.", "Leave it out."
            )


def _check_seen(view: PictureView, measured_already: Path | None) -> None:
    """Refuse to choose a picture of what was classified before."""
    from slidecam.errors import UsageError

    if view.chosen and measured_already is not None:
        words = " and ".join(f"--{name}" for name in view.chosen)
        raise UsageError(
            f"{words} is for --data and --slides.",
            "Leave it out: a run says how its slides were seen.",
        )


def _check_alone(*others: object) -> None:
    from slidecam.errors import UsageError

    if any(others):
        raise UsageError(
            "--mask is for a volume's run alone.",
            "Leave out --data, --slides, --runs and --annotations.",
        )


def _evaluate_volume(
    terminal: Terminal,
    run: Path,
    mask: Path,
    out: Path | None,
    how: tuple[tuple[str, ...], str, bool],
) -> None:
    from slidecam.cli.output import volume_facts
    from slidecam.evaluation.volumes import evaluate_volume, write_evaluation
    from slidecam.thresholds import parse_threshold

    classes, threshold, json = how
    measured = evaluate_volume(run, mask, classes, parse_threshold(threshold))
    if json:
        terminal.line(measured.record())
    else:
        facts, rows = volume_facts(measured)
        terminal.table(str(run), facts)
        terminal.rows("figures", rows)
    if out is not None:
        terminal.look_at(write_evaluation(measured, out))


def _on_slides(
    bundle: Path,
    slides_or_runs: Path | Sequence[str],
    annotations: Path,
    spec: SlideEvaluationSpec,
    out: Path | None,
) -> Measuring:
    """Measure slides, or the runs in a folder, and write what is to be kept."""
    from slidecam.evaluation.slides import (
        evaluate_runs,
        evaluate_slides,
        write_slide_evaluation,
    )
    from slidecam.models import open_bundle

    if isinstance(slides_or_runs, Path):
        measured = yield from evaluate_runs(bundle, slides_or_runs, annotations, spec)
    else:
        measured = yield from evaluate_slides(bundle, slides_or_runs, annotations, spec)
    if out is not None:
        write_slide_evaluation(
            measured, out, open_bundle(bundle, trust=spec.predict.trust).card.name
        )
    return measured


@app.command()
def pooling(
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV of volumes' runs and their classes: run,label.", show_default=False
        ),
    ],
    negative: Annotated[
        str, typer.Option(help="Class that says that nothing is there (no tumour).")
    ] = "",
    json: Json = False,
) -> None:
    """Try every rule that makes one call of a volume's slices, on volumes whose class is known.

    The best comes first; write it into a recipe's or a card's volume.pooling. Try it on volumes
    that neither taught the classifier nor will measure it.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.evaluation.pooling import compare_poolings, read_known_volumes

        volumes = read_known_volumes(table)
        tried = compare_poolings(volumes, negative)
        if json:
            terminal.line({"volumes": len(volumes), "poolings": [each.record() for each in tried]})
            return
        rows = [
            {
                "pooling": str(each.pooling),
                "right": f"{each.right} of {len(volumes)}",
                "log loss": f"{each.log_loss:.3f}",
                "wrong": "; ".join(each.wrong(volumes)),
            }
            for each in tried
        ]
        terminal.rows("poolings", rows)
