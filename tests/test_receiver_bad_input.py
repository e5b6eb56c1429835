"""Bad input over real HTTP: what each refusal says of what, where and why, and that nothing of the batch is stored."""

import codecs
import gzip
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import zstandard

from pipeline import ingest, receiver
from pipeline.store import Connection, ObjectStore, ensure_bucket, open_store
from tests.conftest import ROOT, make_home

RAID = "raid001"
EVENT_ID = "0b9a4c1e-8f6b-4f6e-9b57-0d9b9e1f3c11"
ARRIVAL = "2026-01-05T20:00:00.000000Z"
JSON = {"Content-Type": "application/json"}
TYPE = "https://wow-raid-telemetry.example/problem/"
MISSING = ...


def event(**fields: Any) -> dict[str, Any]:
    """A valid hit, with some fields changed; a field given as `...` is left out."""
    hit: dict[str, Any] = {
        "event_id": EVENT_ID,
        "event_type": "combat_damage",
        "timestamp": "2026-01-05T19:30:00.250Z",
        "raid_id": RAID,
        "source_player_id": "player-1",
        "source_player_name": "Arin",
        "damage_amount": 1200,
    }
    return {name: value for name, value in (hit | fields).items() if value is not MISSING}


def batch(*candidates: Any) -> bytes:
    return json.dumps(candidates).encode()


def written(field: str, raw: str) -> bytes:
    """A batch of two, the second with a value that Python's own writer would not write."""
    return batch(event(), event(**{field: "RAW"})).replace(b'"RAW"', raw.encode())


@pytest.fixture(scope="module")
def bucket_of_its_own(connection: Connection) -> str:
    name = f"bad-input-{uuid4().hex[:8]}"
    ensure_bucket(name, connection)
    return name


@pytest.fixture(scope="module")
def client(
    connection: Connection, bucket_of_its_own: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(make_home(tmp_path_factory.mktemp("receiver"))))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("S3_BUCKET_BRONZE", bucket_of_its_own)
        with (
            ingest.receiver_process(connection, workers=1) as running,
            httpx.Client(base_url=running.url, timeout=60, trust_env=False) as opened,
        ):
            yield opened


@pytest.fixture
def stored(connection: Connection, bucket_of_its_own: str) -> ObjectStore:
    return open_store(f"s3://{bucket_of_its_own}", connection)


Refused = Callable[..., dict[str, Any]]


@pytest.fixture
def refused(client: httpx.Client, stored: ObjectStore) -> Refused:
    """Posts a body that must be refused, and returns the problem document; the bucket must be as it was before."""

    def post(body: bytes, status: int = 400, **headers: str) -> dict[str, Any]:
        before = stored.list()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.post("/events", content=body, headers=JSON | {"X-Ingest-Timestamp": ARRIVAL} | named)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert stored.list() == before
        document: dict[str, Any] = answer.json()
        assert document["status"] == status
        return document

    return post


def the_error(document: dict[str, Any]) -> tuple[int | None, str | None, str, str]:
    """The one error of a refused batch: index, field, the value's type, reason."""
    assert document["type"] == TYPE + "invalid-batch"
    assert document["title"] == "Invalid batch"
    assert document["detail"] == "1 error; nothing of the batch was stored"
    assert document["error_count"] == 1
    (error,) = document["errors"]
    return error["index"], error["field"], error["input_type"], error["reason"]


ISO = "Input should be ISO 8601 with offset, like 2026-01-05T19:30:00.250Z (hours to 23, seconds to 59)"
FINITE = "Input should be a finite number"
INTEGER = "Input should be a valid integer"
EXTRA = "Extra inputs are not permitted"
WRONG_FIELDS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("wrong type", {"source_player_id": 7}, "source_player_id", "integer", "Input should be a valid string"),
    ("null where required", {"raid_id": None}, "raid_id", "null", "Input should be a valid string"),
    ("bool as number", {"damage_amount": True}, "damage_amount", "boolean", "Input should be a valid number"),
    ("bool as integer", {"raid_size": True}, "raid_size", "boolean", INTEGER),
    ("number as bool", {"is_blocked": 1}, "is_blocked", "integer", "Input should be a valid boolean"),
    ("number as string", {"damage_amount": "1200"}, "damage_amount", "string", "Input should be a valid number"),
    ("string as number", {"ability_id": 133}, "ability_id", "integer", "Input should be a valid string"),
    ("fraction as integer", {"phase": 1.5}, "phase", "number", INTEGER),
    ("NaN in quotes", {"damage_amount": "NaN"}, "damage_amount", "string", "Input should be a valid number"),
    ("Infinity in quotes", {"damage_amount": "Infinity"}, "damage_amount", "string", "Input should be a valid number"),
    ("below a bound", {"raid_size": 0}, "raid_size", "integer", "Input should be greater than or equal to 1"),
    ("above a bound", {"raid_size": 101}, "raid_size", "integer", "Input should be less than or equal to 100"),
    ("hit of nothing", {"damage_amount": 0}, "damage_amount", "integer", "Input should be greater than 0"),
    (
        "no such choice",
        {"source_player_role": "bard"},
        "source_player_role",
        "string",
        "Input should be 'tank', 'healer' or 'dps'",
    ),
    (
        "name too long",
        {"source_player_name": "x" * 65},
        "source_player_name",
        "string",
        "String should have at most 64 characters",
    ),
    ("empty id", {"source_player_id": ""}, "source_player_id", "string", "String should have at least 1 character"),
    ("missing field", {"source_player_name": MISSING}, "source_player_name", "absent", "Field required"),
    ("missing damage", {"damage_amount": MISSING}, "damage_amount", "absent", "Field required"),
    ("missing healing", {"event_type": "heal"}, "healing_amount", "absent", "Field required"),
    ("missing resource", {"event_type": "mana_regeneration"}, "resource_type", "absent", "Field required"),
    ("unknown field", {"favourite_colour": "red"}, "favourite_colour", "string", EXTRA),
    ("field of an older version", {"damage": None}, "damage", "null", EXTRA),
    ("naive timestamp", {"timestamp": "2026-01-05T19:30:00"}, "timestamp", "string", ISO),
    ("timestamp as number", {"timestamp": 1767641400}, "timestamp", "integer", ISO),
    ("leap second", {"timestamp": "2016-12-31T23:59:60Z"}, "timestamp", "string", ISO),
    (
        "no such day",
        {"timestamp": "2026-02-29T00:00:00Z"},
        "timestamp",
        "string",
        "Input should be a valid datetime or date, day value is outside expected range",
    ),
    (
        "year 0 in UTC",
        {"timestamp": "0001-01-01T00:00:00+01:00"},
        "timestamp",
        "string",
        "Input should be greater than or equal to 0001-01-01T00:00:00Z",
    ),
    (
        "30 levels",
        {"data_quality_flags": json.loads("[" * 30 + "]" * 30)},
        "data_quality_flags.0",
        "array",
        "Input should be a valid string",
    ),
    ("30 levels of the unknown", {"x": json.loads('{"a":' * 30 + "1" + "}" * 30)}, "x", "object", EXTRA),
    (
        "id in parentheses",
        {"event_id": "(7)"},
        "event_id",
        "string",
        "Input should be a valid UUID, invalid character: found `(` at 0",
    ),
]


@pytest.mark.parametrize(
    ("fields", "field", "input_type", "reason"), [pytest.param(*case[1:], id=case[0]) for case in WRONG_FIELDS]
)
def test_a_wrong_field_is_named_with_index_type_and_reason(
    refused: Refused, fields: dict[str, Any], field: str, input_type: str, reason: str
) -> None:
    document = refused(batch(event(), event(**fields), event()))
    assert the_error(document) == (1, field, input_type, reason)


@pytest.mark.parametrize(
    ("field", "raw", "input_type", "reason"),
    [
        ("damage_amount", "NaN", "number", FINITE),
        ("damage_amount", "Infinity", "number", FINITE),
        ("damage_amount", "-Infinity", "number", FINITE),
        ("damage_amount", "1e400", "number", FINITE),
        ("resource_amount_before", "1e400", "number", FINITE),
        ("resource_amount_before", "9" * 400, "integer", FINITE),
        ("phase", "NaN", "number", INTEGER),
        ("phase", "1e400", "number", INTEGER),
        ("phase", "1.0", "number", INTEGER),
        ("phase", "9223372036854775808", "integer", "Input should be less than or equal to 9007199254740991"),
        ("phase", "9" * 400, "integer", "Input should be less than or equal to 9007199254740991"),
        ("source_player_level", "-" + "9" * 30, "integer", "Input should be greater than or equal to 1"),
    ],
    ids=lambda value: value[:24],
)
def test_a_number_that_json_or_a_column_cannot_hold_is_named(
    refused: Refused, field: str, raw: str, input_type: str, reason: str
) -> None:
    assert the_error(refused(written(field, raw))) == (1, field, input_type, reason)


SOUND = batch(event(), event())
NOT_JSON: list[tuple[str, bytes, str]] = [
    ("empty body", b"", "EOF while parsing a value at line 1 column 0"),
    ("blank body", b" \n", "EOF while parsing a value at line 2 column 0"),
    ("no JSON", b"event_id,event_type\n1,heal\n", "expected value at line 1 column 1"),
    ("truncated in a string", SOUND[:20], "EOF while parsing a string at line 1 column 20"),
    ("truncated by one byte", SOUND[:-1], f"EOF while parsing a list at line 1 column {len(SOUND) - 1}"),
    ("more than one value", SOUND + SOUND, f"trailing characters at line 1 column {len(SOUND) + 1}"),
    ("one event per line", SOUND[1:-1].replace(b"}, {", b"}\n{"), "trailing characters at line 2 column 1"),
    ("a comma too many", SOUND[:-1] + b",]", f"trailing comma at line 1 column {len(SOUND) + 1}"),
    ("a comment", b"/* raid */" + SOUND, "expected value at line 1 column 1"),
    ("single quotes", SOUND.replace(b'"', b"'"), "key must be a string at line 1 column 3"),
    ("10,000 levels", b"[" * 10_000 + b"]" * 10_000, "recursion limit exceeded at line 1 column 202"),
    ("a number of 6,000 digits", b"[" + b"9" * 6000 + b"]", "number out of range at line 1 column"),
    ("half a pair", written("ability_id", r'"\ud800"'), "unexpected end of hex escape at line 1 column"),
    ("half a pair in an id", written("event_id", r'"\udc00"'), "lone leading surrogate in hex escape at line 1 column"),
    ("half a pair in a key", SOUND.replace(b"damage", rb"\ud800"), "unexpected end of hex escape at line 1 column"),
    (
        "Latin-1",
        written("source_player_name", '"Zoë"').decode().encode("latin-1"),
        "invalid unicode code point at line 1 column",
    ),
    (
        "half a UTF-8 character",
        written("ability_id", '"ë"').replace("ë".encode(), b"\xc3"),
        "invalid unicode code point at line 1 column",
    ),
    (
        "UTF-8 of half a pair",
        written("ability_id", '"ë"').replace("ë".encode(), b"\xed\xa0\x80"),
        "invalid unicode code point at line 1 column",
    ),
    ("UTF-16 without a mark", SOUND.decode().encode("utf-16-le"), "expected value at line 1 column 2"),
    (
        "a bare NUL",
        written("ability_id", '"\x00"'),
        "control character (\\u0000-\\u001F) found while parsing a string at line 1 column",
    ),
    (
        "a bare newline",
        written("ability_id", '"a\nb"'),
        "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
    ),
]


@pytest.mark.parametrize(("body", "reason"), [pytest.param(*case[1:], id=case[0]) for case in NOT_JSON])
def test_what_is_no_json_is_refused_with_the_place_of_the_fault(refused: Refused, body: bytes, reason: str) -> None:
    index, field, input_type, said = the_error(refused(body))
    assert (index, field, input_type) == (None, None, "text")
    assert said.startswith(f"Invalid JSON: {reason}")


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE])
def test_a_byte_order_mark_is_refused_by_its_name(refused: Refused, mark: bytes) -> None:
    reason = "begins with a byte order mark; send UTF-8 without one"
    assert the_error(refused(mark + SOUND)) == (None, None, "text", reason)


@pytest.mark.parametrize(
    ("body", "input_type", "reason"),
    [
        (json.dumps(event()).encode(), "object", "Input should be a valid array"),
        (b'{"events": []}', "object", "Input should be a valid array"),
        (b"null", "null", "Input should be a valid array"),
        (b"7", "integer", "Input should be a valid array"),
        (b'"[]"', "string", "Input should be a valid array"),
        (b"[]", "array", "List should have at least 1 item after validation, not 0"),
    ],
)
def test_what_is_no_array_of_events_is_refused_as_a_whole(
    refused: Refused, body: bytes, input_type: str, reason: str
) -> None:
    assert the_error(refused(body)) == (None, None, input_type, reason)


@pytest.mark.parametrize(
    ("element", "field", "input_type", "reason"),
    [
        (None, None, "null", "Input should be an object"),
        ([], None, "array", "Input should be an object"),
        ("event", None, "string", "Input should be an object"),
        ([event()], None, "array", "Input should be an object"),
        ({}, "event_type", "absent", "Unable to extract tag using discriminator 'event_type'"),
        (event(event_type=MISSING), "event_type", "absent", "Unable to extract tag using discriminator 'event_type'"),
        (
            event(event_type=None),
            "event_type",
            "null",
            "Input tag 'None' found using 'event_type' does not match any of the expected tags: 'combat_damage'",
        ),
        (
            event(event_type="dance"),
            "event_type",
            "string",
            "Input tag 'dance' found using 'event_type' does not match any of the expected tags: 'combat_damage'",
        ),
    ],
)
def test_an_element_that_is_no_event_is_named(
    refused: Refused, element: Any, field: str | None, input_type: str, reason: str
) -> None:
    *where, said = the_error(refused(batch(event(), element)))
    assert where == [1, field, input_type]
    assert said.startswith(reason)


TWICE = "is named more than once in this event; name it once"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('"damage_amount":5', "damage_amount"),
        ('"damage_amount":1200', "damage_amount"),
        ('"damage_am\\u006funt" :5', "damage_amount"),
        ('"event_type":"heal","healing_amount":4', "event_type"),
        ('"raid_id":"raid002"', "raid_id"),
        ('"phase":null,"ability_id":"\\":\\":","phase":1', "phase"),
    ],
)
def test_a_field_named_twice_is_refused_not_overwritten(refused: Refused, more: str, field: str) -> None:
    doubled = f"{json.dumps(event())[:-1]},{more}}}"
    body = f"[{json.dumps(event())},{doubled}]".encode()
    assert the_error(refused(body)) == (1, field, "object", TWICE)


def test_an_unknown_field_named_twice_is_refused_as_unknown(refused: Refused) -> None:
    document = refused(f'[{json.dumps(event())[:-1]},"x":1,"x":2}}]'.encode())
    assert [error["reason"] for error in document["errors"]] == [EXTRA, EXTRA]


def test_of_many_fields_named_twice_fifty_are_listed_and_all_counted(refused: Refused) -> None:
    doubled = json.dumps(event())[:-1] + ',"damage_amount":1}'
    document = refused(f"[{','.join([doubled] * 60)}]".encode())
    assert (document["error_count"], len(document["errors"])) == (60, 50)
    assert document["detail"] == "60 errors, 50 of them listed; nothing of the batch was stored"


def test_two_raids_in_a_batch_are_refused(refused: Refused) -> None:
    document = refused(batch(event(), event(), event(raid_id="raid002")))
    assert the_error(document) == (2, "raid_id", "string", "a batch is of one raid: its first event is of raid001")


def test_a_future_event_is_refused_beyond_five_minutes_and_taken_within(refused: Refused, client: httpx.Client) -> None:
    arrival = datetime.fromisoformat(ARRIVAL)
    within, beyond = arrival + timedelta(minutes=5), arrival + timedelta(minutes=5, microseconds=1)
    reason = f"lies more than 300 s after the batch's arrival, {ARRIVAL}"
    elsewhere = beyond.astimezone(UTC).isoformat().replace("20:05", "10:05").replace("+00:00", "-10:00")
    for late in (beyond.isoformat(), elsewhere, "9999-12-31T23:59:59.999999Z"):
        assert the_error(refused(batch(event(), event(timestamp=late)))) == (1, "timestamp", "string", reason)
    headers = JSON | {"X-Ingest-Timestamp": ARRIVAL}
    assert client.post("/events", content=batch(event(timestamp=within.isoformat())), headers=headers).is_success


def test_ten_thousand_events_are_taken_and_one_more_is_refused(refused: Refused, client: httpx.Client) -> None:
    many = [event(event_id=str(uuid4())) for _ in range(10_001)]
    reason = "List should have at most 10000 items after validation, not 10001"
    assert the_error(refused(batch(*many))) == (None, None, "array", reason)
    answer = client.post("/events", content=batch(*many[:10_000]), headers=JSON)
    assert (answer.status_code, answer.json()["event_count"]) == (201, 10_000)


def problem_of(document: dict[str, Any]) -> tuple[str, str]:
    return document["type"].removeprefix(TYPE), document["detail"]


@pytest.mark.parametrize("media_type", ["text/csv", "text/json", "application/x-ndjson", "application/json5", "*/*"])
def test_another_media_type_is_refused(refused: Refused, media_type: str) -> None:
    document = refused(SOUND, 415, Content_Type=media_type)
    assert problem_of(document) == ("media-type", f"Content-Type must be application/json, not {media_type}")


@pytest.mark.parametrize("charset", ["iso-8859-1", "UTF-16", "windows-1252", "utf-7"])
def test_another_charset_is_refused(refused: Refused, charset: str) -> None:
    document = refused(SOUND, 415, Content_Type=f"application/json; charset={charset}")
    assert problem_of(document) == ("charset", f"JSON is sent in UTF-8, not in {charset}")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"Utf-8"', "utf8", "us-ascii"])
def test_utf_8_may_be_said(client: httpx.Client, charset: str) -> None:
    headers = {"Content-Type": f"application/json ; charset={charset}"}
    assert client.post("/events", content=batch(event()), headers=headers).is_success


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CORRUPT: list[tuple[str, str, bytes]] = [
    ("plain as gzip", "gzip", SOUND),
    ("plain as zstd", "zstd", SOUND),
    ("zstd as gzip", "gzip", zstandard.compress(SOUND)),
    ("gzip as zstd", "zstd", gzip.compress(SOUND)),
    ("cut gzip", "gzip", gzip.compress(SOUND)[:-9]),
    ("cut zstd", "zstd", zstandard.compress(SOUND)[:-9]),
    ("cut gzip header", "gzip", gzip.compress(SOUND)[:5]),
    ("cut zstd header", "zstd", ZSTD_MAGIC),
    ("changed gzip checksum", "gzip", gzip.compress(SOUND)[:-8] + bytes(8)),
    ("changed gzip data", "gzip", gzip.compress(SOUND)[:20] + b"\xff" * 8 + gzip.compress(SOUND)[28:]),
    ("changed zstd data", "zstd", ZSTD_MAGIC + b"\xff" * 60),
    ("gzip with a tail", "gzip", gzip.compress(SOUND) + b"tail"),
    ("zstd with a tail", "zstd", zstandard.compress(SOUND) + b"tail"),
]


@pytest.mark.parametrize(("encoding", "body"), [pytest.param(*case[1:], id=case[0]) for case in CORRUPT])
def test_a_garbled_compressed_body_is_refused(refused: Refused, encoding: str, body: bytes) -> None:
    name, detail = problem_of(refused(body, Content_Encoding=encoding))
    assert name == "encoding"
    assert detail.startswith(f"the body is not valid {encoding}: ")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x-gzip", ""])
def test_an_unknown_encoding_is_refused_with_those_that_are_known(refused: Refused, encoding: str) -> None:
    document = refused(SOUND, 415, Content_Encoding=encoding)
    assert problem_of(document) == (
        "content-encoding",
        f"Content-Encoding {encoding} is unknown; use gzip, zstd or none",
    )


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_an_empty_or_bad_batch_is_refused_compressed_as_well(
    refused: Refused, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    index, field, _, reason = the_error(refused(compress(b""), Content_Encoding=encoding))
    assert (index, field) == (None, None)
    assert reason == "Invalid JSON: EOF while parsing a value at line 1 column 0"
    document = refused(compress(batch(event(raid_size=0))), Content_Encoding=encoding)
    assert the_error(document)[:2] == (0, "raid_size")


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_bomb_is_refused_as_too_large(refused: Refused, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    document = refused(compress(b"[" + b" " * 100_000_000), 413, Content_Encoding=encoding)
    detail = f"a body has at most {receiver.MAX_BODY_BYTES} bytes, decompressed as well; send smaller batches"
    assert problem_of(document) == ("too-large", detail)


def test_a_body_that_ends_before_its_announced_length_is_not_stored(client: httpx.Client, stored: ObjectStore) -> None:
    before, body = stored.list(), batch(event())
    head = (
        f"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    )
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    detail = f"the body ends after {len(body)} of the {len(body) + 1} bytes that Content-Length announces"
    assert (document["status"], *problem_of(document)) == (400, "truncated", detail)
    assert stored.list() == before


def test_null_counts_as_absent_and_text_with_nul_comes_back(client: httpx.Client, stored: ObjectStore) -> None:
    sent = event(phase=None, encounter_id=None, ability_name="a\x00b")
    answer = client.post("/events", content=batch(sent), headers=JSON)
    assert answer.status_code == 201
    (kept,) = json.loads(stored.get(answer.json()["key"]))
    assert kept["ability_name"] == "a\x00b"
    assert not {"phase", "encounter_id"} & kept.keys()
