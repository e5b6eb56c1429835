"""Pseudonyms: nothing of a name is left in any layer, and nothing but the names is other than before."""

import gzip
import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import bronze, combatlog, gold, ingest, paths, settings, silver
from pipeline.combatlog import delivery, pseudonyms
from pipeline.combatlog.importer import Log
from pipeline.combatlog.pseudonyms import ENVIRONMENTS, Pseudonyms, Rewriter, rewritten
from pipeline.combatlog.sidefile import SideFile
from pipeline.errors import PipelineError
from pipeline.params import ImportLogs
from pipeline.store import Connection, open_store
from tests.conftest import ROOT

FIXTURE = Path(__file__).parent / "data" / "combatlog" / "tricky-names.txt"
TEXT = FIXTURE.read_text(encoding="utf-8")
LOGS = [FIXTURE, *sorted((Path(__file__).parent / "logs").glob("*.txt"))]
STATED = SideFile(year=2022, utc_offset="+02:00")
SECRET = "a key of more than sixteen characters"
DROPPED = Pseudonyms(b"one key", keep_realm=False)
KEPT = Pseudonyms(b"one key", keep_realm=True)
OTHER = Pseudonyms(b"another key", keep_realm=False)
# What the fixture says of persons, by who it is.
NAMES = {
    "Player-7411-0000A001": "Ætherwyn-Kel'Thuzad",
    "Player-7412-0000A002": "Фёдор-Ревущийфьорд",
    "Player-7413-0000A003": "冰霜-暗影之月",
    "Player-7414-0000A004": "토르-아즈샤라",
    "Player-7411-0000A005": "Frost-Ashenmoor-EU",
    "Player-7411-0000A006": "Torvald",
}
PETS = {"Pet-0-7411-500-7-416-0100000001": "Mausbär", "Creature-0-7411-500-7-165189-0200000005": "Knuddel"}
REALMS = (
    *("Kel'Thuzad", "Ревущийфьорд", "暗影之月", "아즈샤라", "Ashenmoor"),
    *(f"-{number}-" for number in range(7411, 7416)),
)
PERSONAL = (
    *(name.partition("-")[0] for name in NAMES.values()),
    *(guid.rpartition("-")[2] for guid in (*NAMES, "Player-7411-0000A007", "Player-7415-0000A008")),
    *PETS.values(),
    "0100000001",
)


def rewrite(text: str, chosen: Pseudonyms = DROPPED) -> str:
    return Rewriter(chosen).rewrite(text)


def left(texts: Iterable[str], words: Iterable[str]) -> set[str]:
    """Which words are left somewhere; Latin ones not inside of other words, as Frost in Frostbolt."""
    whole = "\n".join(texts)
    return {word for word in words if re.search(rf"\b{word}\b" if word.isalpha() and word.isascii() else word, whole)}


def line(event: str, *fields: str) -> str:
    return f"4/10 19:59:00.000  {event},{','.join(fields)}\n"


def cast(guid: str, name: str, ability: str = "Fireball") -> str:
    nobody = ("0000000000000000", "nil", "0x80000000", "0x80000000")
    return line("SPELL_CAST_START", guid, f'"{name}"', "0x512", "0x0", *nobody, "133", f'"{ability}"', "0x4")


def imported(file: Path, chosen: Pseudonyms | None = None, stated: SideFile = STATED) -> tuple[pl.DataFrame, Log]:
    log = Log(file, stated, ImportLogs(include_dungeons=True, evening_pause_h=4), pseudonyms=chosen)
    return pl.concat([frame for _, frame in log.frames()]), log


def new_guids(guids: Iterable[str], chosen: Pseudonyms) -> dict[str, str]:
    by_kind = {"Player": chosen.player, "Pet": chosen.pet}
    return {guid: by_kind.get(guid.partition("-")[0], chosen.unit)(guid) for guid in guids}


def renamed(frame: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """A table after what pseudonyms do to it, in an order that does not depend on what they are."""
    texts = pl.col(pl.String).replace(dict(names))
    return frame.with_columns(texts).sort(pl.all())


def test_no_name_guid_or_realm_is_left_in_the_text() -> None:
    assert left([TEXT], [*PERSONAL, *REALMS]) == {*PERSONAL, *REALMS}, "the fixture holds them all"
    assert left([rewrite(TEXT)], [*PERSONAL, *REALMS]) == set()


def test_realms_stay_if_asked_for() -> None:
    text = rewrite(TEXT, KEPT)
    assert left([text], PERSONAL) == set()
    assert left([text], REALMS) == set(REALMS)
    assert re.search(r'Player-7411-[0-9A-F]{16},"[A-Z][a-z]{9}-Ashenmoor-EU"', text)


def test_every_line_stays_a_line_with_its_time_event_and_number_of_fields() -> None:
    before, after = TEXT.split("\n"), rewrite(TEXT).split("\n")
    shape = re.compile(r"[0-9/]+ [0-9:.]+  [A-Z_]+")
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert shape.findall(one) == shape.findall(other)
        # A quoted text, which may hold commas, is one field.
        first, second = (re.sub('"[^"]*"?', "", text).count(",") for text in (one, other))
        assert first == second


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
@pytest.mark.parametrize("chosen", [DROPPED, KEPT], ids=["without realm", "with realm"])
def test_a_log_makes_the_same_events_but_for_names_and_ids(log: Path, chosen: Pseudonyms) -> None:
    plain, read = imported(log)
    hidden, read_hidden = imported(log, chosen)
    assert read_hidden.books == read.books
    guids = set(re.findall(r"Player-[0-9]+-[0-9A-F]+|[A-Z][a-z]+-0-[0-9A-F-]+", log.read_text(encoding="utf-8")))
    told = pl.all().exclude("event_id", "raid_id", "^.*_name$")
    assert renamed(plain.select(told), new_guids(guids, chosen)).equals(renamed(hidden.select(told), {}))
    named = pl.col("source_player_id").str.starts_with("Player-") & (
        pl.col("source_player_id") != pl.col("source_player_name")
    )
    names = {
        (chosen.player(guid), chosen.player_name(guid, name))
        for guid, name in plain.filter(named).select("source_player_id", "source_player_name").iter_rows()
    }
    assert names == set(hidden.filter(named).select("source_player_id", "source_player_name").iter_rows())


def test_one_player_has_one_pseudonym_in_every_log_of_a_key() -> None:
    first, second = cast("Player-1-0000000A", "Torvald-Ashenmoor"), cast("Player-1-0000000A", "Torvald", "Frostbolt")
    units = [re.findall(r'Player-0-[0-9A-F]{16},"[A-Z][a-z]{9}"', rewrite(text)) for text in (first, second)]
    assert units[0] == units[1] != []
    assert rewrite(first, OTHER) != rewrite(first)


def test_another_key_has_no_pseudonym_in_common() -> None:
    words = [set(re.findall(r"[0-9A-F]{16}|\b[A-Z][a-z]{9}\b", rewrite(TEXT, chosen))) for chosen in (DROPPED, OTHER)]
    common = words[0] & words[1] - set(re.findall(r"\w+", TEXT))
    assert common == set()


def test_a_key_gives_the_pseudonyms_that_it_gave_in_version_0_1() -> None:
    assert DROPPED.player("Player-7411-0000A001") == "Player-0-C146F3E482F712D4"
    assert KEPT.player("Player-7411-0000A001") == "Player-7411-C146F3E482F712D4"
    assert DROPPED.player_name("Player-7411-0000A001", "Torvald-Ashenmoor") == "Sajakzazoh"
    assert KEPT.player_name("Player-7411-0000A001", "Torvald-Ashenmoor") == "Sajakzazoh-Ashenmoor"
    assert DROPPED.pet("Pet-0-7411-500-7-416-0100000001") == "Pet-0-0-500-7-416-24B1ADF8F0A7DE64"
    assert DROPPED.pet_name("Mausbär") == "Radoznamuf"
    assert DROPPED.mention("Torvald") == "Gotijhahiv"


@given(st.sets(st.tuples(st.integers(1, 9999), st.integers(0, 2**32 - 1)), min_size=2, max_size=50))
@hypothesis_settings(max_examples=50, deadline=None, derandomize=True)
def test_two_players_never_share_a_pseudonym(units: set[tuple[int, int]]) -> None:
    guids = [f"Player-{realm}-{number:08X}" for realm, number in units]
    for chosen in (DROPPED, KEPT):
        assert len({chosen.player(guid) for guid in guids}) == len(guids)


# As the game allows them: letters of any script, the first a capital where there are capitals.
letters = st.characters(categories=("Lu", "Ll", "Lo"), exclude_characters="ªº")
# Not the six words that the log itself has outside of quotes, for who falls or drowns: there they name nobody.
names = (
    st.text(letters, min_size=2, max_size=12)
    .map(str.capitalize)
    .filter(lambda name: name not in TEXT and name not in ENVIRONMENTS)
)
realms = st.from_regex(r"[A-Z][a-z]{3,8}('[A-Z][a-z]{2,5})?", fullmatch=True)


@given(names, realms)
@hypothesis_settings(max_examples=150, deadline=None, derandomize=True)
def test_whatever_the_name_no_line_tells_it(name: str, realm: str) -> None:
    text = line("EMOTE", "Creature-0-1-2-3-4-5", '"Rat"', "0000000000000000", "nil", f"Rat hunts {name}, again")
    text += cast("Creature-0-1-2-3-4-5", f"Mirror of {name}-{realm}", f"{name}'s Echo")
    text += line("CHAT", f"{name}-{realm}", f'"{name}"')
    text += line("SPELL_CAST_START", name, f"{name}-{realm}", f"(Player-1-0000000A,{name})")
    text += cast("Player-1-0000000A", f"{name}-{realm}") + cast("Pet-0-1-2-3-4-0000000A", name)
    text += cast("Player-1-0000000A", name)[:-30]
    assert name in text
    after = rewrite(text)
    assert not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", after)
    assert realm not in after
    assert after.count("\n") == text.count("\n")


def test_a_name_inside_of_a_chinese_or_korean_word_is_found() -> None:
    text = rewrite(cast("Player-1-0000000A", "冰霜-暗影之月") + cast("Creature-0-1-2-3-4-5", "冰霜的镜像"))
    assert "冰霜" not in text
    assert "的镜像" in text
    text = rewrite(cast("Player-1-0000000A", "Frost") + cast("Creature-0-1-2-3-4-5", "Frostmourne"))
    assert "Frostmourne" in text, "in English another word is another word"


def test_what_is_called_like_a_player_does_not_tell_whose_pseudonym_is_whose() -> None:
    player, ability = rewrite(cast("Player-1-0000000A", "Frost", "Frost Nova")).split('"')[1:4:2]
    assert ability.endswith(" Nova")
    assert not ability.startswith(("Frost", player))


def test_a_name_is_found_before_its_player_is_and_in_later_parts() -> None:
    rewriter = Rewriter(DROPPED)
    mirror = cast("Creature-0-1-2-3-4-5", "Mirror of Torvald")
    assert "Torvald" not in rewriter.rewrite(mirror + cast("Player-1-0000000A", "Torvald-Ashenmoor"))
    assert "Torvald" not in rewriter.rewrite(mirror)


def test_free_texts_go_whoever_they_name() -> None:
    rat = ("Creature-0-1-2-3-4-5", '"Rat"', "0000000000000000", "nil")
    for event in ("EMOTE", "CHAT_MSG_RAID"):
        assert rewrite(line(event, *rat, '"Ingrid waves."')) == line(event, *[""] * 5)


def test_guids_go_from_quoted_texts_too() -> None:
    text = rewrite(cast("Creature-0-1-2-3-4-5", "Rat", "Curse of Player-7411-0000A001"))
    assert re.search(r'"Curse of Player-0-[0-9A-F]{16}"', text)


def test_a_blank_line_stays_as_it_is() -> None:
    assert rewrite("\n \t\n\r\n ") == "\n \t\n\r\n "


@pytest.mark.parametrize("name", ["Unknown", ""])
def test_who_has_no_name_gets_none(name: str) -> None:
    assert f',"{name}",' in rewrite(cast("Player-1-0000000A", name) + cast("Pet-0-1-2-3-4-0000000A", name))
    assert '"Unknown Threat"' in rewrite(cast("Player-1-0000000A", name, "Unknown Threat"))


def test_names_of_pets_that_players_chose_go_and_those_of_creatures_stay() -> None:
    text = rewrite(
        cast("Pet-0-7411-2-3-416-0000000A", "Wolf")
        + cast("Creature-0-7411-2-3-165189-0000000B", "Wolf").replace("0x512", "0x1112")
        + cast("Creature-0-7411-2-3-4-0000000C", "Wolf").replace("0x512", "0xa48")
    )
    first, second, third = (line.split(",")[1:3] for line in text.splitlines())
    assert first[1] == second[1] != '"Wolf"'
    assert re.fullmatch(r"Pet-0-0-2-3-416-[0-9A-F]{16}", first[0])
    assert third == ["Creature-0-0-2-3-4-0000000C", '"Wolf"']


@pytest.mark.parametrize("block_bytes", [7, 500, 4096])
def test_the_stream_is_the_text_however_it_is_cut(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_BLOCK_BYTES", "BLOCK_BYTES"):
        monkeypatch.setattr(pseudonyms, name, block_bytes)
    lines = cast("Player-1-0000000A", "Torvald-Ashenmoor") + cast("Player-2-0000000B", "Ætherwyn-Ashenmoor")
    content = ("\ufeff" + lines * 3 + "cut o").replace("\n", "\r\n").encode()
    with rewritten(io.BytesIO(content), DROPPED) as stream:
        after = stream.read().decode()
    if block_bytes >= 500:
        assert after == rewrite((lines * 3 + "cut o").replace("\n", "\r\n"))
        assert after.count("\r\n") == 6
    assert left([after], ["Torvald", "Ætherwyn", "Ashenmoor"]) == set()


def test_the_stream_holds_no_more_than_a_block_of_a_long_log() -> None:
    asked: list[int | None] = []

    class Log(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return super().read(size)

    log = Log(cast("Player-1-0000000A", "Torvald").encode() * 20_000)
    with rewritten(log, DROPPED) as stream:
        while stream.read(2**20):
            pass
    assert asked == [len(pseudonyms.BOM), 512 * 2**10, 4 * 2**20, 4 * 2**20]


def test_bytes_that_are_no_text_do_no_harm() -> None:
    noise = bytes(range(256)) * 20 + b"\n" + cast("Player-1-0000000A", "Torvald").encode("utf-8") + b'"\xff' * 999
    with rewritten(io.BytesIO(noise), DROPPED) as stream:
        assert b"Torvald" not in stream.read()


# --- the key ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def keyless(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(pseudonyms.VARIABLE, raising=False)
    return home


def test_a_key_is_made_once_and_never_shown(keyless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = keyless / ".env"
    env.write_text("FLASK_PORT=6000\n")
    first = pseudonyms.from_settings(keep_realm=False)
    said = capsys.readouterr().err
    loaded = settings.load()
    key = loaded.pseudonym_key.get_secret_value() if loaded.pseudonym_key else ""
    assert (len(key), loaded.flask_port) == (64, 6000)
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert "PSEUDONYM_KEY: made one" in " ".join(said.split())
    assert key not in said + repr(loaded)
    assert pseudonyms.from_settings(keep_realm=False) == first
    assert capsys.readouterr().err == ""


def test_the_environment_counts_more_than_the_file(keyless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (keyless / ".env").write_text(f"PSEUDONYM_KEY={SECRET}\n")
    of_file = pseudonyms.from_settings(keep_realm=False)
    monkeypatch.setenv("PSEUDONYM_KEY", f"another {SECRET}")
    assert pseudonyms.from_settings(keep_realm=False).key != of_file.key


def test_a_key_is_not_made_while_another_process_makes_one(keyless: Path) -> None:
    with paths.sole_writer(keyless / ".env"):
        with pytest.raises(PipelineError, match=r"\.env is being written by process"):
            pseudonyms.from_settings(keep_realm=False)
        assert not (keyless / ".env").exists()
        (keyless / ".env").write_text(f"PSEUDONYM_KEY={SECRET}\n")
        assert pseudonyms.from_settings(keep_realm=True).keep_realm, "a key that is there needs no lock"


@pytest.mark.parametrize("key", ["", "fifteen letters"])
@pytest.mark.parametrize("where", ["file", "environment"])
def test_an_empty_or_short_key_is_refused_and_not_shown(
    key: str, where: str, keyless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "file":
        (keyless / ".env").write_text(f"PSEUDONYM_KEY='{key}'\n")
    else:
        monkeypatch.setenv("PSEUDONYM_KEY", key)
    with pytest.raises(PipelineError, match=rf"PSEUDONYM_KEY: has {len(key)} characters, 16 are needed") as raised:
        pseudonyms.from_settings(keep_realm=False)
    assert not key or key not in str(raised.value)


# --- a kept copy -----------------------------------------------------------------------------------------------------


def test_a_kept_copy_is_the_same_raid(home: Path, tmp_path: Path) -> None:
    packed = tmp_path / "WoWCombatLog-1.txt.gz"
    packed.write_bytes(gzip.compress(FIXTURE.read_bytes().replace(b"\n", b"\r\n")))
    kept = delivery.keep_log(packed, STATED, DROPPED)
    assert kept == paths.RAW / "WoWCombatLog-1.txt"
    text = kept.read_text(encoding="utf-8")
    assert left([text], [*PERSONAL, *REALMS]) == set()
    (events, log), (again, log_again) = imported(packed, DROPPED), imported(kept)
    assert again.equals(events)
    assert [raid.raid_id for raid in log.raids] == [raid.raid_id for raid in log_again.raids]


def test_a_kept_copy_grows_with_its_log_and_is_replaced_by_no_other(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "WoWCombatLog.txt"
    content = FIXTURE.read_bytes()
    log.write_bytes(content[:8000])
    kept = delivery.keep_log(log, STATED, DROPPED)
    log.write_bytes(content)
    assert delivery.keep_log(log, STATED, DROPPED) == kept
    assert kept.read_text(encoding="utf-8").count("\n") == TEXT.count("\n")
    with pytest.raises(PipelineError, match="another log of this name is kept already"):
        delivery.keep_log(log, STATED)
    with pytest.raises(PipelineError, match="another log of this name is kept already"):
        delivery.keep_log(log, STATED, OTHER)


def test_a_log_whose_names_the_next_run_would_import_is_refused(home: Path) -> None:
    log = paths.RAW / "WoWCombatLog.txt"
    log.parent.mkdir(parents=True)
    log.write_text(TEXT, encoding="utf-8")
    with pytest.raises(PipelineError, match=r"data/raw.*with its names.*move it"):
        combatlog.import_log(log, year=2022, utc_offset="Z", pseudonyms=DROPPED)


# --- every layer -----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(home: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose stages use the tests' store."""
    for name, value in connection.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.delenv(pseudonyms.VARIABLE, raising=False)
    return home


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], env=os.environ, capture_output=True, text=True, check=False
    )


def gold_from_raw() -> None:
    combatlog.run()
    ingest.run()
    silver.run()
    gold.run()


def contents(folder: Path) -> Iterator[str]:
    """What all files of a folder say, and what they are called; tables by their cells and their metadata."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(file.relative_to(folder))
        if file.suffix == ".parquet":
            yield pl.read_parquet(file).select(pl.col(pl.String, pl.List(pl.String))).write_json()
            yield json.dumps(pl.read_parquet_metadata(file))
        else:
            yield file.read_bytes().decode("utf-8", "replace")


def stored(connection: Connection, raid_id: str) -> Iterator[str]:
    """All that the store holds of a raid: keys, attributes, contents."""
    bucket = open_store("s3://bronze", connection)
    for listed in bucket.list(f"{bronze.PREFIX}/raidid={raid_id}/"):
        yield f"{bucket.head(listed.key)}\n{bucket.get(listed.key).decode()}"


def gold_tables(folder: Path) -> dict[str, pl.DataFrame]:
    tables = sorted((folder / "data" / "gold").rglob("*.parquet"))
    assert tables
    return {str(file.relative_to(folder)): pl.read_parquet(file, hive_partitioning=False) for file in tables}


@pytest.mark.parametrize("options", [[], ["--keep-realm"]], ids=["without realm", "with realm"])
def test_nothing_of_a_name_is_left_in_any_layer_and_gold_is_the_same(
    options: list[str], checkout: Path, tmp_path: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tmp_path / "original.txt"
    original.write_text(TEXT, encoding="utf-8")
    with ingest.receiver_process(connection, 1) as receiver:
        stating = [str(original), "--url", receiver.url, "--year", "2022", "--utc-offset=+02:00"]
        done = command("import-log", *stating, "--keep", "--pseudonymise", *options)
        assert done.returncode == 0, done.stderr
        said = [done.stdout, done.stderr, receiver.output.read_text()]
    gold_from_raw()
    raid_id = gold_tables(checkout)["data/gold/dim_raid/v1/part-0.parquet"]["raid_id"].item()
    assert f"raid {raid_id}" in done.stderr
    key = settings.load().pseudonym_key
    (checkout / ".env").unlink()
    layers = [*said, *contents(checkout), *stored(connection, raid_id)]
    searched = [*PERSONAL, *([] if options else REALMS)]
    assert left(layers, searched) == set()
    assert key
    assert left(layers, [key.get_secret_value()]) == set()

    monkeypatch.setenv("PSEUDONYM_KEY", key.get_secret_value())
    chosen = pseudonyms.from_settings(keep_realm=bool(options))
    hidden = gold_tables(checkout)
    (checkout / "data/raw/original.txt").write_text(TEXT, encoding="utf-8")
    gold_from_raw()
    plain = gold_tables(checkout)
    people = {"Grimtusk, the Elder", *NAMES.values()}
    assert left(contents(checkout), people) == people, "the search finds what is there"
    names = {name: chosen.player_name(guid, name) for guid, name in NAMES.items()}
    guids = {guid: chosen.player(guid) for guid in (*NAMES, "Player-7411-0000A007", "Player-7415-0000A008")}
    raid = {plain["data/gold/dim_raid/v1/part-0.parquet"]["raid_id"].item(): raid_id}
    assert raid_id not in raid, "a raid's id is made of its lines"
    assert [renamed(table, names | guids | raid).to_dicts() for table in plain.values()] == [
        renamed(table, {}).to_dicts() for table in hidden.values()
    ]


def test_the_realm_is_kept_only_of_pseudonyms(home: Path) -> None:
    done = command("import-log", str(FIXTURE), "--keep-realm")
    assert done.returncode == 1
    assert "--keep-realm says what --pseudonymise leaves" in done.stderr
    assert not (home / ".env").exists()
