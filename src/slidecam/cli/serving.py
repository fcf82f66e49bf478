"""``slidecam serve``: the local service, and the page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidecam.cli.app import Device, Json, Trust, app
from slidecam.cli.terminal import Terminal

if TYPE_CHECKING:
    from slidecam.server import Endpoint


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Folder of the bundle that stays warm. \\[default: the sample's]",
        ),
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose slides may be opened; repeat for more. \\[default: here]"),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results of jobs.")
    ] = Path("slidecam-results"),
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 finds a free one."),
    ] = 0,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    device: Device = "auto",
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Serve QuPath and the browser on this machine: pictures, slides, jobs. Stop it with Ctrl-C."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.errors import UsageError
        from slidecam.sources.discovery import sample_folder

        try:
            from slidecam.server import ServeSpec
            from slidecam.server import serve as listen
        except ImportError as error:
            raise UsageError(
                f"The server is not installed ({error}).",
                'pip install "slidecam[server]"',
            ) from error
        bundle, usual = sample_folder() / "bundle", [sample_folder(), Path()]
        if model:
            bundle, usual = Path(model), [Path()]
        roots = tuple(root or usual)
        spec = ServeSpec(bundle, roots, out, port, device=device, trust=trust)

        def ready(endpoint: Endpoint, file: Path) -> None:
            _announce(terminal, endpoint, file, json=json)
            if open_page:
                typer.launch(_page(endpoint))

        terminal.say(f"Loading {bundle} …")
        try:
            listen(spec, ready)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _announce(terminal: Terminal, endpoint: Endpoint, file: Path, *, json: bool) -> None:
    if json:
        terminal.line({"event": "Serving", "url": endpoint.url, "file": str(file)})
        return
    terminal.say(
        f"Page (the link holds the key):\n{_page(endpoint)}\nFor programs: {file}\nStop it with"
        " Ctrl-C."
    )


def _page(endpoint: Endpoint) -> str:
    # What follows the # never leaves the browser, so that the token stands in no log.
    return f"{endpoint.url}/#token={endpoint.token}"
