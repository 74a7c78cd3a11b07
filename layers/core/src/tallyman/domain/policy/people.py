"""`people`: who may send which command."""

from tallyman.domain.policy.shapes import Key, ListOf, Record, role_name
from tallyman.values import value


@value
class People:
    """The principals that may send each command, such as `role/release-managers`; None: all that IAM allows to."""

    promote: tuple[str, ...] | None = None
    approve: tuple[str, ...] | None = None
    override: tuple[str, ...] | None = None
    freeze: tuple[str, ...] | None = None
    recall: tuple[str, ...] | None = None
    letters: tuple[str, ...] | None = None

    def allowed(self, command: str) -> tuple[str, ...] | None:
        """The principals that may send this command; None: the policy has no entry for it.

        Who may approve may deny, who may freeze may thaw, who may promote may roll back; `letters` is for replay and
        discard. Without an entry for `override`, the one for `promote` applies.
        """
        entry = entry_of(command)
        if entry == "override" and self.override is None:
            entry = "promote"
        entries = {
            "promote": self.promote,
            "approve": self.approve,
            "override": self.override,
            "freeze": self.freeze,
            "recall": self.recall,
            "letters": self.letters,
        }
        return entries.get(entry)


def entry_of(command: str) -> str:
    """The key of `people` for a command."""
    others = {"deny": "approve", "thaw": "freeze", "roll-back": "promote", "replay": "letters", "discard": "letters"}
    return others.get(command, command)


_ANYONE = "anyone whom IAM allows to send it"
_WITHOUT = {"approve": "those whom the gate names", "override": "those who may promote"}
PEOPLE = Record(
    {
        command: Key(
            ListOf(role_name()), f"Roles whose holders may {what}; without it, {_WITHOUT.get(command, _ANYONE)}."
        )
        for command, what in {
            "promote": "request a promotion, or roll a release back",
            "approve": "approve or deny a promotion",
            "override": "override a gate that a promotion lists as overridable",
            "freeze": "freeze and thaw an environment",
            "recall": "recall an image",
            "letters": "replay and discard dead letters",
        }.items()
    },
    People,
    expected="who may do what, as in {promote: [role/release-managers]}",
)
