"""``slidecam serve``: the local service, and the page in the browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidecam.cli.app import Device, Json, Trust, app
from slidecam.cli.terminal import Terminal

if TYPE_CHECKING:
    from slidecam.server import Endpoint
    from slidecam.server.page_links import PageDoor


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
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            help="Another name that browsers call it by, through a tunnel or proxy:"
            " localhost:9000; repeat for more."
        ),
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Serve QuPath and the browser on this machine: pictures, slides, jobs. Stop it with Ctrl-C."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.extras import need

        need("server")
        from slidecam.server import ServeSpec
        from slidecam.server import serve as listen
        from slidecam.sources.discovery import sample_folder

        bundle, usual = sample_folder() / "bundle", [sample_folder(), Path()]
        if model:
            bundle, usual = Path(model), [Path()]
        roots = tuple(root or usual)
        names = tuple(host_name or ())
        spec = ServeSpec(bundle, roots, out, port, device=device, trust=trust, host_names=names)

        def ready(endpoint: Endpoint, file: Path, door: PageDoor) -> None:
            _announce(terminal, endpoint, file, door, json=json)
            if open_page:
                # Other users see what a browser is started with: a file that they cannot read.
                typer.launch(str(door.file))

        terminal.say(f"Loading {bundle} …")
        try:
            listen(spec, ready)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _announce(
    terminal: Terminal, endpoint: Endpoint, file: Path, door: PageDoor, *, json: bool
) -> None:
    if json:
        places = {"url": endpoint.url, "file": str(file), "page": str(door.file)}
        terminal.line({"event": "Serving", **places})
        return
    page = f"Page: open {door.file} in a browser."
    if _is_seen():
        page = f"Page (this link works once):\n{door.link}\nLater: open {door.file}"
    terminal.say(f"{page}\nFor programs: {file}\nStop it with Ctrl-C.")


def _is_seen() -> bool:
    """Whether what is said goes to a person's terminal: a file of it may be read by others."""
    return sys.stdout.isatty()
