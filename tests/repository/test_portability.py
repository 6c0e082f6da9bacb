"""Nothing here needs POSIX: no module, no call, no path. Checked on any system, by taking POSIX
away."""

import ast
import ntpath
import os
import subprocess
import sys

import pytest

from obic.backends import has_torch
from obic.cli.destinations import local_name, stems
from obic.container import is_address
from shared.places import ROOT

FILES = sorted((ROOT / "obic").rglob("*.py"))
MODULES = [
    "crypt",
    "fcntl",
    "grp",
    "nis",
    "ossaudiodev",
    "posix",
    "pty",
    "pwd",
    "readline",
    "resource",
    "spwd",
    "syslog",
    "termios",
    "tty",
]
NAMES = {  # what Windows lacks, from the "Availability" notes of the standard library's documentation
    "os": "chown chroot fchdir fchmod fchown fork forkpty getgid getegid geteuid getuid getpgid getloadavg killpg "
    "lchown major mkfifo mknod nice openpty posix_fadvise posix_spawn pread preadv pwrite pwritev register_at_fork "
    "sched_getaffinity sched_setaffinity sendfile setgid setsid setuid statvfs sysconf tcgetpgrp ttyname uname wait "
    "waitid WNOHANG O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC",
    "signal": "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 alarm "
    "pthread_kill pthread_sigmask setitimer sigwait",
    "select": "epoll kqueue poll",
    "time": "tzset clock_settime",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_call_is_posix_only(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.attr not in NAMES.get(node.value.id, "").split(), f"{node.value.id}.{node.attr}"
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = node.module if isinstance(node, ast.ImportFrom) else None
        assert not {module, *(names if module is None else [])} & set(MODULES)
        assert not set(names) & set(NAMES.get(module, "").split())


@pytest.mark.skipif(not has_torch(), reason="PyTorch is not installed")
def test_everything_is_imported_without_the_modules_of_posix():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    modules = [name for name in modules if not name.endswith("__main__") and ".train" not in name]
    program = (
        "import click, numpy, PIL.Image, torch, sys, importlib\n"  # these know their way about every system
        f"sys.modules.update(dict.fromkeys({MODULES!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_with_drives_and_backslashes(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "path", ntpath)
        names = [*stems([r"C:\photos\x.png"]).values(), *stems(["C:/photos/x.png"]).values()]
        local = [local_name(r"\\host\share\x.png"), local_name("https://example.org/a/x.png")]
        addresses = [is_address(path) for path in (r"C:\x.png", "C:/x.png", "C://x.png", "https://example.org/x.png")]
    assert names == [r"C:\photos\x", "C:/photos/x"]
    assert local == ["x.png", "x.png"]
    assert addresses == [False, False, False, True]
