"""A Dockerfile is parsed as BuildKit parses it."""

import fnmatch

import pytest

from tallyman.errors import BadInput
from tallyman_cli.build import dockerfile_words
from tallyman_cli.build.dockerfile import Base, base_alone, bases, stands_on
from tallyman_cli.build.dockerfile_words import expand, heredocs, split

PINNED = "sha256:" + "1" * 64


def names(text: str, **given: str) -> list[str]:
    return [base.image for base in bases(text, given)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('FROM "python:3.13"\n', ["python:3.13"], id="quotes"),
        pytest.param("FROM 'python:3.13' AS x\nFROM X\n", ["python:3.13"], id="single quotes, a stage in other case"),
        pytest.param("from a as b\nfrom B\n", ["a"], id="small letters"),
        pytest.param("ARG B=a\nARG B_IMAGE=b\nFROM $B_IMAGE\n", ["b"], id="the longest name"),
        pytest.param("ARG B_IMAGE=b\nARG B=a\nFROM ${B}_IMAGE\n", ["a_IMAGE"], id="braces end a name"),
        pytest.param("FROM i:${V:-3.13}\n", ["i:3.13"], id="default"),
        pytest.param("ARG V=\nFROM i:${V:-3}${V-x}\n", ["i:3"], id="default of what is empty, and of what is unset"),
        pytest.param("ARG V=1\nFROM i:${V:+2}${W:+3}\n", ["i:2"], id="alternative"),
        pytest.param("ARG D=1\nFROM i:${V:-${D:-2}}\n", ["i:1"], id="default within a default"),
        pytest.param('ARG V="3.13"\nFROM "i:${V}"\n', ["i:3.13"], id="quotes in ARG"),
        pytest.param("ARG A=1 B=2\nARG C=$A-$B\nFROM i:$C\n", ["i:1-2"], id="several in one ARG, and of others"),
        pytest.param("ARG T=v1.2-slim\nFROM i:${T%-*}\nFROM j:${T#v}\nFROM k:${T//[.-]/_}\n",
                     ["i:v1.2", "j:1.2-slim", "k:v1_2_slim"], id="parts of a value"),
        pytest.param("FROM a\nRUN cat <<EOF\nFROM b\nEOF\n", ["a"], id="heredoc"),
        pytest.param("FROM a\nCOPY <<'A' <<-\"B\" /y\nFROM b\nA\nFROM c\n\tB\nFROM d\n", ["a", "d"],
                     id="two heredocs, one with tabs"),
        pytest.param('FROM a\nRUN echo "<<EOF" 1<<<x\nFROM b\n', ["a", "b"], id="no heredoc"),
        pytest.param("FROM a\nONBUILD RUN <<E\nFROM b\nE\n", ["a"], id="heredoc behind ONBUILD"),
        pytest.param("# escape=`\nFROM a`\n:1\nRUN dir C:\\\nFROM b\n", ["a:1", "b"], id="escape"),
        pytest.param("# syntax=docker/dockerfile:1\n# escape = `\nFROM a:`\n1\n", ["a:1"], id="two directives"),
        pytest.param("# a comment\n# escape=`\nFROM a\nRUN x \\\nFROM b\n", ["a"], id="too late for a directive"),
        pytest.param("\ufeffFROM a\n", ["a"], id="byte order mark"),
        pytest.param("\ufeff# escape=`\nFROM a`\n:1\n", ["a:1"], id="byte order mark before a directive"),
        pytest.param("FROM a\r\nRUN x \\\r\n  y\r\nFROM b\r\n", ["a", "b"], id="DOS line ends"),
        pytest.param("FROM \\\n# no line\n\n  # nor this\n a:1 \\\n AS x\nFROM x\n", ["a:1"], id="continued"),
        pytest.param("FR\\\nOM a\n", ["a"], id="continued within a word"),
        pytest.param("FROM a\nRUN x \\\\\nFROM b\n", ["a", "b"], id="the escape character, escaped"),
        pytest.param("FROM --platform=$BUILDPLATFORM a\n", ["a"], id="platform"),
        pytest.param("FROM scratch\n", [], id="scratch"),
        pytest.param("FROM a AS b\nFROM c\nCOPY --from=b x y\nCOPY --from=0 x y\nCOPY --link --from=d:1 x y\n",
                     ["a", "c", "d:1"], id="copied from outside"),
        pytest.param("FROM a\nARG V=1\nRUN --mount=type=bind,from=b:$V,target=/b --mount=type=cache,target=/c x\n",
                     ["a", "b:1"], id="mounted from outside"),
        pytest.param('FROM a\nRUN --mount="from=b:1,target=/b c" --mount=type=bind,"from=c:1" x\nCOPY --from="d" x y\n',
                     ["a", "b:1", "c:1", "d"], id="quotes in flags"),
        pytest.param('ARG M="from=b:1"\nFROM a\nARG M\nRUN --mount=type=bind,$M x\nFROM --platform="linux/$X" c\n',
                     ["a", "b:1", "c"], id="variables in flags"),
        pytest.param('FROM a\nRUN echo \\\n  --from=b\nCMD ["--from=c"]\n', ["a"], id="flags of a command"),
        pytest.param("FROM a\nRUN echo 'FROM b \\\n'\nFROM c\n", ["a", "c"], id="a quote over two lines"),
        pytest.param("FROM a AS b-c\nFROM d\nCOPY --from=B-C x y\nCOPY --from=1 x y\n", ["a", "d"], id="stages"),
        pytest.param("FROM a\nRUN <<A <<B\nFROM x\nA\nFROM y\nB\nFROM c\n", ["a", "c"], id="two heredocs of a RUN"),
        pytest.param("FROM a\nRUN <<'E'\nFROM $x\n E\nE\nFROM c\n", ["a", "c"], id="the end of a heredoc alone"),
        pytest.param("FROM a\nCOPY <<E.txt /x\nFROM b\nE.txt\n", ["a"], id="a heredoc by a file's name"),
        pytest.param("FROM a\nENV X <<E\nFROM b\n", ["a", "b"], id="no heredoc behind ENV"),
        pytest.param("ARG A=x\nARG AB=y\nFROM $A$AB-${A}B\n", ["xy-xB"], id="neighbours"),
        pytest.param("ARG R=r.io:5000/\nFROM ${R}a${T:+:$T}\n", ["r.io:5000/a"], id="a registry, no tag"),
        pytest.param("  # escape=`\nFROM a`\n:1\n", ["a:1"], id="a directive that is indented"),
        pytest.param("# note=1\n# escape=`\nFROM a\\\n:1\n", ["a:1"], id="an unknown directive is a comment"),
        pytest.param("#escape=`\nFROM a`\n:1\n", ["a:1"], id="a directive without a blank"),
        pytest.param("# ESCAPE=`\nFROM a`\n:1\n", ["a:1"], id="a directive in capitals"),
        pytest.param("FROM\ta\tAS\tb\nFROM b\n", ["a"], id="tabs"),
        pytest.param("ARG V=1\nFROM a\nFROM b\nARG V\nRUN --mount=from=c:$V x\n", ["a", "b", "c:1"], id="inherited"),
        pytest.param("FROM a\nARG B=x\nFROM $B\n", ["a", "$B"], id="an argument of a stage is none of FROM's"),
        pytest.param("FROM a\nRUN echo FROM b\n", ["a"], id="FROM inside a line"),
    ],
)  # fmt: skip
def test_the_base_images_of_a_dockerfile(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_platform_variables_of_the_builder_are_resolved() -> None:
    assert names("FROM i-${TARGETARCH}:1\n", TARGETARCH="arm64") == ["i-arm64:1"]
    assert stands_on("FROM i-${TARGETARCH}:1\n") is None


def test_a_pinned_digest_is_separated_from_the_name() -> None:
    assert bases(f"ARG D={PINNED}\nFROM a:1@$D\n") == (Base("a:1", PINNED),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a AS b\nFROM --platform=linux/amd64 c AS d\nFROM d\nRUN x\n", "FROM --platform=linux/amd64 c\n"),
        ("ARG V=1\nFROM i:${V}\n", "ARG V=1\nFROM i:${V}\n"),
        ("# escape=`\n# note\nARG V=`\n1\nFROM i:$V\n", "# escape=`\nARG V=1\nFROM i:$V\n"),
        ("FROM a\nRUN <<E\nFROM b\nE\n", "FROM a\n"),
        ("FROM a\nFROM scratch\n", None),
    ],
)
def test_the_base_of_the_image_itself(text: str, expected: str | None) -> None:
    assert base_alone(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no FROM"),
        ("RUN x\nFROM a\n", "begins with 'RUN'"),
        ("FROM a\nRUN <<EOF\nx\n", "heredoc without its end EOF"),
        ("FROM\n", "expected an image"),
        ("ARG B=\nFROM $B\n", "expected an image"),
        ("# escape=x\nFROM a\n", "escape character"),
        ("# escape=`\n# escape=`\nFROM a\n", "expected one directive escape"),
    ],
)
def test_an_invalid_dockerfile_is_reported(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        bases(text)


def test_quoted_words_stay_together() -> None:
    assert split("a \"b c\" d\\ e 'f\\' g") == ["a", '"b c"', "d\\ e", "'f\\'", "g"]
    assert heredocs("RUN 3<<-'E F' cat") == [("E F", True)]
    assert expand('\\$A\'$A\'"$A\\""$', {"A": "1"}) == '$A$A1"$'
    assert expand("${A:?no}${B:?no}${A", {"A": "1"}) == "1${B:?no}${A"


@pytest.mark.parametrize("end", [r"\Z", r"\z"], ids=["Python 3.13", "Python 3.14"])
def test_patterns_of_modifiers_depend_on_no_version_of_python(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def translate(glob: str) -> str:
        return f"{fnmatch.translate(glob)[:-2]}{end}"

    monkeypatch.setattr(dockerfile_words, "translate", translate)
    given = {"V": "registry.test/app-(1)"}
    assert expand("${V#*/}:${V%-*}:${V/(1)/2}", given) == "app-(1):registry.test/app:registry.test/app-2"
