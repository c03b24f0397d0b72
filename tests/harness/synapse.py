"""A Synapse as the other side: a server of another make, on loopback TLS.

Installed in an environment of its own (`tests/.cache/synapse-venv`) from `federation/synapse-requirements.txt`.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any

from .authority import Authority
from .component import missing
from .links import port_of
from .server import ROOT, SHARED_SECRET, free_port
from .wire import Wire

START_S, STOP_S = 120.0, 20.0
PYTHON = pathlib.Path(
    os.environ.get("ALTHING_TEST_SYNAPSE", ROOT / "tests/.cache/synapse-venv/bin/python")
)
_ENDLESS = {"per_second": 100_000, "burst_count": 100_000}


def must_be_there() -> None:
    """Skips (fails with CI=true) where Synapse is not installed."""
    if not PYTHON.exists():
        missing(f"no Synapse at {PYTHON}: run tools/test --only federation, or set ALTHING_TEST_SYNAPSE to its python")


class Synapse:
    """One Synapse with its own data. Speaks to clients at `base_url`, to servers at `federation_port`."""

    engine = "synapse"

    def __init__(self, name: str, authority: Authority, **settings: Any) -> None:
        self.name = name
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="althing-test-synapse-"))
        self.port, self.federation_port = free_port(), free_port()
        self.shared_secret = SHARED_SECRET
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.wire = Wire(self.base_url)
        self.process: subprocess.Popen[bytes] | None = None
        self._write(authority, settings)

    @property
    def log_path(self) -> pathlib.Path:
        return self.dir / "server.log"

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    # -- configuration -----------------------------------------------------------------------------

    def _write(self, authority: Authority, settings: dict[str, Any]) -> None:
        port_of(self.name)
        log = {
            "version": 1,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
            "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter"}},
            "handlers": {
                "file": {
                    "class": "logging.FileHandler", "filename": str(self.log_path),
                    "formatter": "line", "filters": ["context"],
                }
            },
            "root": {"level": os.environ.get("ALTHING_TEST_SYNAPSE_LOG", "WARNING"), "handlers": ["file"]},
            "disable_existing_loggers": False,
        }  # fmt: skip
        # JSON is YAML.
        (self.dir / "log.yaml").write_text(json.dumps(log))
        config: dict[str, Any] = {
            "server_name": self.name,
            # Clients go where a login tells them to.
            "public_baseurl": self.base_url,
            "signing_key_path": str(self.dir / "signing.key"),
            "pid_file": str(self.dir / "homeserver.pid"),
            "media_store_path": str(self.dir / "media"),
            "log_config": str(self.dir / "log.yaml"),
            "listeners": [
                {"port": self.port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False,
                 "resources": [{"names": ["client"]}]},
                {"port": self.federation_port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": True,
                 "resources": [{"names": ["federation"]}]},
            ],
            "tls_certificate_path": str(authority.certificate),
            "tls_private_key_path": str(authority.key),
            "federation_custom_ca_list": [str(authority.ca)],
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "database": {"name": "sqlite3", "args": {"database": str(self.dir / "homeserver.db")}},
            "registration_shared_secret": SHARED_SECRET,
            "macaroon_secret_key": "tests",
            "form_secret": "tests",
            "bcrypt_rounds": 4,
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"action": "allow"}],
            # What was cut off is tried again soon, as the tests wait for it.
            "federation": {
                "destination_min_retry_interval": 100,
                "destination_max_retry_interval": "1s",
                "max_short_retry_delay": "1s",
                "max_long_retry_delay": "2s",
                "client_timeout": "20s",
            },
            "rc_message": _ENDLESS,
            "rc_registration": _ENDLESS,
            "rc_login": {"address": _ENDLESS, "account": _ENDLESS, "failed_attempts": _ENDLESS},
            "rc_joins": {"local": _ENDLESS, "remote": _ENDLESS},
            "rc_joins_per_room": _ENDLESS,
            "rc_invites": {"per_room": _ENDLESS, "per_user": _ENDLESS, "per_issuer": _ENDLESS},
            "rc_room_creation": _ENDLESS,
            "rc_presence": {"per_user": _ENDLESS},
            "rc_key_requests": _ENDLESS,
            "rc_admin_redaction": _ENDLESS,
            "rc_federation": {
                "window_size": 1000, "sleep_limit": 100_000, "sleep_delay": 1,
                "reject_limit": 100_000, "concurrent": 50,
            },
            **settings,
        }  # fmt: skip
        (self.dir / "homeserver.yaml").write_text(json.dumps(config))
        seed = base64.b64encode(os.urandom(32)).decode().rstrip("=")
        (self.dir / "signing.key").write_text(f"ed25519 a_test {seed}\n")

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> Synapse:
        command = [str(PYTHON), "-m", "synapse.app.homeserver", "-c", str(self.dir / "homeserver.yaml")]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"Synapse exited with {self.process.returncode}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"Synapse does not answer within {START_S} s\n{self.log_tail()}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            return self.wire.request("GET", "/_matrix/client/versions", timeout=5).status == 200
        except OSError:
            return False

    def kill9(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_S)
        self.wire.close()
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if os.environ.get("ALTHING_TEST_KEEP") != "1":
            shutil.rmtree(self.dir, ignore_errors=True)

    def log_tail(self, lines: int = 60) -> str:
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
