"""Bytes to text and XML to elements, for files that terminals, mail and chat have passed through."""

import codecs
import re
import xml.etree.ElementTree as ET
from xml.parsers import expat

from optimizer.errors import InputError
from optimizer.inputs.importers.facts import Finding
from optimizer.units import MIB

MAX_FILE_BYTES = 64 * MIB
"""`kubectl get nodes -o json` of 2,000 nodes takes about 40 MiB."""
MAX_DEPTH = 100
MAX_ELEMENTS = 1_000_000

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ENTITIES = "declares XML entities, which are refused; remove the <!ENTITY ...> lines"
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def decode(content: bytes, where: str) -> tuple[str, tuple[Finding, ...]]:
    """Return the text of a file and what was odd about its bytes; InputError when it is no text."""
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{where}: larger than {MAX_FILE_BYTES // MIB} MiB; import a part of it")
    for magic, name in _PACKED.items():
        if content.startswith(magic):
            raise InputError(f"{where}: packed with {name}; unpack it first")
    text, findings = _characters(content, where)
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").replace("\ufeff", "")
    if not text.strip():
        raise InputError(f"{where}: is empty; export it again")
    if "<!ENTITY" in text:
        raise InputError(f"{where}: {_ENTITIES}")
    controls = len(_CONTROLS.findall(text))
    if controls * 20 > len(text):
        raise InputError(f"{where}: is binary, not text; give the text that the tool printed")
    return _CONTROLS.sub("", text), findings


def _characters(content: bytes, where: str) -> tuple[str, tuple[Finding, ...]]:
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), None) or _wide(content)
    if encoding is None:
        try:
            return content.decode("utf-8"), ()
        except UnicodeDecodeError:
            said = Finding("guessed", f"{where}: is not UTF-8; read as Latin-1, names outside ASCII may be wrong")
            return content.decode("latin-1"), (said,)
    text = content.decode(encoding, errors="replace")
    if "\ufffd" in text:
        return text, (Finding("broken", f"{where}: bytes that are no {encoding.upper()} were dropped"),)
    return text, () if encoding == "utf-8" else (Finding("read", f"{where}: read as {encoding.upper()}"),)


def _wide(content: bytes) -> str | None:
    """Return the encoding of UTF-16 without a byte order mark: every other byte of ASCII text is zero."""
    head = content[:400]
    if len(head) < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.7 * half and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 * half and odd == 0 else None


class _Tree:
    """Builds elements while expat reads, so that what precedes an error is kept."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.root: ET.Element | None = None
        self.open: list[ET.Element] = []
        self.count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element; namespaces are dropped from its name."""
        self.count += 1
        if self.count > MAX_ELEMENTS or len(self.open) >= MAX_DEPTH:
            raise InputError(f"{self.where}: more than {MAX_ELEMENTS:,} elements or {MAX_DEPTH} levels; import a part")
        element = ET.Element(tag.rpartition(":")[2], attributes)
        if self.open:
            self.open[-1].append(element)
        elif self.root is None:
            self.root = element
        self.open.append(element)

    def end(self, _tag: str) -> None:
        """Close the innermost element."""
        self.open.pop()

    def characters(self, data: str) -> None:
        """Keep the text of the innermost element."""
        if self.open:
            self.open[-1].text = (self.open[-1].text or "") + data

    def doctype(self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int) -> None:
        """A document type that only names its schema (hwloc) is harmless; one that declares anything is refused."""
        if has_internal_subset:
            raise InputError(f"{self.where}: declares its own document type; remove the <!DOCTYPE ...[...]> part")

    def entity(self, *_declaration: object) -> None:
        """No topology file needs entities; those that have them are made to exhaust memory."""
        raise InputError(f"{self.where}: {_ENTITIES}")


def parse_xml(text: str, where: str, root: str) -> tuple[ET.Element, tuple[Finding, ...]]:
    """Return the element ``root`` and what was odd; a file that breaks off is read up to there.

    Text before ``<root`` (a log, a prompt) is skipped. Entities are refused and nothing is ever fetched.
    """
    begin = re.search(rf"<(?:\w+:)?{root}[\s>/]", text)
    if begin is None:
        raise InputError(f"{where}: has no <{root}> element")
    tree = _Tree(where)
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.characters
    parser.StartDoctypeDeclHandler = tree.doctype
    parser.EntityDeclHandler = tree.entity
    lead = text[: begin.start()].lstrip()
    body = text[begin.start() :] if not lead.startswith("<") else text.lstrip()
    try:
        parser.Parse(body.encode("utf-8", errors="replace"), True)
    except expat.ExpatError as error:
        return _partial(tree, error, where, root)
    assert tree.root is not None
    return _inner(tree.root, where, root), ()


def _partial(tree: _Tree, error: expat.ExpatError, where: str, root: str) -> tuple[ET.Element, tuple[Finding, ...]]:
    said = expat.errors.messages.get(error.code, "broken") if hasattr(expat.errors, "messages") else "broken"
    if tree.root is None:
        raise InputError(f"{where}:{error.lineno}: broken XML: {said}; export the file again")
    if not tree.open and "junk" in said:
        return _inner(tree.root, where, root), (Finding("read", f"{where}: text after </{root}> is ignored"),)
    how = "breaks off" if said in ("no element found", "unclosed token") else f"breaks ({said})"
    message = f"{where}: {how} on line {error.lineno} inside <{tree.open[-1].tag if tree.open else root}>"
    found = _inner(tree.root, where, root)
    return found, (Finding("broken", f"{message}; read up to there, whatever followed is missing"),)


def _inner(element: ET.Element, where: str, root: str) -> ET.Element:
    found = element if element.tag == root else element.find(f".//{root}")
    if found is None:
        raise InputError(f"{where}: has no <{root}> element")
    return found
