"""What uv and pip are asked, word for word, and what becomes of their answers; that the real ones answer so is in tasks/test_restore.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from wheels import make_wheel

from envtrail.environments.artefacts import Artefact, Miss
from envtrail.environments.indexes import Done, PipIndex, UvIndex, last_words, likeliest
from envtrail.environments.wheels import read_unpacked, read_wheel
from envtrail.model.environment import Package

OK = Done(code=0, out="", err="")
ONLY = ["--only-binary", ":all:", "--no-deps"]
LOCK = """lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "some-name"
version = "1.0"
wheels = [
    { url = "https://x/some_name-1.0-py3-none-any.whl", size = 7, hashes = { sha256 = "aa" } },
    { url = "file:///w%20x/some_name-1.0-py2-none-any.whl", hashes = { sha256 = "bb" } },
    { path = "/y/some_name-1.0-py2-none-any.whl", hashes = { sha256 = "cc" } },
    { url = "https://x/some_name-1.0-cp311-cp311-linux_x86_64.whl", hashes = { md5 = "dd" } },
]

[[packages]]
name = "source"
version = "1.0"
sdist = { url = "https://x/source-1.0.tar.gz", hashes = { sha256 = "ee" } }
"""


def package(name: str, *tags: str) -> Package:
    return Package(ecosystem="pypi", name=name, version="1.0", tags=tags)


def wheel(name: str, sha256: str, tags: str = "py3-none-any", **more: object) -> Artefact:
    filename = f"{name}-1.0-{tags}.whl"
    return Artefact(**{"filename": filename, "sha256": sha256, "url": f"https://x/{filename}", "origin": "index (uv)", **more})  # type: ignore[arg-type]


class Tool:
    """Answers as it is reported, and keeps what it was asked: the words, its input, and the file of requirements."""

    def __init__(self, answer: Callable[[list[str], str], Done]) -> None:
        self.asked: list[tuple[list[str], str, str]] = []
        self._answer = answer

    def __call__(self, words: Sequence[str], text: str) -> Done:
        lines = Path(words[words.index("-r") + 1]).read_text() if "-r" in words else ""
        self.asked.append((list(words), text, lines))
        return self._answer(list(words), lines or text)


def uv_index(tool: Tool, *, python: str | None = "3.11.2", offline: bool = False, words: Sequence[str] = ()) -> UvIndex:
    return UvIndex(["uv"], tool, python=python, words=words, offline=offline, interpreter="/i/python")


class TestUv:
    def test_it_is_asked_for_all_at_once_and_lists_the_files_with_a_hash(self) -> None:
        tool = Tool(lambda _words, _lines: Done(code=0, out=LOCK, err=""))
        packages = [package("some-name", "py2-none-any"), package("source"), package("never")]
        index = uv_index(tool, words=["--index-url", "https://x"])
        assert index.name == "index (uv)"
        assert index.ask(packages) == {
            packages[0]: [
                wheel("some_name", "bb", "py2-none-any", url="file:///w%20x/some_name-1.0-py2-none-any.whl", path="/w x/some_name-1.0-py2-none-any.whl"),
                wheel("some_name", "cc", "py2-none-any", url=None, path="/y/some_name-1.0-py2-none-any.whl"),
            ],
            packages[1]: [],
            packages[2]: [],
        }  # fmt: skip
        (other,) = index.ask([package("some-name", "py3-none-any")]).values()
        assert other == [wheel("some_name", "aa", size_bytes=7)]
        version = ["--python-version", "3.11.2", "--python", "/i/python"]
        words = ["uv", "pip", "compile", "-q", "--format", "pylock.toml", *version, *ONLY, "--index-url", "https://x", "-"]
        assert tool.asked[0] == (words, "some-name==1.0\nsource==1.0\nnever==1.0\n", "")

    def test_offline_it_is_its_cache_that_answers_and_an_unknown_python_is_not_named(self) -> None:
        tool = Tool(lambda _words, _lines: Done(code=0, out=LOCK, err=""))
        index = uv_index(tool, python=None, offline=True)
        assert index.name == "cache (uv)"
        ((found,),) = index.ask([package("some-name", "py3-none-any")]).values()
        assert found == wheel("some_name", "aa", size_bytes=7, origin="cache (uv)")
        assert tool.asked[0][0][:7] == ["uv", "--offline", "pip", "compile", "-q", "--format", "pylock.toml"]
        assert tool.asked[0][0][7:] == ["--python", "/i/python", *ONLY, "-"]

    def test_what_it_refuses_is_found_by_halves_and_the_rest_is_answered(self) -> None:
        def answer(_words: list[str], lines: str) -> Done:
            return Done(code=1, out="", err="error: bad is bad") if "bad" in lines else Done(code=0, out=LOCK, err="")

        tool = Tool(answer)
        packages = [package("a"), package("bad"), package("c"), package("some-name", "py3-none-any"), package("e")]
        found = uv_index(tool).ask(packages)
        assert list(found) == packages
        assert list(found.values()) == [[], Miss(reason="error: bad is bad"), [], [wheel("some_name", "aa", size_bytes=7)], []]
        asked = [text.replace("==1.0\n", " ").split() for _, text, _ in tool.asked]
        assert asked == [["a", "bad", "c", "some-name", "e"], ["a", "bad"], ["a"], ["bad"], ["c", "some-name", "e"]]
        assert uv_index(tool).ask([]) == {}

    @pytest.mark.parametrize("offline", [False, True])
    def test_it_looks_into_files_by_installing_them_each_project_once_at_a_time(self, tmp_path: Path, *, offline: bool) -> None:
        made = [make_wheel(tmp_path, name, "1.0") for name in ("some-name", "other")]

        def answer(words: list[str], lines: str) -> Done:
            prefix = Path(words[words.index("--prefix") + 1])
            for one in made:
                if one.name.partition("-")[0].replace("_", "-") in lines:
                    shutil.unpack_archive(one, prefix / "lib", "zip")
            return OK

        tool = Tool(answer)
        artefacts = [
            wheel("some_name", "aa"),
            wheel("some_name", "bb", "py2-none-any"),
            wheel("other", "cc"),
            wheel("absent", "dd"),
        ]
        seen = uv_index(tool, offline=offline).look_into(artefacts)
        shutil.unpack_archive(made[0], tmp_path / "s", "zip")
        shutil.unpack_archive(made[1], tmp_path / "o", "zip")
        (some,), (other,) = read_unpacked(tmp_path / "s"), read_unpacked(tmp_path / "o")
        assert seen == {"aa": some, "bb": some, "cc": other, "dd": Miss(reason="the tool did not answer for it")}

        def line(name: str, sha256: str) -> str:
            return f"{name}==1.0\n" if offline else f"{name}==1.0 --hash=sha256:{sha256}\n"

        assert [lines for _, _, lines in tool.asked] == [
            line("some-name", "aa") + line("other", "cc") + line("absent", "dd"),
            line("some-name", "bb"),
        ]
        words, text, _ = tool.asked[0]
        assert (words[-4 if offline else -5 :][:1], words[-2], text) == (["--prefix"], "-r", "")
        known = ["--offline"] if offline else []
        version = ["--python-version", "3.11.2", "--python", "/i/python"]
        assert words[: words.index("--prefix")] == ["uv", *known, "pip", "install", "-q", *version, *ONLY]
        assert words[words.index("--prefix") + 2 : -2] == ([] if offline else ["--require-hashes"])
        assert not Path(words[-1]).parent.exists()
        assert Path(words[-1]).parent.name.startswith("envtrail-")

    def test_a_file_that_cannot_be_fetched_is_said_with_the_tools_words(self) -> None:
        tool = Tool(lambda _words, _lines: Done(code=2, out="", err="error: 404\n"))
        assert uv_index(tool).look_into([wheel("a", "aa")]) == {"aa": Miss(reason="error: 404")}


class TestPip:
    def test_it_is_asked_once_for_each_set_of_tags_and_reported_of_them(self) -> None:
        def item(name: str, url: str, hashes: dict[str, str] | None) -> dict[str, object]:
            archive = {} if hashes is None else {"archive_info": {"hashes": hashes}}
            return {"download_info": {"url": url, **archive}, "metadata": {"name": name}}

        items = [
            item("Some_Name", "https://x/a%2Bb/some_name-1.0%2Bx-py3-none-any.whl", {"sha256": "aa"}),
            item("local", "file:///w%20x/local-1.0-py3-none-any.whl", {"sha256": "bb"}),
            item("hashless", "https://x/hashless-1.0-py3-none-any.whl", None),
            item("md5", "https://x/md5-1.0-py3-none-any.whl", {"md5": "cc"}),
            item("source", "https://x/source-1.0.tar.gz", {"sha256": "dd"}),
        ]
        tool = Tool(lambda _words, _lines: Done(code=0, out=json.dumps({"install": items}), err=""))
        index = PipIndex(["pip"], tool, python="3.11.2", words=["--index-url", "https://x"])
        native = ("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-linux_x86_64", "odd-tag")
        names = ("some-name", "hashless", "md5", "source")
        packages = [package("local", *native), *(package(name, "py3-none-any") for name in names), package("bare")]
        found = index.ask(packages)
        assert {one.name: answer for one, answer in found.items()} == {
            "local": [
                wheel("local", "bb", url="file:///w%20x/local-1.0-py3-none-any.whl", path="/w x/local-1.0-py3-none-any.whl", origin="index (pip)")
            ],
            "some-name": [
                wheel("some_name", "aa", filename="some_name-1.0+x-py3-none-any.whl", url="https://x/a%2Bb/some_name-1.0%2Bx-py3-none-any.whl", origin="index (pip)")
            ],
            "hashless": [],
            "md5": [],
            "source": [],
            "bare": [],
        }  # fmt: skip
        begin = ["pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", "-", "--target"]
        assert [words[: len(begin)] for words, _, _ in tool.asked] == [begin] * 3
        target, lines = Path(tool.asked[0][0][len(begin)]), Path(tool.asked[0][0][-1])
        assert (target.parent, target.name, target.parent.exists()) == (lines.parent, "none", False)
        platforms = ["--platform", "manylinux_2_17_x86_64", "--platform", "linux_x86_64"]
        rest = ["--index-url", "https://x", "-r"]
        assert [words[len(begin) + 1 : -1] for words, _, _ in tool.asked] == [
            [*ONLY, "--implementation", "cp", "--python-version", "3.11.2", "--abi", "cp311", *platforms, *rest],
            [*ONLY, "--implementation", "py", "--python-version", "3.11.2", "--abi", "none", "--platform", "any", *rest],
            [*ONLY, *rest],
        ]
        assert [(text, asked) for _, text, asked in tool.asked] == [
            ("", "local==1.0\n"),
            ("", "some-name==1.0\nhashless==1.0\nmd5==1.0\nsource==1.0\n"),
            ("", "bare==1.0\n"),
        ]

    def test_it_looks_into_files_by_downloading_them(self, tmp_path: Path) -> None:
        made = {path.name: path for path in (make_wheel(tmp_path, name, "1.0") for name in ("some-name", "other"))}

        def answer(words: list[str], lines: str) -> Done:
            for name, path in made.items():
                if name in lines:
                    shutil.copy(path, words[words.index("-d") + 1])
            return OK

        tool = Tool(answer)
        native = "cp311-cp311-linux_x86_64"
        artefacts = [wheel("some_name", "aa"), wheel("other", "bb"), wheel("absent", "cc"), wheel("some_name", "dd", native)]
        seen = PipIndex(["pip"], tool, python=None).look_into(artefacts)
        some, other = (read_wheel(path) for path in made.values())
        assert some is not None
        assert other is not None
        gone = Miss(reason="the tool did not answer for it")
        assert {key: getattr(one, "content", one) for key, one in seen.items()} == {
            "aa": some.content,
            "bb": other.content,
            "cc": gone,
            "dd": gone,
        }
        chosen = [*ONLY, "--implementation", "py", "--abi", "none", "--platform", "any"]
        words, text, lines = tool.asked[0]
        assert words == ["pip", "download", "-q", "-d", words[4], *chosen, "-r", f"{words[4]}/requirements.txt"]
        assert (text, Path(words[4]).exists()) == ("", False)
        assert lines == "".join(
            f"{name.replace('_', '-')} @ https://x/{name}-1.0-py3-none-any.whl --hash=sha256:{sha256}\n"
            for name, sha256 in (("some_name", "aa"), ("other", "bb"), ("absent", "cc"))
        )
        assert tool.asked[1][0][5:-2] == [*ONLY, "--implementation", "cp", "--abi", "cp311", "--platform", "linux_x86_64"]

    def test_two_files_of_a_project_are_not_fetched_together_and_a_refusal_is_said(self) -> None:
        tool = Tool(lambda _words, _lines: Done(code=1, out="", err="ERROR: no"))
        artefacts = [wheel("a", "aa"), wheel("a", "bb", url="https://y/a-1.0-py3-none-any.whl")]
        index = PipIndex(["pip"], tool, python=None)
        assert index.look_into(artefacts) == {"aa": Miss(reason="ERROR: no"), "bb": Miss(reason="ERROR: no")}
        assert len(tool.asked) == 2
        assert list(index.ask([package("a")]).values()) == [Miss(reason="ERROR: no")]


def test_the_likeliest_files_are_those_with_the_installed_tags() -> None:
    both = wheel("a", "1", "py2.py3-none-any")
    one, other = wheel("a", "2", "py3-none-any"), wheel("a", "3", "cp311-cp311-linux_x86_64")
    nameless = wheel("a", "4", filename="a.whl")
    everything = [both, one, other, nameless]
    for tags, expected in (
        (("py3-none-any", "py2-none-any"), [both]),
        (("py3-none-any",), [one]),
        (("py2-none-any",), [both]),
        (("py3-none-any", "py4-none-any"), [both, one]),
        (("py4-none-any",), everything),
        ((), [nameless]),
    ):
        assert likeliest(package("a", *tags), everything) == expected, tags


@pytest.mark.parametrize(
    ("err", "said"),
    [
        ("warning: x\nError: it broke\n  Cause: the disk\nhint: buy one\n[notice] new pip\n\n", "Cause: the disk"),
        ("  one \n two\n", "two"),
        ("one\n  hint: more\n[notice] new pip\n \n", "one"),
        ("ERROR: first\nthen more\n", "ERROR: first"),
        ("error: https://alice:hunter2@x/\n", "error: https://<redacted:url-credential>@x/"),
        ("\n \n", "exit code 3"),
    ],
)
def test_a_tool_is_quoted_with_the_line_that_says_why(err: str, said: str) -> None:
    assert last_words(Done(code=3, out="", err=err)) == said
