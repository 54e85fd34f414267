"""Foreign code in the process that reads what users send would find neither network nor processes nor secrets."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from worker.executors import confinement

pytestmark = pytest.mark.skipif(confinement.missing() is not None, reason=str(confinement.missing()))

TRIES = """
def socket(): import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)
def socket_6(): import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
def socket_local(): import socket; socket.socket(socket.AF_UNIX)
def fork(): os.fork() or os._exit(0)
def program(): os.execv("/bin/true", ["/bin/true"])
def subprocess(): import subprocess; subprocess.run(["/bin/true"])
def signal_to_parent(): os.kill(os.getppid(), 0)
def more_time(): import resource; resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
def more_time_for_parent(): import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (10**6, 10**6))
def namespace(): check(libc.unshare(0x10000000))
def trace(): check(libc.ptrace(16, os.getppid(), 0, 0))
"""
ALLOWED = """
def thread(): import threading; t = threading.Thread(target=print); t.start(); t.join()
def pool():
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(4) as pool: assert sum(pool.map(abs, range(100))) == 4950
def files(): Path("x").write_text("y"); assert Path("x").read_text() == "y"
def look_at_limits(): import resource; resource.getrlimit(resource.RLIMIT_CPU)
def signal_to_self(): os.kill(os.getpid(), 0)
def torch():
    import torch
    assert float((torch.ones(500, 500) @ torch.ones(500, 500)).sum()) == 500**3
"""
SECRET = "postgresql://regraft:hunter2@db/regraft"


def confined(folder, body, *, network=False, cpu_s=confinement.CPU_S, first=""):
    """Runs `body` in a process that has confined itself to `folder`."""
    code = f"""
import ctypes, json, os
from pathlib import Path
{first}
from worker.executors import confinement
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result: raise OSError(ctypes.get_errno(), "refused")
folder = Path({str(folder)!r})
os.chdir(folder)
confinement.CPU_S = {cpu_s} + int(sum(os.times()[:2]))
confinement.confine(folder, [], 8 * 2**30, network={network})
{textwrap.dedent(body)}
"""
    environment = os.environ | {"REGRAFT_DATABASE_URL": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "HTTPS_PROXY": "p"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, cwd="/"
    )


def refusals(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


EACH = """
told = {}
for name, attempt in [(n, f) for n, f in list(globals().items()) if callable(f) and n in NAMES]:
    try: attempt(); told[name] = None
    except Exception as error: told[name] = type(error).__name__
print(json.dumps(told))
"""


def names(functions):
    return [line[4:].partition("(")[0] for line in functions.splitlines() if line.startswith("def ")]


def test_what_it_cannot_do(tmp_path):
    told = refusals(confined(tmp_path, f"NAMES = {names(TRIES)}\n{TRIES}{EACH}"))
    assert set(told) == set(names(TRIES))
    assert told.pop("more_time") == "ValueError"  # Python's word for a limit that may not be raised
    assert set(told.values()) == {"PermissionError"}, told


def test_what_it_still_can(tmp_path):
    told = refusals(confined(tmp_path, f"NAMES = {names(ALLOWED)}\n{ALLOWED}{EACH}", first="import torch"))
    assert set(told) == set(names(ALLOWED))
    assert set(told.values()) == {None}, told


def test_the_network_stays_where_it_is_needed(tmp_path):
    tries = "def socket(): import socket; socket.socket()\ndef fork(): os.fork() or os._exit(0)\n"
    told = refusals(confined(tmp_path, f"NAMES = ['socket', 'fork']\n{tries}{EACH}", network=True))
    assert told == {"socket": None, "fork": "PermissionError"}


def test_its_environment_is_forgotten(tmp_path):
    """Also where the kernel shows it."""
    body = "print(json.dumps([dict(os.environ), Path('/proc/self/environ').read_text().replace(chr(0), ' ')]))"
    environment, shown = refusals(confined(tmp_path, body))
    assert SECRET not in f"{environment} {shown}"
    assert "HTTPS_PROXY" not in environment
    assert environment["HOME"] == environment["TMPDIR"] == str(tmp_path)
    assert environment["PATH"] == os.environ["PATH"]


def test_computing_without_end_ends(tmp_path):
    assert confined(tmp_path, "while True: pass", cpu_s=3).returncode == -signal.SIGXCPU


def test_a_file_cannot_outgrow_the_disk(tmp_path):
    """And that counts as a full disk, not as a fault of the file."""
    body = """
from worker.runtime.contract import Retry
from worker.ingest import disk
try:
    with disk.room_for("it"), open("x", "wb") as file:
        file.truncate(2**60)
except Retry:
    print(json.dumps("full"))
"""
    assert refusals(confined(tmp_path, body)) == "full"
