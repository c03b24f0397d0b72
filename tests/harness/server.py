"""Starts, restarts, kills and stops one Althing, or borrows a server that runs already.

With `ALTHING_TEST_BASE_URL` the tests speak to that server instead of starting one:
`ALTHING_TEST_SHARED_SECRET` and `ALTHING_TEST_REGISTRATION_TOKEN` are its secrets, and
`ALTHING_TEST_CONTROL` is an optional program that understands `start`, `stop`, `kill9` and `pid`.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from typing import Any

from .wire import Wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED_SECRET = "tests-shared-secret"
REGISTRATION_TOKEN = "tests-registration-token"
SERVER_NAME = "althing.test"
START_S, STOP_S = 30.0, 10.0
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ADDRESS = re.compile(r"(127\.0\.0\.1|\[::1\]):(\d+)")
# Below the kernel's ephemeral range (32768-60999), so that no outgoing connection can be sitting on
# the port when a killed server wants it back.
_PORTS = iter(range(20_000 + os.getpid() % 10_000, 32_000))


def borrowed() -> bool:
    """Whether the tests run against a server that they did not start."""
    return "ALTHING_TEST_BASE_URL" in os.environ


def binary() -> pathlib.Path:
    """The server under test: `ALTHING_TEST_BINARY`, or the newest of the usual build products."""
    if named := os.environ.get("ALTHING_TEST_BINARY"):
        return pathlib.Path(named).resolve()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [p for p in (target / "release/althing", target / "debug/althing") if p.exists()]
    if not built:
        raise FileNotFoundError("no althing binary: run `cargo build -p althing` first")
    return max(built, key=lambda p: p.stat().st_mtime)


def free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def toml(value: Any) -> str:
    """A TOML value. Only what configurations need: scalars, lists and inline tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    raise TypeError(f"no TOML for {value!r}")


class Borrowed:
    """A server that runs already; for proving scenarios right against another implementation."""

    engine = "external"

    def __init__(self) -> None:
        self.base_url = os.environ["ALTHING_TEST_BASE_URL"].rstrip("/")
        self.shared_secret = os.environ.get("ALTHING_TEST_SHARED_SECRET", SHARED_SECRET)
        self.registration_token = os.environ.get("ALTHING_TEST_REGISTRATION_TOKEN", REGISTRATION_TOKEN)
        self.metrics_url = os.environ.get("ALTHING_TEST_METRICS_URL", self.base_url)
        self.wire = Wire(self.base_url)

    @property
    def controllable(self) -> bool:
        return "ALTHING_TEST_CONTROL" in os.environ

    def _control(self, verb: str) -> str:
        done = subprocess.run(
            [os.environ["ALTHING_TEST_CONTROL"], verb], check=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    @property
    def pid(self) -> int:
        return int(self._control("pid"))

    def start(self) -> None:
        self._control("start")

    def kill9(self) -> None:
        self._control("kill9")

    def terminate(self) -> int:
        self._control("stop")
        return 0

    def stop(self) -> None:
        """Leaves it running: it is not ours."""

    def restart(self) -> None:
        self.terminate()
        self.start()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`althing` with these words and this server's configuration, whether it runs or not."""
        raise NotImplementedError("a borrowed server has commands of its own")

    def log_tail(self, lines: int = 60) -> str:
        return "(a borrowed server keeps its own log)"


class Server:
    """One Althing with its own data. Settings: dotted key to value, over the defaults below."""

    def __init__(
        self,
        engine: str = "embedded",
        settings: dict[str, Any] | None = None,
        *,
        store_url: str | None = None,
        data_dir: pathlib.Path | None = None,
        fixed_port: bool = False,
        listeners: list[dict[str, Any]] | None = None,
    ) -> None:
        self.engine = engine
        # Beyond the first, which clients (and `base_url`) use.
        self.more_listeners = listeners or []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="althing-test-"))
        self.data_dir = data_dir or self.dir / "data"
        self.shared_secret, self.registration_token = SHARED_SECRET, REGISTRATION_TOKEN
        self.port = free_port() if fixed_port else 0
        self.settings: dict[str, Any] = {
            "server_name": SERVER_NAME,
            "data_dir": str(self.data_dir),
            "public.base_url": "https://matrix.althing.test",
            "store.engine": engine,
            "registration.mode": "token",
            "registration.token": REGISTRATION_TOKEN,
            "registration.shared_secret": SHARED_SECRET,
            "limits.rate_limits": False,
            "media.max_upload": "2MiB",
            "federation.enabled": False,
        }
        if engine == "postgres":
            if store_url is None:
                raise ValueError("the postgres engine needs a database")
            self.settings["store.url"] = store_url
        self.settings.update(settings or {})
        self.base_url = ""
        self.wire = Wire("http://127.0.0.1:1")
        self.process: subprocess.Popen[bytes] | None = None
        self._listening = threading.Event()
        self._reader: threading.Thread | None = None

    # -- configuration -----------------------------------------------------------------------------

    def config(self) -> str:
        """The configuration file as TOML; a `None` leaves a default out."""
        top, tables = [], {}
        for key, value in self.settings.items():
            if value is None:
                continue
            table, _, name = key.rpartition(".")
            line = f"{name} = {toml(value)}"
            top.append(line) if not table else tables.setdefault(table, []).append(line)
        listener = [
            "[[listeners]]",
            f'bind = "127.0.0.1:{self.port}"',
            'resources = ["client", "federation", "health", "metrics"]',
        ]
        blocks = ["\n".join(top), "\n".join(listener)]
        for more in self.more_listeners:
            blocks.append("\n".join(["[[listeners]]", *(f"{key} = {toml(value)}" for key, value in more.items())]))
        blocks += ["\n".join([f"[{table}]", *lines]) for table, lines in tables.items()]
        return "\n\n".join(blocks) + "\n"

    @property
    def config_path(self) -> pathlib.Path:
        return self.dir / "althing.toml"

    @property
    def log_path(self) -> pathlib.Path:
        return self.dir / "server.log"

    @property
    def metrics_url(self) -> str:
        return self.base_url

    controllable = True

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> Server:
        self.config_path.write_text(self.config())
        self._listening.clear()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALTHING__")}
        environment.setdefault("RUST_BACKTRACE", "1")
        self.process = subprocess.Popen(
            [str(binary()), "serve", "--config", str(self.config_path)],
            cwd=self.dir, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read_log, args=(self.process,), daemon=True)
        self._reader.start()
        deadline = time.monotonic() + START_S
        while not self._listening.wait(0.05):
            if self.process.poll() is not None:
                self._reader.join(5)
                raise RuntimeError(f"the server exited with {self.process.returncode}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise TimeoutError(f"no `listening` line within {START_S} s\n{self.log_tail()}")
        while not self._healthy():
            if time.monotonic() > deadline:
                raise TimeoutError(f"/health is not 200 within {START_S} s\n{self.log_tail()}")
            time.sleep(0.02)
        return self

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with open(self.log_path, "ab") as log:
            for raw in process.stdout:
                log.write(raw)
                log.flush()
                if self._listening.is_set():
                    continue
                line = _ANSI.sub("", raw.decode(errors="replace"))
                address = _ADDRESS.search(line) if "listening" in line else None
                if address is not None:
                    self.base_url = f"http://{address[1]}:{address[2]}"
                    self.wire = Wire(self.base_url)
                    self._listening.set()

    def _healthy(self) -> bool:
        try:
            return self.wire.request("GET", "/health", timeout=5).status == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill9(self) -> None:
        """The power cut of a process: no handler runs, nothing is flushed."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self._gone()

    def terminate(self) -> int:
        """SIGTERM; answers the exit code. INTERFACE: drain and exit 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._gone()

    def _gone(self) -> int:
        assert self.process is not None
        try:
            code = self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"the server is still there {STOP_S} s after SIGTERM\n{self.log_tail()}") from None
        finally:
            self.wire.close()
        if self._reader is not None:
            self._reader.join(5)
        self.process = None
        return code

    def restart(self) -> None:
        """SIGTERM (must exit 0 in time) and start again; clients keep the address if `fixed_port`."""
        code = self.terminate()
        assert code == 0, f"SIGTERM: exit code {code}\n{self.log_tail()}"
        self.start()

    def stop(self) -> None:
        """Ends it, whatever state it is in, and removes its data (kept with ALTHING_TEST_KEEP=1)."""
        try:
            if self.process is not None and self.process.poll() is None:
                code = self.terminate()
                assert code == 0, f"SIGTERM: exit code {code}\n{self.log_tail()}"
        finally:
            if os.environ.get("ALTHING_TEST_KEEP") != "1":
                shutil.rmtree(self.dir, ignore_errors=True)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`althing` with these words and this server's configuration, whether it runs or not."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALTHING__")}
        return subprocess.run(
            [str(binary()), *words, "--config", str(self.config_path)],
            cwd=self.dir, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip

    def log_tail(self, lines: int = 60) -> str:
        if not self.log_path.exists():
            return "(no log)"
        text = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join([f"--- last lines of {self.log_path}", *text[-lines:]])
