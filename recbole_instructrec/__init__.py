"""InstructRec for RecBole: a sequential recommender that reads behaviour, context and plain words.

Importing this package mends RecBole 1.2.1 for today's libraries
(:mod:`recbole_instructrec.compat`) and registers the model
(:mod:`recbole_instructrec.registry`); after that every entry point of RecBole
accepts ``model="InstructRec"``.
"""

from recbole_instructrec.version import __version__

__all__ = ["__version__"]


def _start() -> None:
    from recbole_instructrec.openmp import wait_briefly

    wait_briefly()  # before torch is imported

    import recbole

    from recbole_instructrec import registry

    registry.check_version(recbole.__version__)

    from recbole_instructrec import compat

    compat.apply()
    registry.register()


_start()
