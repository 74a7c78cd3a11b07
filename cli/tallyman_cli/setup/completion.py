"""`tallyman completion`: prints the script with which a shell completes commands, options and images."""

from enum import StrEnum
from typing import Annotated

from tallyman_cli.shared import output
from tallyman_cli.shared.options import argument


class Shell(StrEnum):
    """The shells that have a script."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


# A script passes the line up to the cursor, and gets one candidate a line, in zsh and fish with a tab and a summary.
# Bash ends a word at `:`, and replaces only what follows the last one.
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


def completion(shell: Annotated[Shell, argument("bash|zsh|fish", "Your shell.")]) -> None:
    """Print the script that completes commands, options, environments, repositories and tags.

    Environments and repositories come from the policy in force, tags from the registry, read with your own credentials.
    Without a stack, only commands and options are completed.
    """
    output.line(SCRIPTS[shell])
