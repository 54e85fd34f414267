"""Imported once by the fork-server, so that every child has it all at birth.  Nothing here may start a thread,
touch a GPU, or open the blob store."""

import gc

import worker.executors.child  # noqa: F401  # and with it everything that a task may need
from worker.executors import kernel

# It would notice by itself that the worker has died, but for tasks that hang: they keep a descriptor open for it.
kernel.end_with_parent()
gc.collect()
gc.freeze()  # a collection in a child would write to, and so copy, every page that it shares with the fork-server
