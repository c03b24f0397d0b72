"""What stands behind a link (spec: Client-Server API, `GET /media/preview_url`)."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.client import Client

PREVIEW = "/_matrix/client/v1/media/preview_url"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe"
    "a735819d0000000049454e44ae426082"
)
PAGES = {
    "/page": ("text/html; charset=utf-8", b"""<html><head><title>Tab</title><meta property="og:title" content="Caf\xc3\xa9">
        <meta property="og:image" content="/pixel.png"><meta property="og:image:width" content="9000"></head></html>"""),
    "/plain": ("text/html", b"<title>Only a title</title><body><p>First words of it.</p></body>"),
    "/latin": ("text/html; charset=iso-8859-1", b"<title>caf\xe9</title>"),
    "/video": ("text/html", b"""<link rel="alternate" type="application/json+oembed" href="/oembed">"""),
    "/oembed": ("application/json", b'{"type":"video","title":"A film","thumbnail_url":"PIXEL"}'),
    "/pixel.png": ("image/png", PIXEL),
    "/report.pdf": ("application/pdf", b"%PDF"),
    "/huge": ("text/html", b"<title>Huge</title>" + b"x" * (4 << 20)),
    "/broken": ("text/html", b"<meta property='og:title' content='open"),
}  # fmt: skip


class _Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Accept-Language")))  # type: ignore[attr-defined]
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/page")
            self.end_headers()
            return
        if self.path == "/around":
            self.send_response(302)
            self.send_header("Location", "/around")
            self.end_headers()
            return
        kind, body = PAGES.get(self.path, ("text/html", b""))
        body = body.replace(b"PIXEL", f"http://127.0.0.1:{self.server.server_port}/pixel.png".encode())
        self.send_response(200 if self.path in PAGES else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # whoever asked had read enough

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def reader(make_server: Callable[..., Any]) -> Client:
    return Client.register(make_server(federation__allow_private_ips=True))


def test_a_page_is_told_as_opengraph_and_its_picture_becomes_ours(reader: Client, web: Any) -> None:
    said = reader.get(PREVIEW, url=f"{web.url}/page")
    assert said["og:title"] == "Café"
    assert "og:image:width" not in said
    assert said["matrix:image:size"] == len(PIXEL) and said["og:image:type"] == "image/png"
    server_name, media_id = said["og:image"].removeprefix("mxc://").split("/")
    picture = reader.raw("GET", f"/_matrix/client/v1/media/download/{server_name}/{media_id}")
    assert picture.body == PIXEL


def test_every_kind_of_page(reader: Client, web: Any) -> None:
    plain = reader.get(PREVIEW, url=f"{web.url}/plain")
    assert (plain["og:title"], plain["og:description"]) == ("Only a title", "First words of it.")
    assert reader.get(PREVIEW, url=f"{web.url}/latin")["og:title"] == "café"
    film = reader.get(PREVIEW, url=f"{web.url}/video")
    assert film["og:title"] == "A film" and film["og:image"].startswith("mxc://")
    picture = reader.get(PREVIEW, url=f"{web.url}/pixel.png")
    assert picture["og:image"].startswith("mxc://") and picture["og:title"] == "pixel.png"
    assert reader.get(PREVIEW, url=f"{web.url}/report.pdf") == {"og:title": "report.pdf"}
    assert reader.get(PREVIEW, url=f"{web.url}/huge")["og:title"] == "Huge"
    assert reader.get(PREVIEW, url=f"{web.url}/broken") == {}
    assert reader.get(PREVIEW, url=f"{web.url}/moved")["og:title"] == "Café"


def test_a_page_is_fetched_once_and_in_the_language_asked_for(reader: Client, web: Any) -> None:
    url = f"{web.url}/plain"
    web.asked.clear()
    for _ in range(3):
        answer = reader.raw("GET", PREVIEW, query={"url": url}, headers={"Accept-Language": "fr"})
        assert answer.status == 200
    assert web.asked == [("/plain", "fr")]
    # The old path, too.
    assert reader.get("/_matrix/media/v3/preview_url", url=url)["og:title"] == "Only a title"


def test_what_does_not_answer_is_said_so(reader: Client, web: Any) -> None:
    for page in ("/none", "/around"):
        answer = reader.raw("GET", PREVIEW, query={"url": f"{web.url}{page}"})
        assert (answer.status, answer.errcode) == (502, "M_UNKNOWN"), answer
    assert reader.raw("GET", PREVIEW, query={"url": "http://127.0.0.1:1/"}).status == 502


def test_only_addresses_on_the_web_are_looked_at(reader: Client) -> None:
    for url in ("file:///etc/passwd", "ftp://example.org/", "nothing", "http://user:pass@example.org/", ""):
        answer = reader.raw("GET", PREVIEW, query={"url": url})
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), url
    assert reader.raw("GET", PREVIEW).errcode == "M_MISSING_PARAM"


def test_private_addresses_are_not_looked_at(alice: Client, web: Any) -> None:
    web.asked.clear()
    port = web.server_port
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "169.254.169.254",
                 "2130706433", "0x7f.1"):  # fmt: skip
        answer = alice.raw("GET", PREVIEW, query={"url": f"http://{host}:{port}/page"})
        assert answer.status in (403, 502), (host, answer)
    assert web.asked == []


def test_previews_can_be_switched_off(make_server: Callable[..., Any], web: Any) -> None:
    who = Client.register(make_server(media__url_previews=False, federation__allow_private_ips=True))
    answer = who.raw("GET", PREVIEW, query={"url": f"{web.url}/page"})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
