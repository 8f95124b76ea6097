from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poddispatchd.domain.file_policy import path_problem
from poddispatchd.domain.manifest import (
    MOST_FILES,
    Manifest,
    ResultFile,
    left_out,
    left_out_words,
    parse_manifest,
    wanted,
)
from poddispatchd.domain.task import RunnerTaskId, TaskType
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError, UnusableAnswerError

TASK = RunnerTaskId("adcb961a-5970-44a1-82d3-f8cb467f69aa")
SHA = "5bca9ed7fb120bd9d8ee74002c11045d2e60b4919f3b134c235afd0da693acec"


def parse(*files: object) -> Manifest:
    return parse_manifest({"task_id": TASK, "files": list(files)}, TASK)


def paths(*files: object) -> list[str]:
    return [file.path for file in parse(*files).files]


def test_plain_names_keep_the_order_of_the_manager() -> None:
    assert paths("info_video.json", "360p_x.ts") == ["info_video.json", "360p_x.ts"]


def test_entries_may_be_objects_under_either_key_with_a_sum() -> None:
    manifest = parse({"file_path": "a.ts", "sha256": SHA.upper()}, {"path": "b.ts"})

    assert manifest.files == (ResultFile("a.ts", SHA), ResultFile("b.ts"))


@pytest.mark.parametrize("sha256", ["xyz", 12, None, "", SHA[:-1], "g" * 64])
def test_a_sum_that_is_none_is_ignored_as_pod_does(sha256: object) -> None:
    assert parse({"path": "a.ts", "sha256": sha256}).files == (ResultFile("a.ts"),)


@pytest.mark.parametrize(
    "entry", [12, None, {}, {"file_path": ""}, {"file_path": 3, "path": ""}, "", ["x"], True]
)
def test_an_entry_that_names_nothing_is_skipped_as_pod_does(entry: object) -> None:
    assert paths("a.ts", entry, "b.ts") == ["a.ts", "b.ts"]


def test_a_file_listed_twice_is_fetched_once() -> None:
    manifest = parse("a.ts", "b.ts", {"path": "a.ts", "sha256": SHA}, "a.ts")

    assert manifest.files == (ResultFile("a.ts", SHA), ResultFile("b.ts"))


def test_two_sums_for_one_file_refuse_the_result() -> None:
    with pytest.raises(ResultRefusedError, match="two different sha256"):
        parse({"path": "a.ts", "sha256": SHA}, {"path": "a.ts", "sha256": SHA[::-1]})


@pytest.mark.parametrize(
    "name",
    [
        "/abs.txt",
        "../evil.txt",
        "..",
        "a/../../b.txt",
        "a/./../c.txt",
        "a/..",
        "a\\b.txt",
        "..\\b.txt",
        "a\0.txt",
        "a\n.txt",
        "a\x7f.txt",
        "a\x85.txt",
        "a//b.txt",
        "./a.txt",
        ".",
        "dir/",
        "\ud800.txt",
        "x" * 256,
        "é" * 128,
        "d/" * 600 + "x",
        "d/" * 16 + "x",
    ],
)
def test_one_unsafe_name_refuses_the_whole_result(name: str) -> None:
    with pytest.raises(ResultRefusedError):
        parse("info_video.json", name)


def test_every_unsafe_name_is_told_without_its_control_characters() -> None:
    with pytest.raises(ResultRefusedError) as refused:
        parse("/a", "b\x1b[31m", "fine")

    assert len(refused.value.findings) == 2
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "..double.txt",
        ".hidden",
        "a..b",
        "...",
        "sub/dir/x.bin",
        "a b é.txt",
        "100%.txt",
        "h#x.txt",
        "日本.txt",
    ],
)
def test_a_harmless_name_is_accepted(name: str) -> None:
    assert paths(name) == [name]


@pytest.mark.parametrize(
    "names",
    [
        ("\u00e9.txt", "e\u0301.txt"),
        ("A.ts", "a.ts"),
        ("360p.m3u8", "360P.m3u8"),
        ("sub/x.ts", "SUB/x.ts"),
        ("\u00c9.ts", "e\u0301.ts"),
        ("sub/x.ts", "SUB/y.ts", "Sub/z.ts"),
    ],
)
def test_two_spellings_of_one_name_refuse_the_result_whatever_the_store_makes_of_them(
    names: tuple[str, ...],
) -> None:
    with pytest.raises(ResultRefusedError, match="two spellings"):
        parse(*names)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("\u00e9/x", "e\u0301"), ("A", "a/b")])
def test_a_file_that_is_also_a_directory_refuses_the_result(names: tuple[str, ...]) -> None:
    with pytest.raises(ResultRefusedError, match="below another file"):
        parse(*names)


@pytest.mark.parametrize(
    ("longest", "more"),
    [
        ("a" * 255, "a"),
        ("é" * 127 + "a", "a"),
        ("/".join("b" * 16), "/b"),
        ("/".join(["c" * 204] * 5), "c"),
        ("d/" + "e" * 255, "e"),
    ],
)
def test_a_name_as_long_as_every_file_system_takes_is_accepted(longest: str, more: str) -> None:
    assert paths(longest) == [longest]
    with pytest.raises(ResultRefusedError, match=r"is too long|in too many directories"):
        parse(longest + more)


def test_as_many_files_as_may_be_are_accepted() -> None:
    manifest = parse(*(f"{number}.ts" for number in range(MOST_FILES)))
    assert (manifest.task_id, len(manifest.files)) == (TASK, MOST_FILES)


def test_too_many_files_refuse_the_result() -> None:
    with pytest.raises(ResultRefusedError, match="10001"):
        parse(*(f"{number}.ts" for number in range(MOST_FILES + 1)))


@pytest.mark.parametrize("files", [{"a": 1}, None, "a.ts", 3])
def test_something_that_is_no_list_is_unusable(files: object) -> None:
    with pytest.raises(UnusableAnswerError):
        parse_manifest({"task_id": TASK, "files": files}, TASK)


def test_the_manifest_of_another_task_is_unusable() -> None:
    with pytest.raises(UnusableAnswerError, match="another task"):
        parse_manifest({"task_id": "other", "files": ["a"]}, TASK)


@pytest.mark.parametrize("files", [(), (None, "")])
def test_a_result_without_any_file_is_incomplete(files: tuple[object, ...]) -> None:
    with pytest.raises(ResultIncompleteError):
        parse(*files)


def test_of_a_transcription_only_subtitles_and_json_are_wanted_in_any_letter_case() -> None:
    manifest = parse(
        "s.vtt", "SUB.VTT", "info_video.json", "s.mp3", "s.source-fr.webvtt.txt", "out/t.vtt", "vtt"
    )

    assert [file.path for file in wanted(manifest, TaskType.TRANSCRIPTION)] == [
        "s.vtt",
        "SUB.VTT",
        "info_video.json",
        "out/t.vtt",
    ]


@pytest.mark.parametrize("task_type", [TaskType.ENCODING, TaskType.STUDIO])
def test_of_every_other_task_all_files_are_wanted(task_type: TaskType) -> None:
    manifest = parse("a.ts", "b.vtt")

    assert wanted(manifest, task_type) == manifest.files


_odd_text = st.text(alphabet=st.sampled_from("./\\ab\0\n é\u0301e"), max_size=12) | st.text(max_size=20)


@given(name=_odd_text)
@example(name="a/..")
def test_a_name_found_safe_always_stays_below_its_directory(name: str) -> None:
    if path_problem(name) is None:
        parts = PurePosixPath("/base", name).parts
        assert parts[:2] == ("/", "base")
        assert len(parts) > 2
        assert ".." not in parts
        assert str(PurePosixPath(name)) == name
        assert "\0" not in name


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _odd_text,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["path", "file_path", "sha256", "files"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(files=_json)
def test_any_json_gives_a_manifest_or_one_of_three_errors(files: object) -> None:
    try:
        manifest = parse_manifest({"task_id": TASK, "files": files}, TASK)
    except (UnusableAnswerError, ResultRefusedError, ResultIncompleteError):
        return
    names = [file.path for file in manifest.files]
    assert names
    assert len(names) == len(set(names))
    assert all(path_problem(name) is None for name in names)


def test_files_that_pod_must_not_serve_are_not_fetched_and_told_a_few_by_name() -> None:
    names = ["360p_a.ts", "SUB.VTT", ".htaccess", "a.html", *(f"{number}.exe" for number in range(20))]
    manifest = parse(*names)
    assert [file.path for file in wanted(manifest, TaskType.ENCODING)] == ["360p_a.ts", "SUB.VTT"]
    reasons = left_out(manifest, TaskType.ENCODING)
    assert list(reasons) == names[2:]
    words = left_out_words(reasons)
    assert words[0] == "'.htaccess' was left out: it begins with a dot."
    assert words[-1] == "Files left out besides these: 12."
    named = [left_out_words(dict(list(reasons.items())[:number])) for number in (10, 11)]
    assert [len(each) for each in named] == [10, 11]
    assert named[0][-1].startswith("'7.exe' was left out")
    assert named[1][-1] == "Files left out besides these: 1."


def test_of_a_transcription_only_subtitles_are_spoken_of() -> None:
    manifest = parse("a.html", ".a.vtt", "b.vtt", "a.mp3")
    assert list(left_out(manifest, TaskType.TRANSCRIPTION)) == [".a.vtt"]
    assert [file.path for file in wanted(manifest, TaskType.TRANSCRIPTION)] == ["b.vtt"]
