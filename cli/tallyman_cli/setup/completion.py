"""`tallyman completion`: the script that lets a shell complete commands, options and images."""

from enum import StrEnum
from typing import Annotated

import typer

from tallyman_cli.shared import output


class Shell(StrEnum):
    """The shells that there is a script for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


# A script hands over the line up to the cursor and gets one candidate a line, in zsh and fish with a tab and a summary.
# Bash takes `:` for the end of a word, and replaces only what is behind the last one.
SCRIPTS = {
    Shell.bash: r"""_tallyman() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n' word
    COMPREPLY=( $(_TALLYMAN_COMPLETE="$line" _TALLYMAN_COMPLETE_SHELL=bash "$1" 2>/dev/null) )
    word="${line##*[[:space:]]}"
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=( "${COMPREPLY[@]#"${word%"${word##*:}"}"}" )
    fi
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/:] ]]; then
        compopt -o nospace
    fi
}
complete -o default -F _tallyman tallyman""",
    Shell.zsh: r"""#compdef tallyman
_tallyman() {
    local line="${(j: :)${(@q)words[1,CURRENT-1]}} ${words[CURRENT]}" candidate
    local -a whole begun
    for candidate in "${(@f)$(_TALLYMAN_COMPLETE="$line" _TALLYMAN_COMPLETE_SHELL=zsh "$words[1]" 2>/dev/null)}"; do
        candidate="${candidate%%$'\t'*}"
        case "$candidate" in
            ("") ;;
            (*[/:]) begun+=("$candidate") ;;
            (*) whole+=("$candidate") ;;
        esac
    done
    (( $#whole + $#begun )) || { _files; return }
    compadd -a whole
    compadd -S '' -a begun
}
compdef _tallyman tallyman""",
    Shell.fish: r"""function __tallyman_ask
    set -lx _TALLYMAN_COMPLETE (commandline -cp)
    set -lx _TALLYMAN_COMPLETE_SHELL fish
    set -g __tallyman_found (tallyman 2>/dev/null)
    test (count $__tallyman_found) -gt 0
end
complete -c tallyman -n __tallyman_ask -f -a '$__tallyman_found'""",
}


def completion(shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Your shell.")]) -> None:
    """Print the script that completes commands, options, environments, repositories and tags.

    Environments and repositories come from the policy in force, tags from the registry, with your own credentials;
    where there is no stack, only commands and options are completed.
    """
    output.line(SCRIPTS[shell])
