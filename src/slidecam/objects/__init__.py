"""Files and folders in object stores and behind other URLs.

`place` is a file or folder there, through fsspec; `kept` is what of it lies on this machine.
"""

from slidecam.objects.kept import (
    begun,
    fetched,
    inside,
    is_alive,
    let_go_of,
    said,
    working_folder,
)
from slidecam.objects.place import (
    Location,
    all_at_once,
    as_given,
    from_everywhere,
    is_url,
    put_folder,
    remote_errors,
    url_of,
)

__all__ = [
    "Location",
    "all_at_once",
    "as_given",
    "begun",
    "fetched",
    "from_everywhere",
    "inside",
    "is_alive",
    "is_url",
    "let_go_of",
    "put_folder",
    "remote_errors",
    "said",
    "url_of",
    "working_folder",
]
