"""Puts the viewer into a wheel, as `obic/_site`, if `make web` has built it; models are made when
they are wanted."""

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Viewer(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        if version == "editable":  # finds it in the checkout
            return
        files = [path for path in Path(self.root, "web", "site").glob("*") if path.is_file()]
        build_data["force_include"] |= {str(path): f"obic/_site/{path.name}" for path in files}
