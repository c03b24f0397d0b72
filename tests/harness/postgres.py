"""A private PostgreSQL 15 cluster on a unix socket in a temporary directory, for one test run."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT_MAY_NOT_RUN_IT = os.geteuid() == 0
_numbers = itertools.count(1)


def binaries() -> pathlib.Path | None:
    """Where `initdb` and `postgres` live; Debian keeps them off the PATH."""
    for candidate in ("/usr/lib/postgresql/15/bin", shutil.which("initdb")):
        if candidate is None:
            continue
        place = pathlib.Path(candidate)
        place = place if place.is_dir() else place.resolve().parent
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return None


class Cluster:
    """One cluster. The postmaster refuses to run as root, so root runs it as `postgres`."""

    def __init__(self) -> None:
        found = binaries()
        if found is None:
            raise FileNotFoundError("PostgreSQL 15 is not installed (Debian: postgresql-15)")
        self.bin = found
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="althing-pg-"))
        self.data = self.dir / "data"
        self._process: subprocess.Popen[bytes] | None = None
        if ROOT_MAY_NOT_RUN_IT:
            shutil.chown(self.dir, "postgres", "postgres")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _as_owner(self, *command: str | pathlib.Path) -> list[str]:
        words = [str(word) for word in command]
        return ["runuser", "-u", "postgres", "--", *words] if ROOT_MAY_NOT_RUN_IT else words

    def _start(self) -> None:
        subprocess.run(
            self._as_owner(
                self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                "-E", "UTF8", "--locale=C", "--no-sync",
            ),
            cwd=self.dir, check=True, capture_output=True,
        )  # fmt: skip
        # The tests kill our server, never the database, so the cluster itself need not sync.
        options = {
            "listen_addresses": "", "unix_socket_directories": str(self.dir), "fsync": "off",
            "full_page_writes": "off", "max_connections": "200", "shared_buffers": "64MB",
        }  # fmt: skip
        with open(self.dir / "log", "wb") as log:
            self._process = subprocess.Popen(
                self._as_owner(
                    self.bin / "postgres", "-D", self.data,
                    *itertools.chain.from_iterable(("-c", f"{k}={v}") for k, v in options.items()),
                ),
                cwd=self.dir, stdout=log, stderr=log,
            )  # fmt: skip
        subprocess.run(
            ["bash", "-c", f'for i in $(seq 300); do "{self.bin}/pg_isready" -q -h "{self.dir}" && exit 0; '
             "sleep 0.1; done; exit 1"],
            check=True,
        )  # fmt: skip

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Runs one statement and gives its bare output."""
        done = subprocess.run(
            [str(self.bin / "psql"), "-h", str(self.dir), "-U", "postgres", "-d", database,
             "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def create_database(self) -> str:
        """A fresh, empty database; answers the URL for `store.url`."""
        name = f"althing_{os.getpid()}_{next(_numbers)}"
        self.psql(f"create database {name} encoding 'UTF8' lc_collate 'C' lc_ctype 'C' template template0")
        return f"postgres:///{name}?host={self.dir}&user=postgres"

    def drop_database(self, url: str) -> None:
        """Removes a database that `create_database` made, with whoever is still connected."""
        name = url.split("///")[1].split("?")[0]
        self.psql(f"drop database if exists {name} with (force)")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            subprocess.run(
                self._as_owner(self.bin / "pg_ctl", "-D", self.data, "-m", "immediate", "stop"),
                cwd=self.dir, capture_output=True, check=False,
            )  # fmt: skip
            process.wait(timeout=30)
        shutil.rmtree(self.dir, ignore_errors=True)
