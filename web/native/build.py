"""Compiles the C of this folder to WebAssembly, in `../src/wasm.ts`: `make wasm`.

The result is committed, so that nobody needs a C compiler for the package. The compiler is clang, from the PyPI package
ziglang: the same bytes on every machine.
"""

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "src" / "wasm.ts"
COMPILER = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-freestanding", "-O3", "-nostdlib", "-Wall"]
LINKER = ["-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384"]
BASE = "-mcpu=mvp+bulk_memory+nontrapping_fptoint+sign_ext+mutable_globals"
MODULES = {  # name: source and features
    "coder": ("coder.c", BASE),
    "networks": ("networks.c", BASE),
    "networksSimd": ("networks.c", BASE + "+simd128"),
}


def compiled(source: str, features: str) -> bytes:
    """The module of a C file."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "module.wasm"
        subprocess.run([*COMPILER, features, *LINKER, HERE / source, "-o", result], check=True)
        return result.read_bytes()


def text() -> str:
    """The TypeScript module that holds them all."""
    lines = ["// Made by native/build.py from native/*.c: WebAssembly in base64. Do not edit.", ""]
    for name, (source, features) in MODULES.items():
        data = compiled(source, features)
        print(f"{name}: {len(data)} bytes", file=sys.stderr)
        lines.append(f'export const {name} = "{base64.b64encode(data).decode()}";')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
