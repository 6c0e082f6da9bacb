"""Higher rooms import lower ones, the light commands stay light, and a name means one thing."""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from obic.backends import has_torch
from shared.places import ROOT, TESTS

PACKAGE = ROOT / "obic"

ROOMS = [  # the first prefix that fits a module's path tells its room
    (0, ("errors", "constants", "progress")),
    (1, ("container", "pillow_watch")),
    (2, ("masks", "entropy", "layers", "connected", "rate", "looks", "shape", "tiles", "prompts")),
    (3, ("images", "metadata", "metrics", "weights", "backends", "inference", "nn", "segment")),
    (4, ("alpha", "encoder", "decoder", "codec", "networks", "recipe", "api", "pillow_plugin", "web")),
    (5, ("__init__", "__main__", "cli", "ray")),
    (6, ("train", "bench")),
]
HEAVY = {"numpy", "torch", "torchvision", "PIL", "constriction"}
ALLOWED = {0: set(), 1: {"msgpack"}, 2: {"numpy"}, 5: {"click"}}  # besides the standard library, at the top of a file
FILES = sorted(PACKAGE.rglob("*.py"))


def room(name):
    """The room of a module such as "obic.container.demux"; of the package itself, 5."""
    first = [*name.split("."), "__init__"][1]
    return next(number for number, prefixes in ROOMS if first in prefixes)


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts)


def imports(tree):
    """(module, whether it runs when the file is imported) of every import."""
    inside = {
        child
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(function)
    }
    typing_only = {
        child
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for child in ast.walk(branch)
    }
    for node in ast.walk(tree):
        at_top = node not in inside and node not in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, at_top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (PACKAGE.parent / Path(*whole.split("."))).with_suffix(".py").exists()
                yield (whole if is_module else node.module), at_top


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path):
    own = room(name_of(path))
    for module, at_top in imports(ast.parse(path.read_text())):
        top = module.split(".")[0]
        if top == "obic":
            beside = own == 6 and module.split(".")[1] in ("train", "bench")
            assert room(module) <= own, f"{name_of(path)} imports {module}, which is a higher room"
            assert room(module) < 6 or beside, f"{name_of(path)} imports {module}"
        elif at_top and own in ALLOWED and top not in sys.stdlib_module_names:
            coder = name_of(path) == "obic.entropy.coder" and top == "constriction"
            assert top in ALLOWED[own] or coder, f"{name_of(path)} imports {module} at its top"
        if top == "constriction":
            assert name_of(path) == "obic.entropy.coder"


def test_no_two_modules_have_one_name():
    names = Counter(path.stem for path in FILES if not path.stem.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


WHOLE = {"format", "repository"}  # folders of tests of no single part


def test_tests_have_the_folders_of_the_package():
    folders = {path.parent for path in TESTS.rglob("test_*.py")}
    assert {folder.parent for folder in folders} == {TESTS}
    parts = {path.stem for path in PACKAGE.iterdir()}
    assert {folder.name for folder in folders} - WHOLE <= parts


OWN_TO_EACH = {"EXAMPLES", "HEAD", "PAGE"}  # of each command's help, of each page that the benchmark writes


def constants(path):
    """The names of a module's constants that are defined there."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(each, ast.Name) and each.id.isupper():
                    yield each.id


def test_no_constant_has_two_meanings():
    places = defaultdict(list)
    for path in FILES:
        for name in set(constants(path)):
            places[name].append(name_of(path))
    assert {name: each for name, each in places.items() if len(each) > 1 and name not in OWN_TO_EACH} == {}


@pytest.mark.parametrize("folder", ["train", "bench"])
def test_what_is_shared_imports_none_that_share_it(folder):
    for path in (PACKAGE / folder / "common").rglob("*.py"):
        for module, _ in imports(ast.parse(path.read_text())):
            beside = module.startswith(("obic.train.", "obic.bench."))
            assert not beside or module.split(".")[2] == "common", f"{name_of(path)} imports {module}"


def modules_after(code):
    script = f"import sys\n{code}\nprint(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import obic, obic.errors, obic.constants",
        "from obic.container import mux, open_container\n"
        "data = mux(width=9, height=9, model=1, mask=b'm', qualities=(1, 2), streams={0: b'b', 1: b'o'})\n"
        "open_container(open_container(data).subset(['object'])).verify()",
        "import obic.cli.main, obic.cli.info",
    ],
)
def test_light_parts_load_nothing_heavy(code):
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize("command", ["decode", "extract", "encode", "mask", "report"])
def test_numpy_alone_codes_and_decodes(tmp_path, command):
    """A small picture through each command loads no PyTorch, and takes little memory."""
    golden = PACKAGE.parent / "tests" / "golden" / "v3"
    source, more = golden / "two-layers.obic", {"extract": ["--layer", "1"]}.get(command, [])
    if command in ("encode", "mask"):
        source, more = golden / "two-layers.png", ["--mask", "none"] if command == "encode" else []
    weights = PACKAGE.parent / "weights" if command == "mask" else golden
    line = [command, str(source), "-o", str(tmp_path / ("out.obic" if command == "encode" else "out.png")), *more]
    script = (
        f"import os\nos.environ.update(OBIC_WEIGHTS={str(weights)!r}, OBIC_BACKEND='auto')\n"
        f"from obic.cli.main import main\nassert main({line!r}) == 0\n"
        "status = open('/proc/self/status').read() if sys.platform == 'linux' else 'VmHWM: 0 kB'\n"
        "assert int(status.partition('VmHWM:')[2].split()[0]) < 250_000"
    )
    assert "torch" not in modules_after(script)


def test_entropy_coding_needs_no_torch():
    assert not modules_after("import obic.masks, obic.entropy") & {"torch", "torchvision", "PIL"}


@pytest.mark.skipif(not has_torch(), reason="PyTorch is not installed")
@pytest.mark.parametrize("name", ["codec", "segmenter", "vivid"])
def test_training_needs_no_more_than_a_plain_pytorch_has(name):
    missing = ("constriction", "msgpack", "click", "pillow_heif", "pillow_jxl", "bjontegaard", "matplotlib")
    blocked = f"for name in {missing}: sys.modules[name] = None"
    assert "torch" in modules_after(f"{blocked}\nimport obic.train.{name}.__main__")
