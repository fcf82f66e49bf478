"""A plain Deep Zoom server, as OpenSlide's own example is one: what slidecam's is held against.

It opens one slide, cuts its tiles by openslide-python's ``DeepZoomGenerator`` and knows neither
token nor limit. Its port is the one line that it prints.

    python benchmarks/plain_deepzoom.py slide.svs --tile 512 --quality 85
"""

from __future__ import annotations

import argparse
import socket
import sys
from io import BytesIO

import openslide
import uvicorn
from fastapi import FastAPI, Response
from openslide.deepzoom import DeepZoomGenerator


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--quality", type=int, default=85)
    asked = parser.parse_args()
    zoom = DeepZoomGenerator(openslide.OpenSlide(asked.slide), asked.tile, overlap=0)
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(plain_app(zoom, asked.quality), log_level="warning", http="h11")
    uvicorn.Server(config).run(sockets=[listener])


def plain_app(zoom: DeepZoomGenerator, quality: int) -> FastAPI:
    """Return the application: one route."""
    app = FastAPI()

    @app.get("/slide_files/{level}/{column}_{row}.jpeg")
    def tile(level: int, column: int, row: int) -> Response:
        file = BytesIO()
        zoom.get_tile(level, (column, row)).save(file, "jpeg", quality=quality)
        return Response(file.getvalue(), media_type="image/jpeg")

    return app


if __name__ == "__main__":
    main()
