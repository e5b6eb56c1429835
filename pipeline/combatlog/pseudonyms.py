"""Stable keyed pseudonyms for players and pets, put into a log's text while it is read.

What a log says of persons are guids and names. Both are replaced where `opened` hands the text on, so that no later
step (ids, events, layers, a kept copy) can see more than pseudonyms. Only fields whose shape cannot hold a name pass,
and what stands between quotes; a known player's name is replaced there too. A pseudonym is a keyed BLAKE2b hash (RFC
7693): the same key gives the same pseudonyms in every log, and without the key nobody can tell whose they are.
"""

import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import polars as pl
from dotenv import dotenv_values

from pipeline import paths, settings
from pipeline.combatlog.layouts import FORMS, UNUSED
from pipeline.errors import PipelineError
from pipeline.progress import console

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

VARIABLE = "PSEUDONYM_KEY"
MIN_KEY_LENGTH = 16
# The first block is small because it is read twice, the first time to see whether the file is a log at all.
FIRST_BLOCK_BYTES = 512 * 2**10
BLOCK_BYTES = 4 * 2**20
BOM = b"\xef\xbb\xbf"

# What a log writes for a unit whose name the game has not loaded yet: it tells nobody.
NAMELESS = frozenset({"", "nil", "Unknown"})
# An EMOTE's text, which is not quoted, names whom a boss looks at.
EVENTS = (FORMS.keys() | UNUSED.keys()) - {"EMOTE"}
ENVIRONMENTS = ("Drowning", "Falling", "Fatigue", "Fire", "Lava", "Slime")
# Outside of quotes a name is what mixes capital and small letters, or is not ASCII: nothing else but guids does so.
PUNCTUATION = r"_.+\-#:()\[\]"
FIELD = "|".join(
    (
        '"[^"]*"',
        rf"[0-9a-z{PUNCTUATION}]*",
        rf"[0-9A-Z{PUNCTUATION}]*",
        "0x[0-9A-Fa-f]*",
        r"[\[(]*(?:Player|[A-Z][A-Za-z]+-0)-[0-9][0-9A-Fa-f\-]*[\])]*",
        *ENVIRONMENTS,
    )
)
HEAD = r"[0-9/]+ [0-9:.+\-]+  "
SOUND_LINE = rf"^(?:{HEAD}(?:{'|'.join(sorted(EVENTS))})(?:,(?:{FIELD}))*)?\r?$"
QUOTED = '"[^"]*"'
# A unit flag 0x1000 is that of pets: hunters have some whose guid is a creature's.
PETS = r'Creature-0-[0-9A-Fa-f\-]*,"[^"]*",0x[0-9a-f]*[13579bdf][0-9a-f]{3},'
# What else tells the realm: the server in other units' guids.
SERVERS = r"[A-Z][A-Za-z]+-0-[0-9]+-"
UNITS = rf'(?:Player|Pet-0)-[0-9][0-9A-Fa-f\-]*(?:,"[^"]*")?|{PETS}|{SERVERS}'

_a_field = re.compile(FIELD)
_a_head = re.compile(rf"({HEAD})([A-Z_]*)(.*)", re.DOTALL)
_a_piece = re.compile(r'"[^"]*"|[^,"]+|.', re.DOTALL)
_a_word = re.compile(r"[\w\u0300-\u036f]+")
# Chinese, Japanese and Korean put nothing, or a particle, between a name and the next word.
_is_unspaced = re.compile(r"[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]").search

CONSONANTS, VOWELS = "bdfghjklmnprstvz", "aiou"


@dataclass(frozen=True)
class Pseudonyms:
    """The pseudonyms of one key."""

    key: bytes = field(repr=False)
    """At most 64 bytes."""
    keep_realm: bool

    def player(self, guid: str) -> str:
        """A player's guid, of 16 hex digits instead of 8: two of 100,000 players share one by a chance of 3e-10."""
        realm = guid.split("-")[1] if self.keep_realm else "0"
        return f"Player-{realm}-{self._digest('player', guid).hex().upper()}"

    def player_name(self, guid: str, name: str) -> str:
        """A player's name follows from the guid, as a name of ten letters."""
        if name in NAMELESS:
            return name
        _, dash, realm = name.partition("-")
        return _pronounceable(self._digest("player", guid)) + (dash + realm if self.keep_realm else "")

    def pet(self, guid: str) -> str:
        """A pet's guid: its last part is the pet's own for life."""
        return f"{self.unit(guid).rpartition('-')[0]}-{self._digest('pet', guid).hex().upper()}"

    def pet_name(self, name: str) -> str:
        """A pet's name, which its player chose."""
        return name if name in NAMELESS else _pronounceable(self._digest("pet's name", name))

    def unit(self, guid: str) -> str:
        """The guid (or its beginning) of a unit that is no player: with the realm goes the server."""
        if self.keep_realm:
            return guid
        parts = guid.split("-", 3)
        return "-".join([*parts[:2], "0", *parts[3:]])

    def mention(self, name: str) -> str:
        """What stands for a player's name where it is no player's field.

        The player's pseudonym there would tell whose it is: whoever knows which ability 116 is can read `X Bolt`.
        """
        return _pronounceable(self._digest("mention", name))

    def _digest(self, kind: str, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=8, key=self.key, person=kind.encode()).digest()


def from_settings(keep_realm: bool) -> Pseudonyms:
    """The pseudonyms of the key in `.env`, which is made and written there if there is none.

    Raises:
        PipelineError: the key is empty or too short.
    """
    key = _stated_key()
    if key is None:
        with paths.sole_writer(paths.home_root() / ".env"):
            key = _stated_key()
            key = _new_key() if key is None else key
    if len(key) < MIN_KEY_LENGTH:
        raise PipelineError(
            f"{VARIABLE}: has {len(key)} characters, {MIN_KEY_LENGTH} are needed, or names can be guessed from their "
            "pseudonyms; set a longer one in the environment or .env, or take it out there to have one made"
        )
    return Pseudonyms(hashlib.blake2b(key.encode()).digest(), keep_realm)


def rewritten(log: BinaryIO, pseudonyms: Pseudonyms) -> BinaryIO:
    """A log with pseudonyms instead of names, as a stream."""
    return io.BufferedReader(_Rewritten(log, Rewriter(pseudonyms)))


class Rewriter:
    """Puts pseudonyms into a log's text, part after part, and remembers the players' names."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self.pseudonyms = pseudonyms
        self._names: set[str] = set()
        self._anywhere: dict[str, str] = {}
        """Names with their realm, and names that are found inside of words: each with what stands for it."""

    def rewrite(self, text: str) -> str:
        """Some whole lines with pseudonyms instead of names; as many lines as before."""
        lines = pl.Series([text]).str.split("\n").explode()
        is_sound = lines.str.contains(SOUND_LINE)
        if not is_sound.all():
            lines = pl.Series([line if ok else _sound(line) for line, ok in zip(lines, is_sound, strict=True)])
        found = _found(lines, f"{UNITS}|{QUOTED}")
        is_quoted = found.str.starts_with('"')
        quoted = found.filter(is_quoted)
        replacements = self._of_units([*found.filter(~is_quoted), *_found(quoted, UNITS)])
        for old, new in zip(quoted, self._without_names(quoted, replacements), strict=True):
            if new != old:
                replacements.setdefault(old, new)
        return str(_replaced(lines, replacements).str.join("\n").item())

    def _of_units(self, units: Iterable[str]) -> dict[str, str]:
        """What replaces each guid, with its name where it has one; the players' names become known."""
        replacements: dict[str, str] = {}
        for unit in units:
            guid, comma, rest = unit.partition(",")
            name, _, flags = rest[1:].rpartition('"')
            if guid.startswith("Player-"):
                new, new_name = self.pseudonyms.player(guid), self.pseudonyms.player_name(guid, name)
                self._remember(name)
            else:
                new = self.pseudonyms.pet(guid) if guid.startswith("Pet-") else self.pseudonyms.unit(guid)
                new_name = self.pseudonyms.pet_name(name)
            replacements[guid] = new
            if comma:
                replacements[unit] = f'{new},"{new_name}"{flags}'
        return replacements

    def _remember(self, full_name: str) -> None:
        name, dash, _ = full_name.partition("-")
        if name in NAMELESS:
            return
        self._names.add(name)
        if dash:
            self._anywhere[full_name] = self.pseudonyms.mention(name)
        if _is_unspaced(name):
            self._anywhere[name] = self.pseudonyms.mention(name)

    def _without_names(self, texts: pl.Series, replacements: dict[str, str]) -> list[str]:
        """Texts in which no player is named that is known so far."""
        cleared = _replaced(texts, self._anywhere | replacements)
        return [_a_word.sub(self._word, text) for text in cleared]

    def _word(self, found: re.Match[str]) -> str:
        word = found[0]
        return self.pseudonyms.mention(word) if word in self._names else word


class _Rewritten(io.RawIOBase):
    """The bytes that a rewriter makes of a log."""

    def __init__(self, log: BinaryIO, rewriter: Rewriter) -> None:
        self._blocks = _blocks(log)
        self._rewriter = rewriter
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        while not self._ready:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._ready = memoryview(self._rewriter.rewrite(block.decode("utf-8", "replace")).encode())
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._ready))
        target[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _blocks(log: BinaryIO) -> Iterator[bytes]:
    """A log in blocks of whole lines; what goes on for a whole block without a newline is no line and is cut."""
    rest = log.read(len(BOM)).removeprefix(BOM)
    size = FIRST_BLOCK_BYTES
    while block := log.read(size):
        size = BLOCK_BYTES
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield whole + newline
        else:
            yield rest
            rest = b""
    if rest:
        yield rest


def _found(lines: pl.Series, pattern: str) -> pl.Series:
    """All that matches, once each."""
    return lines.str.extract_all(pattern).explode().drop_nulls().unique().sort()


def _replaced(texts: pl.Series, replacements: Mapping[str, str]) -> pl.Series:
    """Texts with all replacements made in one go; of several that begin at one place the longest counts."""
    if not replacements:
        return texts
    old = sorted(replacements, key=lambda text: (-len(text), text))
    return texts.str.replace_many(old, [replacements[text] for text in old], leftmost=True)


def _sound(line: str) -> str:
    """Of any other line what cannot hold a name: its time, its event, the number of its fields, and sound fields."""
    if not line.strip():
        return line
    head = _a_head.match(line)
    if not head:
        return "?"
    fields = [""]
    for piece in _a_piece.findall(head[3].rstrip("\r")):
        if piece == ",":
            fields.append("")
        else:
            fields[-1] += piece
    is_known = head[2] in EVENTS
    return head[1] + head[2] + ",".join(each if is_known and _a_field.fullmatch(each) else "" for each in fields)


def _pronounceable(digest: bytes) -> str:
    """The first four bytes as ten letters, by the scheme of proquints (Wilkerson 2009, arXiv:0901.4016)."""
    letters = ""
    for number in (int.from_bytes(digest[:2]), int.from_bytes(digest[2:4])):
        for shift, alphabet in ((12, CONSONANTS), (10, VOWELS), (6, CONSONANTS), (4, VOWELS), (0, CONSONANTS)):
            letters += alphabet[number >> shift & len(alphabet) - 1]
    return letters.capitalize()


def _stated_key() -> str | None:
    """The key of the environment or `.env`, empty where it is named there without a value."""
    key = settings.load().pseudonym_key
    if key is not None:
        return key.get_secret_value()
    is_named = VARIABLE in os.environ or VARIABLE in dotenv_values(paths.home_root() / ".env")
    return "" if is_named else None


def _new_key() -> str:
    key = secrets.token_hex(32)
    settings.write_env({VARIABLE: key})
    console.print(
        f"{VARIABLE}: made one and wrote it to .env; keep it secret (it tells whose pseudonym is whose) and backed up "
        "(without it later logs get other pseudonyms)"
    )
    return key
