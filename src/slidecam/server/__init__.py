"""A local HTTP door for QuPath and the browser: one warm model, jobs, pictures, slides.

For this machine's user alone.

It listens on 127.0.0.1 only. Whoever calls must know a token, which lies in a file that only the
user can read, and must call the server by its own name, so that a web page that rebinds its domain
to this machine gets nothing.
"""

from slidecam.server.guard import Limits
from slidecam.server.serving import (
    Endpoint,
    ServeSpec,
    endpoint_path,
    read_endpoint,
    serve,
)

__all__ = ["Endpoint", "Limits", "ServeSpec", "endpoint_path", "read_endpoint", "serve"]
