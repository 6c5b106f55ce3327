"""Documents for the tests: written by hand, good ones and such as are made to do harm."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

LEASE = [
    (72, 720, "RESIDENTIAL LEASE AGREEMENT"),
    (72, 690, "Dated: March 3, 2026"),
    (72, 670, "Landlord: Ada Byron"),
    (320, 670, "Tenant: Grace Hopper"),
    (72, 650, "Property address: 12 Harbour Street, Springfield"),
    (72, 630, "Monthly rent: $2,450.00 payable in advance"),
    (72, 610, "Security deposit: USD 4,900"),
    (72, 590, "Lease term: 24 months    Commencement date: 2026-04-01"),
    (72, 570, "Living area: 1,250 sq ft"),
    (72, 550, "Either party may give notice of 60 days."),
]
DEED = [
    (72, 720, "Kaufvertrag"),
    (72, 700, "Verk\u00e4ufer: Otto Lilienthal"),
    (72, 680, "K\u00e4ufer: Bertha Benz"),
    (72, 660, "Flurst\u00fcck: 123/45"),
    (72, 640, "Kaufpreis: 389.000,00 EUR"),
    (72, 620, "Wohnfl\u00e4che 96,5 m\u00b2"),
    (72, 600, "Grundst\u00fccksgr\u00f6\u00dfe: 512 m\u00b2"),
    (72, 580, "\u00dcbergabe: 01.07.2026"),
]

Line = tuple[float, float, str]


def pdf(
    pages: Sequence[Sequence[Line] | bytes], *, catalog: str = "", trailer: str = "", broken: bool = False
) -> bytes:
    """A PDF of `pages`: lines of text where they stand, or a content stream as it is."""
    objects: list[bytes] = []

    def add(content: bytes) -> int:
        objects.append(content)
        return len(objects)

    add(b"")  # the catalog, and the tree of pages
    add(b"")
    font = add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    kids = []
    for page in pages:
        content = page if isinstance(page, bytes) else _stream(zlib.compress(_lines(page)), "/Filter /FlateDecode")
        stream = add(content)
        kids.append(
            add(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
                b"/Resources << /Font << /F1 %d 0 R >> >> /Contents %d 0 R >>" % (font, stream)
            )
        )
    return _file(objects, kids, catalog=catalog, trailer=trailer, broken=broken)


def scan(lines: Sequence[str], *, stamp: str = "") -> bytes:
    """A PDF of one page that is a picture of `lines`, under a stamp that is text."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (1700, 2200), 255)
    drawing = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        drawing.text((200, 200 + 90 * number), line, fill=0, font=ImageFont.load_default(46))
    raw = zlib.compress(image.tobytes())
    keys = (
        "/Type /XObject /Subtype /Image /Width 1700 /Height 2200 /ColorSpace /DeviceGray /BitsPerComponent 8 "
        "/Filter /FlateDecode"
    )
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /XObject << /I 3 0 R >> "
        b"/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> "
        b"/Contents 4 0 R >>"
    )
    text = f"BT /F1 10 Tf 400 20 Td ({stamp}) Tj ET".encode() if stamp else b""
    objects = [b"", b"", _stream(raw, keys), _stream(b"q 612 0 0 792 0 0 cm /I Do Q " + text, ""), page]
    return _file(objects, [5])


def picture(lines: Sequence[str]) -> bytes:
    """A PNG of `lines`."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (1500, 600), 255)
    drawing = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        drawing.text((50, 50 + 80 * number), line, fill=0, font=ImageFont.load_default(44))
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def drawing() -> bytes:
    """A PDF whose first page is a curve, and nothing else."""
    return pdf([_stream(b"100 100 m 150 200 250 200 300 100 c S", ""), LEASE])


def bomb(mebibytes: int) -> bytes:
    """A page whose content is `mebibytes` of blanks when it is unpacked."""
    packing = zlib.compressobj(9)
    packed = b"".join(packing.compress(b" " * 2**20) for _ in range(mebibytes)) + packing.flush()
    return pdf([_stream(packed, "/Filter /FlateDecode"), LEASE])


def slow(operations: int) -> bytes:
    """A page that takes as many operations to read, and one that is as it should be."""
    letters = b"BT /F1 9 Tf 72 700 Td (" + b"a" * 100 + b") Tj ET\n"
    return pdf([_stream(zlib.compress(letters * operations), "/Filter /FlateDecode"), LEASE])


def locked() -> bytes:
    """A PDF that opens with a password only."""
    key = "<" + "41" * 32 + ">"
    encrypt = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >> /ID [<41> <41>]"
    return pdf([LEASE], trailer=encrypt)


def _lines(lines: Sequence[Line]) -> bytes:
    told = []
    for x, y, text in lines:
        plain = text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        told.append(b"BT /F1 11 Tf %.1f %.1f Td (%s) Tj ET" % (x, y, plain))
    return b"\n".join(told)


def _stream(content: bytes, keys: str) -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), keys.encode(), content)


def _file(
    objects: list[bytes], kids: Sequence[int], *, catalog: str = "", trailer: str = "", broken: bool = False
) -> bytes:
    objects[0] = f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode()
    named = " ".join(f"{kid} 0 R" for kid in kids)
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{named}] >>".encode()
    content, places = b"%PDF-1.5\n", []
    for number, told in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, told)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % place for place in places)
    content += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (len(objects) + 1, trailer.encode())
    return content + b"startxref\n%d\n%%%%EOF\n" % (7 if broken else start)
