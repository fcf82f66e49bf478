"""One slide's run on disk.

A Zarr v3 group that is committed batch by batch, and `run.json` beside it.

Rows of the store are in streaming order, so that a batch is one contiguous piece. Every write
replaces whole files, and the status of a batch is written last: a run that is killed at any moment
holds only whole batches, and a resumed one computes exactly the missing ones, and those again of
which tiles had failed.

The store itself remembers the plan it was made by, so that it does not depend on ``run.json``,
which people may open and harm. One process at a time works on it: a lock that the system drops with
the process keeps others out. Where results go to a URL, a `Mirror` puts them there, and a lease is
the lock.
"""

from slidecam.store.folder import (
    RUN_FILE,
    WHEN_WHOLE,
    find_runs,
    has_run,
    kept_tissue,
    lock_run,
    open_or_create,
    read_attributes,
    read_run,
    spoil_run,
    write_run,
)
from slidecam.store.layout import StorePlan
from slidecam.store.mirror import Mirror, Outlet
from slidecam.store.run_store import (
    STORE_FOLDER,
    RunStore,
    Status,
    TileResults,
)

__all__ = [
    "RUN_FILE",
    "STORE_FOLDER",
    "WHEN_WHOLE",
    "Mirror",
    "Outlet",
    "RunStore",
    "Status",
    "StorePlan",
    "TileResults",
    "find_runs",
    "has_run",
    "kept_tissue",
    "lock_run",
    "open_or_create",
    "read_attributes",
    "read_run",
    "spoil_run",
    "write_run",
]
