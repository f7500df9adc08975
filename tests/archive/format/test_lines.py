"""Frames go in and come out byte for byte, whatever they are."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.errors import Corrupt, UnknownVersion
from tape_archive.format.lines import Line, frame_line, is_mark, mark_line, parse, part_line, reply_line, time_of

times = st.integers(min_value=0, max_value=2**62)
frames = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x), max_leaves=8
    ).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.sampled_from([b'{"a":"\\",\\"m\\":1}"}', b'{"x":1}\n', b"{\r}", b"PONG", b"{}", b"[]", b'{"m":{"t":1,"s":"x","m":2}}', b"{\xff}"]),
)


@given(times, frames)
def test_a_frame_comes_back(t: int, data: bytes) -> None:
    line = frame_line(t, "public-1", data)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert parse(line) == Line(t, "public-1", data)
    assert time_of(line) == t


@given(times, frames, st.integers(0, 5000) | st.lists(st.integers(0, 5000), min_size=2, max_size=9))
def test_a_part_comes_back(t: int, data: bytes, part: int | list[int]) -> None:
    assert parse(part_line(t, "clob-2", part, data)) == Line(t, "clob-2", data, part)


@given(times, frames, st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from([200, 0, 404, 429]))
def test_a_reply_comes_back(t: int, data: bytes, request: str, status: int) -> None:
    assert parse(reply_line(t, request, data, status)) == Line(t, "rest", data, None, request, status)


@pytest.mark.parametrize("request_", ['GET /a?x="q"', 'POST /b {"a":"\\",\\"m\\":1"}', 'GET /,"m":', "a\\"])
def test_a_request_with_quotes(request_: str) -> None:
    assert parse(reply_line(7, request_, b'{"m":1}')).request == request_


def test_a_mark_comes_back() -> None:
    assert parse(mark_line(5, "tape", "gap", {"from_id": 3, "why": 'a "quoted" reason'})) == Line(
        5, "tape", mark="gap", fields={"from_id": 3, "why": 'a "quoted" reason'}
    )
    assert parse(mark_line(5, "tape", "seal", {})) == Line(5, "tape", mark="seal")


@given(st.binary(max_size=80))
def test_garbage_is_refused_in_one_line(data: bytes) -> None:
    try:
        parse(data)
    except Corrupt as error:
        assert "\n" not in str(error)


@given(times, frames, st.data())
def test_a_torn_line_is_refused_or_shorter(t: int, data: bytes, draw: st.DataObject) -> None:
    line = frame_line(t, "s-1", data)[:-1]
    cut = draw.draw(st.integers(0, len(line) - 1))
    with contextlib.suppress(Corrupt):
        assert parse(line[:cut]) != parse(line)


def test_a_tape_of_a_newer_format_is_refused_and_nothing_else_that_is_new() -> None:
    with pytest.raises(UnknownVersion, match="format 2, this program reads up to 1: upgrade"):
        parse(mark_line(5, "tape", "tape", {"format": 2}))
    assert parse(mark_line(5, "tape", "tape", {"format": 1, "new": 1})).fields == {"format": 1, "new": 1}
    assert parse(mark_line(5, "tape", "weather", {"format": 2})).mark == "weather"


def test_marks_are_told_from_frames_that_look_like_them() -> None:
    assert is_mark(mark_line(5, "tape", "seal", {"lines": 3}), "seal")
    assert not is_mark(mark_line(5, "tape", "sealed", {}), "seal")
    assert not is_mark(frame_line(5, "x-1", b'{"mark":"seal"}'), "seal")
