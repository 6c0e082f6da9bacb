"""Room 1. Registers `.obic` with Pillow once a program has imported both, in any order; neither
import loads the other.

Pillow looks for no plugins by itself: each has to be imported. Doing so in `import obic` would load
Pillow for `obic info` too. So the first import of `PIL.Image` is watched, and the plugin follows
it.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PLUGIN = "obic.pillow_plugin"


class PillowWatch:
    """A finder of `sys.meta_path` that finds `PIL.Image` where it is, and is gone then."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "PIL.Image":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def and_then_the_plugin(module: ModuleType) -> None:
                execute(module)
                import_module(PLUGIN)

            spec.loader.exec_module = and_then_the_plugin  # type: ignore[method-assign] # of this one loader
        return spec


def watch() -> None:
    """Register the format now if Pillow is loaded, else when it is."""
    if "PIL.Image" in sys.modules:
        import_module(PLUGIN)
    else:
        sys.meta_path.insert(0, PillowWatch())
