"""Media: upload, download, thumbnails, limits, and how a browser is kept from running it ("Content repository")."""

import http.client
import io
import os
import zlib

import pytest
from PIL import Image

from harness.client import V1
from harness.wire import path

DOWNLOAD, THUMBNAIL = f"{V1}/media/download", f"{V1}/media/thumbnail"


def place(base, uri, *more):
    server, media = uri.removeprefix("mxc://").split("/")
    return path(base, server, media, *more)


def picture(width=400, height=300, kind="PNG", alpha=False):
    image = Image.new("RGBA" if alpha else "RGB", (width, height), (200, 30, 60))
    image.paste((10, 200, 90), (0, 0, width // 2, height // 2))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def thumbnail(client, uri, **query):
    return client.raw("GET", place(THUMBNAIL, uri), query=query)


def dimensions(answer):
    assert answer.status == 200, answer
    image = Image.open(io.BytesIO(answer.body))
    image.load()
    assert answer.headers["Content-Type"] == Image.MIME[image.format]
    return image.size


@pytest.mark.parametrize("data", [b"x", os.urandom(70_000), os.urandom(1_500_000), bytes(range(256)) * 17])
def test_what_was_uploaded_is_downloaded(alice, bob, data):
    uri = alice.upload(data, "application/x-test", filename="data.bin")
    assert uri.startswith(f"mxc://{alice.server_name}/")
    answer = bob.raw("GET", place(DOWNLOAD, uri))
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Type"] == "application/x-test"
    assert int(answer.headers["Content-Length"]) == len(data)
    assert "data.bin" in answer.headers["Content-Disposition"]


def test_the_same_bytes_twice_are_two_media(alice, bob):
    data = os.urandom(5000)
    one, two = alice.upload(data), bob.upload(data, "text/plain")
    assert one != two
    assert alice.raw("GET", place(DOWNLOAD, one)).headers["Content-Type"] == "application/octet-stream"
    assert alice.raw("GET", place(DOWNLOAD, two)).headers["Content-Type"].startswith("text/plain")


def test_media_needs_a_session(alice, nobody):
    """v1.11: authenticated media."""
    uri = alice.upload(picture(), "image/png")
    for target in (place(DOWNLOAD, uri), place(DOWNLOAD, uri, "x.png"), f"{V1}/media/config"):
        answer = nobody.raw("GET", target)
        assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN"), answer
    assert thumbnail(nobody, uri, width=32, height=32).status == 401
    upload = nobody.raw("POST", "/_matrix/media/v3/upload", data=b"x")
    assert (upload.status, upload.errcode) == (401, "M_MISSING_TOKEN"), upload


def test_unauthenticated_download_is_frozen(alice, nobody):
    """The deprecated endpoints serve nothing uploaded since the freeze."""
    uri = alice.upload(b"x")
    answer = nobody.raw("GET", place("/_matrix/media/v3/download", uri))
    assert (answer.status, answer.errcode) in ((404, "M_NOT_FOUND"), (404, "M_UNRECOGNIZED")), answer


def test_unknown_media_is_not_found(alice):
    for base, query in ((DOWNLOAD, {}), (THUMBNAIL, {"width": 32, "height": 32})):
        target = path(base, alice.server_name, "nosuchmedia")
        answer = alice.raw("GET", target, query=query)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


@pytest.mark.parametrize("media", ["..", "../../etc/passwd", "a/b", "%00", "x" * 3000, "ü"])
def test_odd_media_ids_are_refused(alice, media):
    answer = alice.raw("GET", path(DOWNLOAD, alice.server_name, media))
    assert answer.status in (400, 404), answer


def test_the_upload_size_is_told_and_enforced(alice):
    """`m.upload.size`; 413 M_TOO_LARGE."""
    size = alice.get(f"{V1}/media/config")["m.upload.size"]
    assert size == 2 * 1024 * 1024
    assert alice.upload(bytes(size))
    answer = alice.raw("POST", "/_matrix/media/v3/upload", data=bytes(size + 1))
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE"), answer


@pytest.mark.own_server
def test_the_limit_holds_without_a_content_length(alice):
    """A chunked upload is cut while it streams."""
    connection = http.client.HTTPConnection(alice.server.wire.host, alice.server.wire.port, timeout=30)
    headers = {"Authorization": f"Bearer {alice.token}", "Transfer-Encoding": "chunked"}
    chunks = (bytes(65536) for _ in range(40))
    try:
        connection.request("POST", "/_matrix/media/v3/upload", chunks, headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert b"M_TOO_LARGE" in answer.read()
    except ConnectionError:
        pass  # cutting someone off who is half a megabyte over is fair too
    finally:
        connection.close()
    assert alice.upload(b"still works")


def test_a_chunked_upload_is_whole(alice):
    if alice.server.engine == "external":
        pytest.skip("Synapse wants a Content-Length")
    connection = http.client.HTTPConnection(alice.server.wire.host, alice.server.wire.port, timeout=30)
    headers = {"Authorization": f"Bearer {alice.token}", "Transfer-Encoding": "chunked", "Content-Type": "text/plain"}
    connection.request(
        "POST", "/_matrix/media/v3/upload", iter([b"one ", b"two ", b"three"]), headers, encode_chunked=True
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    uri = body.decode().split('"')[3]
    assert alice.raw("GET", place(DOWNLOAD, uri)).body == b"one two three"


# -- in a browser --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "disposition"),
    [
        ("image/png", "inline"),
        ("image/jpeg", "inline"),
        ("video/mp4", "inline"),
        ("text/plain", "inline"),
        ("application/json", "inline"),
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/octet-stream", "attachment"),
        ("application/pdf", "attachment"),
    ],
)
def test_only_listed_types_are_shown_inline(alice, kind, disposition):
    """#serving-inline-content: all else is `attachment`."""
    uri = alice.upload(b"<script>alert(1)</script>", kind, filename="a.bin")
    answer = alice.raw("GET", place(DOWNLOAD, uri))
    assert answer.headers["Content-Disposition"].split(";")[0] == disposition
    assert 'filename=' in answer.headers["Content-Disposition"]


def test_media_cannot_run_in_a_browser(alice):
    """#get_matrixclientv1mediadownloadservernamemediaid: CSP, CORP."""
    uri = alice.upload(picture(), "image/png")
    for answer in (alice.raw("GET", place(DOWNLOAD, uri)), thumbnail(alice, uri, width=32, height=32)):
        assert answer.status == 200, answer
        # Synapse 1.163 leaves this out of thumbnails.
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "script-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Content-Disposition"].split(";")[0] == "inline"


def test_the_name_can_be_chosen_at_download(alice):
    uri = alice.upload(b"x", "text/plain", filename="original.txt")
    answer = alice.raw("GET", place(DOWNLOAD, uri, "chosen.txt"))
    assert "chosen.txt" in answer.headers["Content-Disposition"]
    assert "original.txt" not in answer.headers["Content-Disposition"]


@pytest.mark.parametrize("name", ["ünïcode 🦊.txt", 'quote".txt', "new\r\nLine: x.txt", "a;b.txt", "a\\b.txt"])
def test_odd_file_names_do_not_break_the_header(alice, name):
    uri = alice.upload(b"x", "text/plain", filename=name)
    answer = alice.raw("GET", place(DOWNLOAD, uri))
    assert answer.status == 200, answer
    assert answer.headers["Content-Disposition"].split(";")[0] in ("inline", "attachment")
    assert "Line" not in answer.headers
    answer.headers["Content-Disposition"].encode("latin-1")


def test_without_a_type_it_is_octet_stream(alice):
    answer = alice.raw("POST", "/_matrix/media/v3/upload", data=b"x")
    assert answer.status == 200, answer
    read = alice.raw("GET", place(DOWNLOAD, answer.json["content_uri"]))
    assert read.headers["Content-Type"] == "application/octet-stream"


# -- thumbnails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_thumbnails_of_the_usual_formats(alice, kind):
    uri = alice.upload(picture(kind=kind), Image.MIME[kind])
    width, height = dimensions(thumbnail(alice, uri, width=96, height=96, method="crop"))
    assert (width, height) == (96, 96)


@pytest.mark.parametrize(
    ("source", "asked", "method", "least"),
    [
        ((1000, 500), (320, 240), "scale", (320, 160)),
        ((500, 1000), (320, 240), "scale", (120, 240)),
        ((1000, 500), (32, 32), "crop", (32, 32)),
        ((1000, 500), (64, 48), None, (64, 32)),
    ],
)
def test_thumbnails_keep_the_aspect_or_are_cropped(alice, source, asked, method, least):
    """#thumbnails: never smaller than asked for, unless the original is; `scale` keeps the aspect ratio."""
    uri = alice.upload(picture(*source), "image/png")
    query = {"width": asked[0], "height": asked[1], **({"method": method} if method else {})}
    width, height = dimensions(thumbnail(alice, uri, **query))
    assert width >= least[0]
    assert height >= least[1]
    assert (width, height) <= source
    if method != "crop":
        assert abs(width / height - source[0] / source[1]) < 0.1


def test_thumbnails_are_never_scaled_up(alice):
    uri = alice.upload(picture(40, 30), "image/png")
    width, height = dimensions(thumbnail(alice, uri, width=800, height=600, method="scale"))
    assert (width, height) == (40, 30)


def test_a_thumbnail_of_what_is_no_picture_is_refused(alice):
    uri = alice.upload(b"this is no picture", "image/png")
    answer = thumbnail(alice, uri, width=32, height=32)
    assert answer.status in (400, 404), answer
    plain = alice.upload(b"text", "text/plain")
    assert thumbnail(alice, plain, width=32, height=32).status in (400, 404)


@pytest.mark.parametrize("query", [{}, {"width": 32}, {"width": "x", "height": 32}, {"width": -1, "height": 32}])
def test_malformed_thumbnail_requests_are_400(alice, query):
    uri = alice.upload(picture(), "image/png")
    answer = thumbnail(alice, uri, **query)
    assert answer.status == 400, answer


def test_a_decompression_bomb_is_refused(alice):
    """A small file of enormous dimensions must not be decoded."""
    head = picture(10, 10)
    huge = (60_000).to_bytes(4, "big")
    ihdr = b"IHDR" + huge + huge + head[24:29]
    bomb = head[:8] + len(ihdr[4:]).to_bytes(4, "big") + ihdr + zlib.crc32(ihdr).to_bytes(4, "big") + head[33:]
    uri = alice.upload(bomb, "image/png")
    assert thumbnail(alice, uri, width=32, height=32).status in (400, 404, 413)
    assert alice.upload(b"still works")
